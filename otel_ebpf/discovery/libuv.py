"""Where libuv's loop is at: at what it has read, or at timers and what else it calls.

``uv_run`` calls ``uv__io_poll``, which waits in epoll_wait and calls back what is ready, and
other functions for timers, immediates and what is pending. While one of them is at work, the
word of the stack beneath ``uv_run``'s frame is where that call returns to. That word is always
as far from the array of events that epoll_wait is given, which is a variable of
``uv__io_poll``. So it is looked for while a process waits, once for each build of libuv.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from cachetools import LRUCache

from otel_ebpf.discovery.elf import ElfError, ElfImage, identity
from otel_ebpf.discovery.memory import Memory, mappings
from otel_ebpf.discovery.procfs import ProcFs

RUN = "uv_run"
WAITS = (232, 281)  # epoll_wait, epoll_pwait
MAX_FRAME = 64 << 10
"""Bytes of the stack that are looked through: of the array of 1,024 events, and more."""
MAX_BELOW = 8 << 10
MAX_FUNCTION = 16 << 10
_CALL = 0xE8
_CALL_SIZE = 5
_LIBRARY = re.compile(r"/libuv\.so[^/]*$")


class _Program(NamedTuple):
    file: tuple[int, int, int, int]
    run: int
    """Address of uv_run in the process."""
    size: int


_FILES: LRUCache[tuple[int, int, int, int], tuple[int, int, int] | None] = LRUCache(64)
"""(uv_run as linked, its size, address at which the file's first byte is linked)."""
_PLACES: LRUCache[tuple[int, int, int, int], tuple[int, int]] = LRUCache(64)
"""(distance from the events, return address within uv_run), once found."""


def read_loop(pid: int, proc: ProcFs | None = None) -> dict[str, int] | None:
    """Members ``loop_slot`` (bytes from the array of events) and ``loop_polls`` (the word there
    while it is at what was read) of ``struct proc_info_t``. Empty: no libuv; None: not
    found yet, as the process did not wait just now."""
    proc = proc or ProcFs()
    program = _program(pid, proc)
    if program is None:
        return {}
    place = _PLACES.get(program.file)
    if place is None:
        place = _look(pid, program, proc)
        if place is None:
            return None
        _PLACES[program.file] = place
    return {"loop_slot": place[0], "loop_polls": program.run + place[1]}


def _program(pid: int, proc: ProcFs) -> _Program | None:
    exe, seen = proc.exe(pid), set()
    for mapping in mappings(pid, proc):
        path = mapping.path.removesuffix(" (deleted)")
        if mapping.offset or mapping.inode in seen or not (path == exe or _LIBRARY.search(path)):
            continue
        seen.add(mapping.inode)
        file = proc.path(pid, f"map_files/{mapping.start:x}-{mapping.end:x}")
        try:
            key = identity(file)
            if key not in _FILES:
                _FILES[key] = _symbol(file)
        except (ElfError, OSError):
            continue
        found = _FILES[key]
        if found is not None:
            value, size, first = found
            return _Program(key, value - first + mapping.start, size)
    return None


def _symbol(path: str) -> tuple[int, int, int] | None:
    with ElfImage(path) as image:
        run = image.symbols((RUN,), ".dynsym", ".dynstr").get(RUN)
        loads = [s.vaddr for s in image.segments if s.kind == "PT_LOAD" and s.offset == 0]
    if run is None or not _CALL_SIZE < run.size <= MAX_FUNCTION or not loads:
        return None
    return run.value, run.size, loads[0] & ~0xFFF


def _look(pid: int, program: _Program, proc: ProcFs) -> tuple[int, int] | None:
    """(distance, return address within uv_run), if the process waits in its loop just now."""
    words = (proc.read(pid, "syscall", 512) or b"").split()
    try:
        number, events, stack = int(words[0]), int(words[2], 16), int(words[7], 16)
    except (IndexError, ValueError):
        return None
    if number not in WAITS or not stack < events < stack + MAX_BELOW:
        return None
    try:
        with Memory(pid, proc) as memory:
            code = memory.read(program.run, program.size)
            below = memory.read(stack, (events - stack) & ~7)
            above = memory.read(events, MAX_FRAME)
            size = MAX_FRAME
            while not above and size > 4096:  # the stack ends before that
                size //= 2
                above = memory.read(events, size)
    except OSError:
        return None
    return place(code, program.run, below, above)


def place(code: bytes, run: int, below: bytes, above: bytes) -> tuple[int, int] | None:
    """The same from what memory holds: ``code`` of uv_run, which is at ``run``; the stack
    ``below`` the events and ``above`` where they begin. None unless exactly one word fits: it is
    behind a call in uv_run, and below the events is a word within the function that it calls."""
    inner = [word for (word,) in struct.iter_unpack("<Q", below)]
    found = []
    for index, (word,) in enumerate(struct.iter_unpack("<Q", above[: len(above) & ~7])):
        back = word - run
        if not _CALL_SIZE <= back < len(code) or code[back - _CALL_SIZE] != _CALL:
            continue
        (distance,) = struct.unpack_from("<i", code, back - 4)
        called = word + distance
        if any(called < other < called + MAX_FUNCTION for other in inner):
            found.append((index * 8, back))
    return found[0] if len(found) == 1 else None
