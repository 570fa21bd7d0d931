"""The system calls that BCC does not wrap, straight through ctypes.

Nothing here imports BCC, so `doctor` can say what is wrong on a host that has none.
Failed calls raise OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from pathlib import Path

MAP_CREATE, PROG_LOAD, LINK_CREATE = 0, 5, 28
OBJ_GET_INFO_BY_FD, RAW_TRACEPOINT_OPEN, BTF_GET_FD_BY_ID, BTF_GET_NEXT_ID = 15, 17, 19, 23
ARRAY_MAP = 2
KPROBE, TRACEPOINT, SOCK_OPS, RAW_TRACEPOINT, TRACING = 2, 5, 13, 17, 26
TRACE_FENTRY, PERF_EVENT_LINK, UPROBE_MULTI = 24, 41, 48
PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT, PERF_COUNT_SW_BPF_OUTPUT = 1, 2, 10
LOG_STEPS, LOG_STATS = 1, 4
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408

# (bpf, perf_event_open) by machine
_NUMBERS = {"x86_64": (321, 298), "aarch64": (280, 241), "riscv64": (280, 241)}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

RETURN_ONE = bytes.fromhex("b7000000010000009500000000000000")
"""r0 = 1; exit. One, for zero would hide the event from other users of the tracepoint."""
RETURN_ZERO = bytes.fromhex("b7000000000000009500000000000000")
"""r0 = 0; exit. What fentry programs must return."""
READ_KERNEL = bytes.fromhex(
    "bfa1000000000000"  # r1 = r10
    "07010000f8ffffff"  # r1 += -8
    "b702000008000000"  # r2 = 8
    "b703000000000000"  # r3 = 0
    "8500000071000000"  # call bpf_probe_read_kernel
    "b700000001000000"
    "9500000000000000"
)
"""A program that reads kernel memory. It is loaded to see whether it may be, never run."""


def read_task_program(offsets: Sequence[int], size: int) -> bytes:
    """r0 = bpf_get_current_task_btf(), then r0 = *(r0 + offset) for each, while it is not 0.

    ``size``: bytes of the last one, 4 or 8; the others are pointers.
    """
    call = bytes.fromhex("850000009e000000")
    steps = []
    for number, offset in enumerate(offsets):
        last = number == len(offsets) - 1
        steps.append(struct.pack("<BBhi", 0x61 if last and size == 4 else 0x79, 0, offset, 0))
        if not last:  # if r0 == 0: leave
            steps.append(struct.pack("<BBhi", 0x15, 0x00, 2 * (len(offsets) - number) - 3, 0))
    return call + b"".join(steps) + RETURN_ONE


def read_words_program(cast: int, words: int) -> bytes:
    """r0 = cast(8, words), both BTF ids, then parts of words of it at the 16th and before."""
    steps = [
        struct.pack("<BBhi", 0xB7, 1, 0, 8),
        struct.pack("<BBhi", 0xB7, 2, 0, words),
        struct.pack("<BBhi", 0x85, 0x20, 0, cast),
        struct.pack("<BBhi", 0x79, 0x01, 120, 0),
        struct.pack("<BBhi", 0x61, 0x01, 4, 0),
        struct.pack("<BBhi", 0x69, 0x01, 2, 0),
    ]
    return b"".join(steps) + RETURN_ONE


def supported_machine() -> bool:
    """Whether this machine's system call numbers are known."""
    return platform.machine() in _NUMBERS


