"""Small experiments on the running kernel. Each leaves nothing behind.

A feature is there when it works: kernel versions, configuration files and lists of
symbols all mislead (distributions backport, and a symbol may exist and be refused).
Each function returns when the thing works and raises OSError when it does not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from otel_ebpf.kernel import sysbpf

_PMU = Path("/sys/bus/event_source/devices")


def create_map() -> None:
    """bpf(2) itself: a map of one integer."""
    os.close(sysbpf.map_create(sysbpf.ARRAY_MAP, 4, 8, 1))


def load(kind: int, instructions: bytes = sysbpf.RETURN_ONE) -> None:
    """A program of this type passes the verifier and may be loaded."""
    os.close(sysbpf.load_program(kind, instructions))


def read_kernel_memory() -> None:
    """bpf_probe_read_kernel; lockdown=confidentiality refuses it."""
    load(sysbpf.TRACEPOINT, sysbpf.READ_KERNEL)


def read_task(offsets: Sequence[int], size: int) -> None:
    """Follows pointers from the running task without bpf_probe_read_kernel (5.11).

    Args:
        offsets: bytes, of one member after the other.
        size: bytes of the last one, 4 or 8.
    """
    load(sysbpf.TRACEPOINT, sysbpf.read_task_program(offsets, size))


def read_words(cast: int, words: int) -> None:
    """Makes typed memory of an address and reads it (bpf_rdonly_cast, 6.2), in every kind of
    program that wants to.

    Args:
        cast: BTF id of that function.
        words: BTF id of a structure.
    """
    for kind in (sysbpf.TRACEPOINT, sysbpf.RAW_TRACEPOINT, sysbpf.KPROBE):
        load(kind, sysbpf.read_words_program(cast, words))


def attach_raw_tracepoint(name: str) -> None:
    """A raw tracepoint, by its bare name; tracefs is not needed."""
    with _program(sysbpf.RAW_TRACEPOINT) as program, ExitStack() as stack:
        _closing(stack, sysbpf.open_raw_tracepoint(program, name.encode()))


def attach_tracepoint(tracefs: Path, name: str = "syscalls/sys_enter_getppid") -> None:
    """A tracepoint, by the id that tracefs gives."""
    number = int((tracefs / "events" / name / "id").read_text())
    with _program(sysbpf.TRACEPOINT) as program, ExitStack() as stack:
        event = _closing(stack, sysbpf.perf_event_open(sysbpf.PERF_TYPE_TRACEPOINT, number))
        sysbpf.attach_perf(event, program)


def attach_kprobe(function: str) -> None:
    """A kprobe through the perf PMU."""
    text = ctypes.create_string_buffer(function.encode())
    with _program(sysbpf.KPROBE) as program, ExitStack() as stack:
        event = sysbpf.perf_event_open(_pmu("kprobe"), 0, config1=ctypes.addressof(text))
        sysbpf.attach_perf(_closing(stack, event), program)


def attach_uprobe() -> None:
    """A uprobe, on a file of our own that no process has mapped."""
    with _program(sysbpf.KPROBE) as program, ExitStack() as stack:
        file = _closing(stack, os.memfd_create("otel-ebpf-try", os.MFD_CLOEXEC))
        os.write(file, bytes(4096))
        path = ctypes.create_string_buffer(f"/proc/self/fd/{file}".encode())
        event = sysbpf.perf_event_open(_pmu("uprobe"), 0, config1=ctypes.addressof(path))
        sysbpf.attach_perf(_closing(stack, event), program)


def attach_fentry(function_id: int) -> None:
    """An fentry program on the function with this BTF id."""
    fd = sysbpf.load_program(
        sysbpf.TRACING,
        sysbpf.RETURN_ZERO,
        expected_attach=sysbpf.TRACE_FENTRY,
        attach_btf_id=function_id,
    )
    with ExitStack() as stack:
        _closing(stack, fd)
        _closing(stack, sysbpf.open_raw_tracepoint(fd, None))


def open_perf_output() -> None:
    """The perf buffer that carries records to user space."""
    os.close(sysbpf.perf_event_open(sysbpf.PERF_TYPE_SOFTWARE, sysbpf.PERF_COUNT_SW_BPF_OUTPUT))


def memlock_counts() -> bool:
    """Whether maps count against RLIMIT_MEMLOCK (kernels before 5.11).

    Seen by making a map with the limit at nothing; means something only where
    ``create_map`` works.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, hard))
    try:
        create_map()
    except PermissionError:
        return True
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
    return False


def raise_memlock() -> None:
    """Lift RLIMIT_MEMLOCK for this process. Needs CAP_SYS_RESOURCE.

    Raises:
        OSError: not allowed.
    """
    unlimited = resource.RLIM_INFINITY
    if resource.getrlimit(resource.RLIMIT_MEMLOCK) == (unlimited, unlimited):
        return
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (unlimited, unlimited))
    except ValueError as error:
        raise OSError(errno.EPERM, str(error)) from None


@contextmanager
def _program(kind: int) -> Iterator[int]:
    fd = sysbpf.load_program(kind, sysbpf.RETURN_ONE)
    try:
        yield fd
    finally:
        os.close(fd)


def _closing(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _pmu(name: str) -> int:
    try:
        return int((_PMU / name / "type").read_text())
    except FileNotFoundError:
        raise OSError(errno.ENOENT, f"the kernel has no {name}s") from None
