"""The kernel half: compiled elsewhere, here given maps, loaded, attached and read."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import sysbpf
from otel_ebpf.kernel.attachments import Attachments
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.mounts import ensure_bpffs, ensure_tracefs
from otel_ebpf.kernel.obtain import Materials
from otel_ebpf.kernel.perf_reader import PerfReader
from otel_ebpf.kernel.plan import (
    RAW_TRACEPOINT,
    SPARED_PROGRAMS,
    TAIL_PROGRAMS,
    TRACEPOINT,
    UPROBE_TAIL_PROGRAMS,
    Probe,
    pool_probes,
    probe_plan,
    receive_entries,
    turn_probes,
)
from otel_ebpf.kernel.programs import Program, Programs
from otel_ebpf.kernel.shared_maps import SharedMaps

_log = logging.getLogger(__name__)

_TYPES = {TRACEPOINT: sysbpf.TRACEPOINT, RAW_TRACEPOINT: sysbpf.RAW_TRACEPOINT}
_UPROBE_JUMPS = "__progs_jmp_kp_map"
WAKE_AT = 32
"""Bursts of one CPU that wake the reader before its time."""

SPEAKS_TLS, SPEAKS_QUIC, HAS_KERNEL_TLS = 1 << 31, 1 << 30, 1 << 29
WRITES_UNCLEARLY = 1 << 28
"""In the number of a process: why it is told. PROCESS_... of the C side: it speaks TLS of which no
probe tells, or QUIC, or has the kernel encrypt."""
_WHY = SPEAKS_TLS | SPEAKS_QUIC | HAS_KERNEL_TLS | WRITES_UNCLEARLY


class Kernel(SharedMaps):
    """The loaded kernel half.

    Args:
        config: settings; see :class:`KernelConfig`.
        materials: where they were begun earlier.

    Raises:
        KernelError: a precondition is missing, the compiler or the verifier refused;
            the message names the file, the line or the program, and the mend.
    """

    def __init__(self, config: KernelConfig, materials: Materials | None = None) -> None:
        self.offsets: dict[str, int] = {}
        tracefs = ensure_tracefs()
        ensure_bpffs()  # nothing here needs it; whoever looks at the programs does
        if not tracefs.present:
            raise KernelError(
                f"tracefs is not mounted and could not be: {tracefs.error}",
                where=str(tracefs.target),
                mend=tracefs.command,
            )
        self._tracefs = tracefs.target
        materials = materials or Materials(config)
        self.attached: list[Probe] = []
        self.absent: list[Probe] = []
        self.registers = False
        self._uprobe_jumps = False
        self._told: set[str] = set()
        offsets, compiled = materials.finish()
        super().__init__(config, compiled.maps)
        with self._held:
            self._reader = PerfReader()
            self._held.callback(self._reader.close)
            self._programs = Programs(compiled, self._tables)
            self._held.callback(self._programs.close)
            self._attachments = Attachments()
            self._held.callback(self._attachments.close)
            self.fill(offsets)
            self.offsets = offsets
            self._held = self._held.pop_all()

    # -- start ------------------------------------------------------------------

    def load(self) -> None:
        """Has the kernel verify the plan's programs, which is most of the time of a start.

        Raises:
            KernelError: a program is refused.
        """
        wanted = [(name, sysbpf.TRACEPOINT) for name in TAIL_PROGRAMS]
        wanted += [(probe.program, _TYPES[probe.kind]) for probe in probe_plan()]
        self._programs.load_all(wanted, spared=SPARED_PROGRAMS)
        self._tell_refused()

    def _tell_refused(self) -> None:
        for name, error in self._programs.refused.items():
            if name not in self._told:
                self._told.add(name)
                _log.warning("this kernel goes without %s: %s", SPARED_PROGRAMS[name], error)

    def kinds(self) -> dict[str, int]:
        """Every program's type, by name; what the plan does not name is a uprobe's."""
        kinds = dict.fromkeys(self._programs.names, sysbpf.KPROBE)
        kinds.update(dict.fromkeys(TAIL_PROGRAMS, sysbpf.TRACEPOINT))
        every = (*probe_plan(), *receive_entries(), *turn_probes(), *pool_probes())
        kinds.update({p.program: _TYPES[p.kind] for p in every})
        return kinds

    def load_one(self, name: str) -> Program:
        """Loads one program by itself.

        Raises:
            KernelError: it is refused.
        """
        kind = self.kinds()[name]
        attach_type = self._attachments.uprobe_type() if kind == sysbpf.KPROBE else 0
        return self._programs.load(name, kind, attach_type)

    def verified(self, program: Program) -> int:
        """Instructions that the verifier went through for it; 0 where the kernel does not tell."""
        attach_type = self._attachments.uprobe_type() if program.kind == sysbpf.KPROBE else 0
        return self._programs.verified(program, attach_type)

    def attach(self) -> None:
        """Loads what is not loaded yet and attaches it as the plan says.

        Raises:
            KernelError: a program is refused, or a tracepoint is not there.
        """
        self.load()
        plan = [probe for probe in probe_plan() if self._present(probe)]
        self._fill_jumps("__progs_jmp_tp_map", TAIL_PROGRAMS, sysbpf.TRACEPOINT)
        # These two answer only the agent. How receives are seen must be settled before
        # anything else runs: programs count in the same map value.
        for probe in plan:
            if probe.target.endswith("_getppid"):
                self._attach(probe)
        if self._registers_wanted():
            self.update_each_cpu("__trace_conf_map", "registers", 1)
        else:
            plan += [probe for probe in receive_entries() if self._present(probe)]
        for probe in plan:
            if probe not in self.attached:
                self._attach(probe)
        self._arm()

    def _arm(self) -> None:
        """From now on connections are seen from their first byte on. Of those that were made
        while probes were attached one by one, some bytes may have passed unseen."""
        self.update_each_cpu("__members_offset", "armed", 1)  # no program writes there

    def _fill_jumps(self, table: str, names: Iterable[str], kind: int, attach: int = 0) -> None:
        self._programs.load_all([(name, kind) for name in names], attach, SPARED_PROGRAMS)
        for index, name in enumerate(names):
            if name not in self._programs.refused:
                self._tables[table][index] = self._programs.load(name, kind, attach).fd
        self._tell_refused()

    def _event(self, probe: Probe) -> Path:
        category, _, event = probe.target.partition(":")
        return self._tracefs / "events" / category / event

    def _present(self, probe: Probe) -> bool:
        if probe.kind == RAW_TRACEPOINT or self._event(probe).is_dir():
            return True
        if not probe.optional:
            raise KernelError(
                f"this kernel has no tracepoint {probe.target}",
                mend="use a kernel with CONFIG_FTRACE_SYSCALLS",
            )
        self.absent.append(probe)
        return False

    def _attach(self, probe: Probe) -> None:
        program = self._programs.load(probe.program, _TYPES[probe.kind])
        try:
            if probe.kind == RAW_TRACEPOINT:
                self._attachments.raw_tracepoint(probe.target, program.fd)
            else:
                number = int((self._event(probe) / "id").read_text())
                self._attachments.tracepoint(number, program.fd)
        except OSError as error:
            raise KernelError(
                f"the kernel refused to attach to {probe.target}: {error.strerror}",
                where=f"bpf program {probe.program}",
                mend="run `otel-ebpf doctor` as root to see what this kernel allows",
            ) from None
        self.attached.append(probe)

    def _registers_wanted(self) -> bool:
        """Whether receives can do, and are to do, without entry probes."""
        if self.config.receives == "entries":
            return False
        os.getppid()  # its exit probe tries to read this call's registers
        self.registers = bool(self.stats()["registers"])
        if self.config.receives == "registers" and not self.registers:
            raise KernelError(
                "system calls' registers cannot be read on this kernel",
                mend="leave the choice to the agent",
            )
        return self.registers

    # -- data -------------------------------------------------------------------

    def open_bursts(
        self, take: Callable[[int, bytes], None], lost: Callable[[int], None], pages: int
    ) -> None:
        """``take(cpu, burst)`` for each burst; ``lost(bursts)`` for refused ones.

        Bursts wake the reader in groups: it looks often enough by itself, and being woken
        for each would cost it more than the reading.
        """

        wakeup = max(1, min(WAKE_AT, pages // 16))
        self._reader.open(self._tables["__socket_data"], pages, take, lost, wakeup)

    def open_executions(
        self,
        take: Callable[[int], None],
        found: Mapping[int, Callable[[int], None]] = MappingProxyType({}),
    ) -> None:
        """``take(pid)`` as soon as a process executes a program; of ``found``, one of
        :data:`SPEAKS_TLS`, ``SPEAKS_QUIC``, ``HAS_KERNEL_TLS`` and ``WRITES_UNCLEARLY``, what it is
        called with when a process does so: perhaps more than once."""

        def on_exec(_cpu: int, data: bytes) -> None:
            told = int.from_bytes(data[:4], sys.byteorder)
            why = told & _WHY
            if not why:
                take(told)
            elif why in found:
                found[why](told ^ why)

        self._reader.open(self._tables["process_events"], 8, on_exec, lambda _: None, 1)

    def poll(self, timeout_ms: int) -> None:
        """Waits for bursts and hands over those that are there."""
        self._reader.poll(timeout_ms)

    def drain(self) -> None:
        """Hands over what is there, without waiting."""
        self._reader.drain()

    def stats(self) -> dict[str, int]:
        """See ``SharedMaps``; and how many programs were refused, if any."""
        stats = super().stats()
        if self._programs.refused:
            stats["programs_refused"] = len(self._programs.refused)
        return stats

    @property
    def programs(self) -> list[Program]:
        """What is loaded, by name."""
        return self._programs.loaded

    # -- more probes --------------------------------------------------------------

    def follow_turns(self) -> None:
        """Attaches the probes of event loops' turns, once.

        Raises:
            KernelError: a program is refused.
        """
        self._tables["turns_followed"][0] = 1
        self._attach_more(turn_probes())

    def follow_pools(self) -> None:
        """Attaches the probes of who wakes whom, once.

        Raises:
            KernelError: a program is refused.
        """
        self._attach_more([*pool_probes(), *turn_probes()])

    def _attach_more(self, probes: Iterable[Probe]) -> None:
        known = set(self.attached)
        for probe in probes:
            if probe not in known and self._present(probe):
                self._attach(probe)

    def attach_uprobe(
        self, path: str, offset: int, program: str, *, returns: bool = False, pid: int = 0
    ) -> int:
        """Puts a uprobe at a file offset of a binary, or at the return of the function there,
        for one process or for every one that maps it (0).

        Returns a handle for :meth:`detach_uprobe`.

        Raises:
            KernelError: the kernel refused.
        """
        try:
            attach_type = self._attachments.uprobe_type()
            if not self._uprobe_jumps and self._programs.uses(program, _UPROBE_JUMPS):
                self._fill_jumps(_UPROBE_JUMPS, UPROBE_TAIL_PROGRAMS, sysbpf.KPROBE, attach_type)
                self._uprobe_jumps = True
            fd = self._programs.load(program, sysbpf.KPROBE, attach_type).fd
            return self._attachments.uprobe(path, offset, fd, returns=returns, pid=pid)
        except OSError as error:
            raise KernelError(
                f"uprobe {program} refused: {error.strerror}",
                where=f"{path}+{offset:#x}",
                mend="see the uprobe line of `otel-ebpf doctor`",
            ) from None

    def detach_uprobe(self, *handles: int) -> None:
        """Takes uprobes away. Waits for the kernel, some 40 ms, however many they are.

        Raises:
            KeyError: there is no such uprobe any more.
        """
        self._attachments.detach(handles)

    def close(self) -> None:
        """Detaches everything; nothing stays behind in the kernel."""
        self._held.close()