def _syscall(which: int, *args: object) -> int:
    numbers = _NUMBERS.get(platform.machine())
    if numbers is None:
        raise OSError(errno.ENOSYS, f"unsupported machine {platform.machine()}")
    result = int(_libc.syscall(ctypes.c_long(numbers[which]), *args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def bpf(command: int, attr: bytes) -> tuple[int, bytes]:
    """bpf(2). Returns its result and the attribute as the kernel left it."""
    padded = ctypes.create_string_buffer(attr, 144)
    return bpf_in_place(command, padded), padded.raw


def bpf_in_place(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    """bpf(2) on an attribute of the caller's, who sees what the kernel wrote even when it fails."""
    return _syscall(0, ctypes.c_int(command), attr, ctypes.c_uint(len(attr)))


def map_create(kind: int, key: int, value: int, entries: int) -> int:
    """A map's file descriptor; sizes in bytes."""
    return bpf(MAP_CREATE, struct.pack("=5I", kind, key, value, entries, 0))[0]


def load_program(
    kind: int,
    instructions: bytes,
    *,
    name: str = "otel_ebpf_try",
    expected_attach: int = 0,
    attach_btf_id: int = 0,
    log: bytearray | None = None,
    log_level: int = LOG_STEPS,
) -> int:
    """A loaded program's file descriptor. Instructions are raw 8-byte BPF words.

    ``log`` is filled with what the verifier says, ending in a zero byte. A log that is too
    small is an error to some kernels (ENOSPC). ``log_level`` is ``LOG_STEPS``, or ``LOG_STATS``
    for a few lines at the end (since 5.2).
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_text = ctypes.create_string_buffer(b"GPL")
    room = None if log is None else (ctypes.c_char * len(log)).from_buffer(log)
    attr = struct.pack(
        "=IIQQIIQII16sIIIIQIIQII",
        kind,
        len(instructions) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_text),
        0 if room is None else log_level,
        0 if room is None else len(room),
        0 if room is None else ctypes.addressof(room),
        0,  # kernel version: no longer checked
        0,
        name.encode()[:15],
        0,  # ifindex
        expected_attach,
        0,  # BTF fd, func info
        0,
        0,
        0,
        0,  # line info
        0,
        0,
        attach_btf_id,
    )
    return bpf(PROG_LOAD, attr)[0]


def program_info(fd: int) -> tuple[int, int]:
    """(id, instructions that the verifier went through) of a loaded program; the second is
    0 where the kernel does not tell (before 5.16)."""
    info = ctypes.create_string_buffer(256)
    bpf(OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, 232, ctypes.addressof(info)))
    return int(struct.unpack_from("=I", info, 4)[0]), int(struct.unpack_from("=I", info, 216)[0])


def open_raw_tracepoint(program: int, name: bytes | None) -> int:
    """Attach a raw tracepoint program, or with no name a tracing one; closing detaches."""
    text = ctypes.create_string_buffer(name) if name is not None else None
    address = ctypes.addressof(text) if text is not None else 0
    return bpf(RAW_TRACEPOINT_OPEN, struct.pack("=QI", address, program))[0]


def perf_event_open(
    kind: int,
    config: int,
    *,
    config1: int = 0,
    config2: int = 0,
    cpu: int = 0,
    wakeup: int = 1,
    pid: int = -1,
) -> int:
    """A perf event on one CPU (-1: any) for one process or all (-1). Programs run on every
    CPU all the same; they are attached by ``attach_perf`` or ``link_perf``. ``wakeup``:
    records of a ring after which its reader is woken."""
    attr = struct.pack(
        "=IIQQQQQIIQQ", kind, 112, config, 1, 1 << 10, 0, 0, wakeup, 0, config1, config2
    ).ljust(112, b"\0")
    flags = 8  # close on exec
    return _syscall(
        1,
        ctypes.create_string_buffer(attr, 112),
        ctypes.c_int(pid),
        ctypes.c_int(cpu),
        ctypes.c_int(-1),
        ctypes.c_ulong(flags),
    )


def attach_perf(event: int, program: int) -> None:
    """Run ``program`` at each firing of ``event`` until ``event`` is closed."""
    for request, value in ((_IOC_SET_BPF, program), (_IOC_ENABLE, 0)):
        if _libc.ioctl(ctypes.c_int(event), ctypes.c_ulong(request), ctypes.c_ulong(value)) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def link_perf(event: int, program: int) -> int:
    """The same as a link, whose closing ends it at once (Linux 5.15)."""
    return bpf(LINK_CREATE, struct.pack("=IIIIQ", program, event, PERF_EVENT_LINK, 0, 0))[0]


def link_uprobes(
    path: bytes, offsets: Sequence[int], program: int, *, returns: bool = False, pid: int = 0
) -> int:
    """Run ``program``, loaded for ``UPROBE_MULTI``, at file offsets of ``path``, or when the
    functions there return, in one process or in every (0); closing the link ends it (Linux 6.6)."""
    name = ctypes.create_string_buffer(path)
    places = (ctypes.c_uint64 * len(offsets))(*offsets)
    attr = struct.pack(
        "=IIIIQQQQIIII",
        program,
        0,
        UPROBE_MULTI,
        0,
        ctypes.addressof(name),
        ctypes.addressof(places),
        0,  # reference counters, cookies
        0,
        len(offsets),
        int(returns),
        pid,
        0,
    )
    return bpf(LINK_CREATE, attr)[0]


def mount(fstype: str, target: Path) -> None:
    """mount(2) of a pseudo file system, with nosuid, nodev and noexec."""
    name = fstype.encode()
    nosuid_nodev_noexec = 2 | 4 | 8
    if _libc.mount(name, os.fsencode(target), name, ctypes.c_ulong(nosuid_nodev_noexec), None) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def filesystem_magic(path: Path) -> int:
    """``f_type`` of statfs(2): what file system ``path`` is on."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(ctypes.c_long.from_buffer(buffer).value)


def kernel_btf() -> bytes:
    """The running kernel's BTF by object id. Needs CAP_SYS_ADMIN.

    Raises:
        OSError: not allowed, or the kernel has none.
    """
    object_id = 0
    while True:
        _, attr = bpf(BTF_GET_NEXT_ID, struct.pack("=II", object_id, 0))
        object_id = struct.unpack_from("=I", attr, 4)[0]
        try:
            fd, _ = bpf(BTF_GET_FD_BY_ID, struct.pack("=I", object_id))
        except OSError as error:
            if error.errno == errno.ENOENT:  # unloaded meanwhile
                continue
            raise
        try:
            name, in_kernel, size = _btf_info(fd, None)
            if in_kernel and name == b"vmlinux":
                data = ctypes.create_string_buffer(size)
                _btf_info(fd, data)
                return data.raw
        finally:
            os.close(fd)


def _btf_info(fd: int, data: ctypes.Array[ctypes.c_char] | None) -> tuple[bytes, bool, int]:
    name = ctypes.create_string_buffer(64)
    info = ctypes.create_string_buffer(
        struct.pack(
            "=QIIQII",
            0 if data is None else ctypes.addressof(data),
            0 if data is None else len(data),
            0,
            ctypes.addressof(name),
            len(name),
            0,
        ),
        32,
    )
    bpf(OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
    _, size, _, _, _, in_kernel = struct.unpack("=QIIQII", info.raw)
    return name.value, bool(in_kernel), size
