"""The kernel half: compiled elsewhere, here given maps, loaded, attached and read."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import sysbpf, tries
from otel_ebpf.kernel.attachments import Attachments
from otel_ebpf.kernel.compiled import MapDefinition
from otel_ebpf.kernel.config import MEMBERS, KernelConfig
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
from otel_ebpf.kernel.tables import Table, create

_log = logging.getLogger(__name__)

_UID_SHIFT = 48
_TYPES = {TRACEPOINT: sysbpf.TRACEPOINT, RAW_TRACEPOINT: sysbpf.RAW_TRACEPOINT}
_UPROBE_JUMPS = "__progs_jmp_kp_map"
_HEADER_BLOCKS = "header_block_map"
WAKE_AT = 32
"""Bursts of one CPU that wake the reader before its time."""

STATS = (
    "records",
    "bursts",
    "burst_lost",
    "unknown_protocol",
    "read_fault",
    "socket_map_full",
    "trace_map_full",
    "args_map_full",
    "coalesced",
    "sends_taken_back",
    "short_sends",
    "port_refused",
    "own_traffic",
    "go_not_parked",
    "go_disagree",
    "go_stale_context",
    "sockets_opened",
    "sockets_closed",
    "traces_opened",
    "traces_closed",
    "flushes",
    "protocol_off",
    "registers",
    "go_stack_found",
    "go_stack_nothing",
    "go_streams_unbound",
    "go_scan_cut",
    "go_threads_full",
    "go_births",
    "go_identity_differs",
    "go_identity_agrees",
    "go_parent_differs",
    "go_parent_agrees",
    "tls_unplaced",
    "tls_crowded",
    "http2_unseen",
    "headers_unplaced",
    "headers_crowded",
    "http2_cut",
    "go_look_cut",
    "http2_gaps",
    "http2_not_read",
    "http2_no_frame",
    "datagrams_cut",
)
"""Names of ``__trace_stats_map``'s counters, in enum stat's order."""


_SPEAKS_TLS, _SPEAKS_QUIC = 1 << 31, 1 << 30
"""In the number of a process: why it is told. PROCESS_SPEAKS_TLS and _QUIC of the C side."""


class Kernel:
    """The loaded kernel half.

    Args:
        config: settings; see :class:`KernelConfig`.
        materials: where they were begun earlier.

    Raises:
        KernelError: a precondition is missing, the compiler or the verifier refused;
            the message names the file, the line or the program, and the mend.
    """

    def __init__(self, config: KernelConfig, materials: Materials | None = None) -> None:
        self.config = config
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
        self._tables: dict[str, Table] = {}
        self._held = contextlib.ExitStack()  # let go of in the opposite order
        offsets, compiled = materials.finish()
        with self._held:
            self._create_maps(compiled.maps)
            self._reader = PerfReader()
            self._held.callback(self._reader.close)
            self._programs = Programs(compiled, self._tables)
            self._held.callback(self._programs.close)
            self._attachments = Attachments()
            self._held.callback(self._attachments.close)
            self._fill(offsets)
            self.offsets = offsets
            self._held = self._held.pop_all()

    # -- start ------------------------------------------------------------------

    def _create_maps(self, definitions: Iterable[MapDefinition]) -> None:
        with contextlib.suppress(OSError):
            tries.raise_memlock()  # kernels before 5.11 count maps against it
        for definition in definitions:
            if definition.name == _HEADER_BLOCKS and not self.config.header_blocks:
                definition = replace(definition, entries=1)
            try:
                table = create(definition)
            except OSError as error:
                raise KernelError(
                    f"the kernel refused the map {definition.name}: {error.strerror}",
                    mend="run `otel-ebpf doctor` as root to see what this kernel allows",
                ) from None
            self._tables[definition.name] = table
            self._held.callback(table.close)

    def _each_cpu(self, table: str, make: Callable[[int, Any], None]) -> None:
        """Writes one value per possible CPU into entry 0 of a per-CPU array."""
        array = self._tables[table]
        values = array.Leaf()  # one for each possible CPU
        for cpu in range(len(values)):
            make(cpu, values[cpu])
        array[0] = values

    def _fill(self, offsets: dict[str, int]) -> None:
        def members(_: int, value: Any) -> None:
            for member, name in MEMBERS.items():
                setattr(value, member, offsets[name])
            value.ready = 1

        def conf(cpu: int, value: Any) -> None:
            # Unique over CPUs and over restarts of the agent within one capture.
            value.uid = (cpu + 1 << _UID_SHIFT) + 1
            value.socket_id = (cpu + 1 << _UID_SHIFT) + 1
            value.max_age = self.config.max_age_ns
            value.self_tgid = os.getpid()
            value.filter = self.config.filter
            value.capture = self.config.capture

        self._each_cpu("__members_offset", members)
        self._each_cpu("__trace_conf_map", conf)
        for number in self.config.protocols:
            self._tables["__protocol_filter"][number] = 1
        if self.config.ports:
            bitmap = self._tables["__allow_port_bitmap"]
            value = bitmap.Leaf()
            for first, last in self.config.ports:
                for port in range(first, last + 1):
                    value.bits[port >> 3] |= 1 << (port & 7)
            bitmap[0] = value

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
            self._each_cpu_update("__trace_conf_map", "registers", 1)
        else:
            plan += [probe for probe in receive_entries() if self._present(probe)]
        for probe in plan:
            if probe not in self.attached:
                self._attach(probe)
        self._arm()

    def _arm(self) -> None:
        """From now on connections are seen from their first byte on. Of those that were made
        while probes were attached one by one, some bytes may have passed unseen."""
        self._each_cpu_update("__members_offset", "armed", 1)  # no program writes there

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

    def _each_cpu_update(self, table: str, member: str, number: int) -> None:
        """Changes one member of a per-CPU array's entry 0, everywhere. Not atomic."""
        array = self._tables[table]
        values = array[0]
        for value in values:
            setattr(value, member, number)
        array[0] = values

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
        tls: Callable[[int], None] = lambda _: None,
        quic: Callable[[int], None] = lambda _: None,
    ) -> None:
        """``take(pid)`` as soon as a process executes a program; ``tls(pid)`` when one speaks
        TLS of which no probe tells, ``quic(pid)`` when it speaks QUIC: perhaps more than once."""

        def on_exec(_cpu: int, data: bytes) -> None:
            told = int.from_bytes(data[:4], sys.byteorder)
            if told & _SPEAKS_TLS:
                tls(told & ~_SPEAKS_TLS)
            elif told & _SPEAKS_QUIC:
                quic(told & ~_SPEAKS_QUIC)
            else:
                take(told)

        self._reader.open(self._tables["process_events"], 8, on_exec, lambda _: None, 1)

    def poll(self, timeout_ms: int) -> None:
        """Waits for bursts and hands over those that are there."""
        self._reader.poll(timeout_ms)

    def drain(self) -> None:
        """Hands over what is there, without waiting."""
        self._reader.drain()

    # -- maps -------------------------------------------------------------------

    def table(self, name: str) -> Table:
        """A map by its name."""
        return self._tables[name]

    @property
    def programs(self) -> list[Program]:
        """What is loaded, by name."""
        return self._programs.loaded

    def stats(self) -> dict[str, int]:
        """Sums over CPUs of ``__trace_stats_map``."""
        values = self._tables["__trace_stats_map"][0]
        stats = {name: sum(value.counts[i] for value in values) for i, name in enumerate(STATS)}
        if self._programs.refused:
            stats["programs_refused"] = len(self._programs.refused)
        return stats

    def choose(self, pids: Iterable[int]) -> None:
        """Adds processes to those that are traced."""
        targets = self._tables["target_map"]
        for pid in pids:
            targets[pid] = 1

    def chosen(self, pid: int) -> bool:
        """Whether the process is among those: added, or a child of one."""
        try:
            self._tables["target_map"][pid]
        except KeyError:
            return False
        return True

    def traces(self, pid: int) -> bool:
        """Whether a process may be traced: none was chosen, this one was, or ports choose."""
        return not self.config.filter_processes or bool(self.config.ports) or self.chosen(pid)

    def forget(self, pid: int) -> None:
        """Takes back what ``choose`` and ``set_process`` said of a process that has ended."""
        for name in ("target_map", "proc_info_map", "python_info_map", "pool_map"):
            with contextlib.suppress(KeyError):
                del self._tables[name][pid]

    def set_process(
        self, pid: int, members: dict[str, int], name_of_map: str = "proc_info_map"
    ) -> None:
        """Fills a process's entry in ``proc_info_map`` or the map named; members of its
        struct (``struct proc_info_t``) by their paths in it (``h2.0.streams``)."""
        table = self._tables[name_of_map]
        value = table.Leaf()
        for path, number in members.items():
            *outer, name = path.split(".")
            into = value
            for part in outer:
                into = into[int(part)] if part.isdigit() else getattr(into, part)
            if name.isdigit():
                into[int(name)] = number
            else:
                setattr(into, name, number)
        table[pid] = value

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
