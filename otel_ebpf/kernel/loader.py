"""Compiles, loads and attaches the kernel half. The only module that uses BCC."""

from __future__ import annotations

import contextlib
import ctypes as ct
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel.binding import import_bcc
from otel_ebpf.kernel.btf import Btf
from otel_ebpf.kernel.config import MEMBERS, KernelConfig, check_neighbours
from otel_ebpf.kernel.mounts import ensure_bpffs, ensure_tracefs
from otel_ebpf.kernel.offsets import kernel_offsets
from otel_ebpf.kernel.paths import bpf_dir
from otel_ebpf.kernel.plan import RAW_TRACEPOINT, TAIL_PROGRAMS, Probe, probe_plan, receive_entries
from otel_ebpf.kernel.source import flatten

# Debug information is a third of the compile time, and nothing reads it.
_FLAGS = [
    "-g0",
    "-Wno-unused-function",
    "-Wno-macro-redefined",
    "-Wno-unknown-attributes",
]
_UID_SHIFT = 48
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
)
"""Names of ``__trace_stats_map``'s counters, in enum stat's order."""


@contextlib.contextmanager
def _stderr_kept() -> Iterator[Callable[[], str]]:
    """Catches what LLVM and the verifier write to descriptor 2; the text comes on call."""
    with tempfile.TemporaryFile() as kept:
        saved = os.dup(2)
        os.dup2(kept.fileno(), 2)

        def text() -> str:
            kept.seek(0)
            return kept.read().decode(errors="replace")

        try:
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)


