"""Markers and the one question that decides whether kernel tests can run here."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import platform
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is slow, not wrong; the limit on each test catches what hangs.
settings.register_profile("patient", deadline=None)
if "CI" not in os.environ:  # there Hypothesis chooses its own: no deadline, the same examples
    settings.load_profile("patient")

_TESTS = Path(__file__).parent
_LAST = ("kernel", "e2e", "accuracy", "benchmarks")
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_PROG_LOAD = 5
_TYPE_TRACEPOINT = 5


class _ProgLoad(ctypes.Structure):
    """The head of `union bpf_attr` for BPF_PROG_LOAD, include/uapi/linux/bpf.h."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )


@functools.cache
def kernel_refusal() -> str:
    """Why programs cannot be loaded into this kernel by this user, or "" when they can.

    Asks the kernel itself: loads the smallest tracepoint program (``r0 = 0; exit``).
    """
    if os.geteuid() != 0:
        return f"kernel tests need root (this is uid {os.geteuid()})"
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        return f"the number of bpf(2) is not known for {platform.machine()}"
    program = ctypes.create_string_buffer(bytes.fromhex("b7000000000000009500000000000000"), 16)
    license_text = ctypes.create_string_buffer(b"GPL")
    attr = _ProgLoad(
        prog_type=_TYPE_TRACEPOINT,
        insn_cnt=2,
        insns=ctypes.addressof(program),
        license=ctypes.addressof(license_text),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    fd = libc.syscall(
        ctypes.c_long(number),
        ctypes.c_long(_PROG_LOAD),
        ctypes.byref(attr),
        ctypes.c_ulong(ctypes.sizeof(attr)),
    )
    if fd < 0:
        return f"this kernel refuses bpf(2): {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    if importlib.util.find_spec("bcc") is None:
        return "the distribution's bcc binding is not importable (run `make setup`)"
    return ""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's folder says what it is: tests/kernel and tests/e2e need no mark of their own."""
    for item in items:
        if _folder(item) in {"kernel", "e2e"}:
            item.add_marker(_folder(item))
    # What is quick and near the cause goes first.
    items.sort(key=lambda item: _LAST.index(_folder(item)) if _folder(item) in _LAST else -1)


def _folder(item: pytest.Item) -> str:
    """The folder under tests/ that the test is in."""
    return item.path.relative_to(_TESTS).parts[0] if item.path.is_relative_to(_TESTS) else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kernel") is None:
        return
    reason = kernel_refusal()
    if not reason:
        return
    if os.environ.get("OTEL_EBPF_REQUIRE_KERNEL") == "1":
        pytest.fail(f"OTEL_EBPF_REQUIRE_KERNEL=1, but {reason}", pytrace=False)
    pytest.skip(reason)
