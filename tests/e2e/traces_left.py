"""What the agent leaves in other places: uprobes in programs, entries in the kernel's maps."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from otel_ebpf.discovery.go_binary import read_go_binary
from otel_ebpf.discovery.go_prologue import MOST
from otel_ebpf.kernel import sysbpf

MAP_GET_NEXT_KEY, MAP_GET_FD_BY_ID = 4, 14
LINK_GET_FD_BY_ID, LINK_GET_NEXT_ID, UPROBE_MULTI_LINK = 30, 31, 12
PROBED = ("net/http.(*persistConn).readLoop", "net/http.(*conn).serve", "runtime.casgstatus")


def trapped(pid: int, program: Path, functions: tuple[str, ...] = PROBED) -> list[str]:
    """Those functions whose first bytes in the process are not those of the program's file.

    ``program`` must not be position-independent.
    """
    go = read_go_binary(program)
    assert go is not None and not go.pie
    found = []
    with program.open("rb") as file, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for name in functions:
            file.seek(go.symbols[name])
            memory.seek(go.addresses[name])
            if file.read(MOST) != memory.read(MOST):
                found.append(name)
    return found


def foreign_uprobes(program: Path) -> bool:
    """Whether anybody has uprobes in this program: another agent on this host, when ours is
    gone, for a uprobe's link does not outlive the process that holds it."""
    number = 0
    while True:
        try:
            _, attr = sysbpf.bpf(LINK_GET_NEXT_ID, struct.pack("=II", number, 0))
        except FileNotFoundError:
            return False
        number = struct.unpack_from("=I", attr, 4)[0]
        try:
            fd, _ = sysbpf.bpf(LINK_GET_FD_BY_ID, struct.pack("=II", number, 0))
        except OSError:
            continue  # ended meanwhile
        try:
            path = ctypes.create_string_buffer(4096)
            info = ctypes.create_string_buffer(64)  # struct bpf_link_info, of a multi uprobe
            struct.pack_into("=Q", info, 16, ctypes.addressof(path))
            struct.pack_into("=I", info, 48, len(path))
            asked = struct.pack("=IIQ", fd, len(info), ctypes.addressof(info))
            with contextlib.suppress(OSError):
                sysbpf.bpf(sysbpf.OBJ_GET_INFO_BY_FD, asked)
                kind = struct.unpack_from("=I", info)[0]
                if kind == UPROBE_MULTI_LINK and path.value == os.fsencode(program):
                    return True
        finally:
            os.close(fd)


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Looks until ``holds``; an AssertionError when it does not come to be."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.02)


def map_keys(agent: int, name: str) -> list[bytes]:
    """The keys in the hash map of that name which process ``agent`` holds."""
    for file in Path(f"/proc/{agent}/fdinfo").iterdir():
        try:
            number = re.search(r"^map_id:\t(\d+)", file.read_text(), re.M)
        except OSError:
            continue  # closed meanwhile
        if number is None:
            continue
        fd, _ = sysbpf.bpf(MAP_GET_FD_BY_ID, struct.pack("=II", int(number[1]), 0))
        try:
            info = ctypes.create_string_buffer(80)  # the head of struct bpf_map_info
            asked = struct.pack("=IIQ", fd, len(info), ctypes.addressof(info))
            sysbpf.bpf(sysbpf.OBJ_GET_INFO_BY_FD, asked)
            _, _, key_size, _, _, _, called = struct.unpack_from("=6I16s", info)
            if called.rstrip(b"\0").decode() == name[:15]:
                return list(_keys(fd, key_size))
        finally:
            os.close(fd)
    raise AssertionError(f"process {agent} has no map {name}")


def _keys(fd: int, size: int) -> Iterator[bytes]:
    key, after = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    before = 0  # of none: the first
    while True:
        attr = struct.pack("=IIQQ", fd, 0, before, ctypes.addressof(after))
        try:
            sysbpf.bpf(MAP_GET_NEXT_KEY, attr)
        except FileNotFoundError:
            return
        yield after.raw
        key.raw = after.raw
        before = ctypes.addressof(key)


def own_memory(pid: int) -> int:
    """Bytes of memory that are the process's alone, no file's."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB", text, re.M)
    assert found is not None
    return int(found[1]) << 10