class Kernel:
    """The loaded kernel half.

    Args:
        config: settings; see :class:`KernelConfig`.

    Raises:
        KernelError: a precondition is missing, the compiler or the verifier refused;
            the message names the file, the line or the program, and the mend.
    """

    def __init__(self, config: KernelConfig) -> None:
        self.config = config
        tracefs = ensure_tracefs()
        ensure_bpffs()  # nothing here needs it; whoever looks at the programs does
        if not tracefs.present:
            raise KernelError(
                f"tracefs is not mounted and could not be: {tracefs.error}",
                where=str(tracefs.target),
                mend=tracefs.command,
            )
        self._tracefs = tracefs.target
        offsets = kernel_offsets(Btf.load())
        check_neighbours(offsets)
        os.environ.setdefault("BCC_KERNEL_SOURCE", str(bpf_dir() / "shim"))
        self._bcc = import_bcc()
        self._bpf = self._compile(flatten(bpf_dir(), "main.c"))
        self._functions: dict[str, Any] = {}
        self.attached: list[Probe] = []
        self.absent: list[Probe] = []
        self.registers = False
        self._fill(offsets)

    # -- start ------------------------------------------------------------------

    def _compile(self, text: str) -> Any:
        with _stderr_kept() as errors:
            try:
                return self._bcc.BPF(text=text, cflags=_FLAGS + self.config.cflags())
            except Exception as error:  # BCC raises bare Exception
                said = errors().strip()
                raise KernelError(
                    f"the BPF programs do not compile: {error}\n{said[-2000:]}",
                    where="bpf/main.c",
                    mend="reinstall otel-ebpf; if it stays, report it with `otel-ebpf doctor`",
                ) from None

    def _load(self, name: str, kind: int) -> Any:
        if name not in self._functions:
            with _stderr_kept() as errors:
                try:
                    self._functions[name] = self._bpf.load_func(name, kind)
                except Exception as error:
                    said = errors().strip()
                    raise KernelError(
                        f"the kernel refused the program {name}: {error}\n{said[-1500:]}",
                        where=f"bpf program {name}",
                        mend="run `otel-ebpf doctor` as root to see what this kernel allows",
                    ) from None
        return self._functions[name]

    def _each_cpu(self, table: str, make: Callable[[int, Any], None]) -> None:
        """Writes one value per possible CPU into entry 0 of a per-CPU array."""
        array = self._bpf[table]
        values = array.Leaf()  # one for each possible CPU
        for cpu in range(len(values)):
            make(cpu, values[cpu])
        array[ct.c_int(0)] = values

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
        protocols = self._bpf["__protocol_filter"]
        for number in self.config.protocols:
            protocols[ct.c_int(number)] = ct.c_uint32(1)
        if self.config.ports:
            bitmap = self._bpf["__allow_port_bitmap"]
            value = bitmap.Leaf()
            for first, last in self.config.ports:
                for port in range(first, last + 1):
                    value.bits[port >> 3] |= 1 << (port & 7)
            bitmap[ct.c_int(0)] = value

    def attach(self) -> None:
        """Loads every program and attaches it as the plan says."""
        jumps = self._bpf["__progs_jmp_tp_map"]
        for index, name in enumerate(TAIL_PROGRAMS):
            jumps[ct.c_int(index)] = ct.c_int(self._load(name, self._bcc.BPF.TRACEPOINT).fd)
        plan = probe_plan()
        # These two answer only the agent. How receives are seen must be settled before
        # anything else runs: programs count in the same map value.
        for probe in plan:
            if probe.target.endswith("_getppid"):
                self._attach(probe)
        if self._registers_wanted():
            self._each_cpu_update("__trace_conf_map", "registers", 1)
        else:
            plan += receive_entries()
        for probe in plan:
            if probe not in self.attached:
                self._attach(probe)

    def _attach(self, probe: Probe) -> None:
        bpf_class = self._bcc.BPF
        if probe.kind == RAW_TRACEPOINT:
            self._load(probe.program, bpf_class.RAW_TRACEPOINT)
            self._bpf.attach_raw_tracepoint(tp=probe.target, fn_name=probe.program)
        else:
            category, event = probe.target.split(":")
            if not (self._tracefs / "events" / category / event).is_dir():
                if not probe.optional:
                    raise KernelError(
                        f"this kernel has no tracepoint {probe.target}",
                        mend="use a kernel with CONFIG_FTRACE_SYSCALLS",
                    )
                self.absent.append(probe)
                return
            self._load(probe.program, bpf_class.TRACEPOINT)
            self._bpf.attach_tracepoint(tp=probe.target, fn_name=probe.program)
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
        array = self._bpf[table]
        values = array[ct.c_int(0)]
        for value in values:
            setattr(value, member, number)
        array[ct.c_int(0)] = values

    # -- data -------------------------------------------------------------------

    def open_bursts(
        self, take: Callable[[int, bytes], None], lost: Callable[[int], None], pages: int
    ) -> None:
        """``take(cpu, burst)`` for each burst; ``lost(bursts)`` for refused ones.

        Bursts wake the reader in groups: it looks often enough by itself, and being woken
        for each would cost it more than the reading.
        """

        def on_burst(cpu: int, data: int, size: int) -> None:
            take(cpu, ct.string_at(data, size))

        self._bpf["__socket_data"].open_perf_buffer(
            on_burst,
            page_cnt=pages,
            lost_cb=lost,
            wakeup_events=max(1, min(WAKE_AT, pages // 16)),
        )

    def open_executions(self, take: Callable[[int], None]) -> None:
        """``take(pid)`` as soon as a process executes a program."""

        def on_exec(_cpu: int, data: int, _size: int) -> None:
            take(ct.cast(data, ct.POINTER(ct.c_uint32)).contents.value)

        self._bpf["process_events"].open_perf_buffer(on_exec, page_cnt=8)

    def poll(self, timeout_ms: int) -> None:
        """Waits for bursts and hands over those that are there."""
        self._bpf.perf_buffer_poll(timeout=timeout_ms)

    def drain(self) -> None:
        """Hands over what is there, without waiting."""
        self._bpf.perf_buffer_consume()

    # -- maps -------------------------------------------------------------------

    def table(self, name: str) -> Any:
        """A map by its name, as BCC's table object."""
        return self._bpf[name]

    def stats(self) -> dict[str, int]:
        """Sums over CPUs of ``__trace_stats_map``."""
        values = self._bpf["__trace_stats_map"][ct.c_int(0)]
        return {name: sum(value.counts[i] for value in values) for i, name in enumerate(STATS)}

    def choose(self, pids: Iterable[int]) -> None:
        """Adds processes to those that are traced."""
        targets = self._bpf["target_map"]
        for pid in pids:
            targets[ct.c_uint32(pid)] = ct.c_uint32(1)

    def set_process(self, pid: int, members: dict[str, int]) -> None:
        """Fills ``proc_info_map`` for a process; members of ``struct proc_info_t``."""
        table = self._bpf["proc_info_map"]
        value = table.Leaf()
        for name, number in members.items():
            setattr(value, name, number)
        table[ct.c_uint32(pid)] = value

    def attach_uprobe(self, path: str, offset: int, program: str) -> None:
        """Puts a uprobe at a file offset of a binary, for every process that maps it.

        Raises:
            KernelError: the kernel refused.
        """
        function = self._load(program, self._bcc.BPF.KPROBE)
        event = f"otel_ebpf_{program}_{offset:x}_{len(self._bpf.uprobe_fds)}".encode()
        # Straight to the library: BCC's own way wants virtual addresses and opens the ELF.
        with _stderr_kept() as errors:
            fd = self._bcc.lib.bpf_attach_uprobe(
                function.fd, 0, event, path.encode(), ct.c_uint64(offset), -1
            )
            if fd < 0:
                raise KernelError(
                    f"uprobe {program} refused: {errors().strip()[-300:]}",
                    where=f"{path}+{offset:#x}",
                    mend="see the uprobe line of `otel-ebpf doctor`",
                )
        self._bpf._add_uprobe_fd(event, fd)

    def close(self) -> None:
        """Detaches everything; nothing stays behind in the kernel."""
        self._bpf.cleanup()
