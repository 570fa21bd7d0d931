"""Where a Rust program keeps which task of tokio a thread runs now.

Tokio numbers its tasks and never uses a number again. The one that runs is in a thread-local
variable, whose place is read off the machine code of the function that sets it: it takes the number
that was there and leaves its argument. What does not look so, or is stripped, gives nothing.
"""

from __future__ import annotations

import re

from cachetools import LRUCache

from otel_ebpf.discovery.elf import ElfError, ElfImage, identity
from otel_ebpf.discovery.go_returns import decoder
from otel_ebpf.discovery.procfs import ProcFs

SETTERS = (b"11TaskIdGuard5enter", b"7context19set_current_task_id")
"""In the mangled names of functions that do this, of whatever version of the compiler."""
MAX_NAME = 512
MAX_CODE = 160
MAX_TLS = 1 << 20

_THREAD = re.compile(r"^(r\w+), qword ptr fs:\[0\]$")
_VARIABLE = re.compile(r"^(r\w+), \[(r\w+) - (0x[0-9a-f]+)\]$")
_LOADED = re.compile(r"^r\w+, qword ptr (\[.+\]|fs:\[.+\])$")
_STORED = re.compile(r"^qword ptr (\[.+\]|fs:\[.+\]), r\w+$")
_MEMBER = re.compile(r"^\[(r\w+)(?: ([+-]) (0x[0-9a-f]+|\d+))?\]$")
_FIXED = re.compile(r"^fs:\[(0x[0-9a-f]+)\]$")
_FILES: LRUCache[tuple[int, int, int, int], int] = LRUCache(256)


def read_tokio(pid: int, proc: ProcFs | None = None) -> int:
    """Bytes from the thread pointer to the number of the task that runs; below 0, or 0 where it is
    not known: no tokio, or a stripped program."""
    path = (proc or ProcFs()).path(pid, "exe")
    try:
        file = identity(path)
        if file not in _FILES:
            _FILES[file] = _read(path)
    except (ElfError, OSError):
        return 0
    return _FILES[file]


def _read(path: str) -> int:
    with ElfImage(path) as image:
        names = _names(image)
        places = {
            place_of_task(image.bytes_at(symbol.value, min(symbol.size, MAX_CODE)))
            for symbol in image.symbols(names).values()
        } - {0}
    return places.pop() if len(places) == 1 else 0


def _names(image: ElfImage) -> list[str]:
    strings = image.sections.get(".strtab")
    if strings is None:
        return []
    start, end = image.span(strings)
    found = []
    for _, at in image.data.find_each(dict.fromkeys(SETTERS), start, end, 64):
        before = image.data[max(start, at - MAX_NAME) : at].rpartition(b"\0")[2]
        rest = image.data[at : min(end, at + MAX_NAME)].partition(b"\0")[0]
        found.append((before + rest).decode("latin-1"))
    return found


def place_of_task(code: bytes) -> int:
    """The same from the machine code of such a function."""
    bases: dict[str, int] = {}
    loaded: set[int] = set()
    for instruction in decoder().disasm(code, 0):
        name, operands = instruction.mnemonic, instruction.op_str
        if name == "mov" and (match := _THREAD.match(operands)):
            bases[match[1]] = 0
        elif name == "lea" and (match := _VARIABLE.match(operands)) and match[2] in bases:
            bases[match[1]] = bases[match[2]] - int(match[3], 16)
        elif name == "mov" and (match := _LOADED.match(operands)):
            loaded.add(_place(match[1], bases))
        elif name == "mov" and (match := _STORED.match(operands)):
            place = _place(match[1], bases)
            if place and place in loaded:
                return place
    return 0


def _place(operand: str, bases: dict[str, int]) -> int:
    """Bytes from the thread pointer, 0: somewhere else."""
    if match := _FIXED.match(operand):
        place = int(match[1], 16) - (1 << 64)
    elif (match := _MEMBER.match(operand)) and bases.get(match[1]):
        offset = int(match[3], 0) if match[3] else 0
        place = bases[match[1]] + (-offset if match[2] == "-" else offset)
    else:
        return 0
    return place if -MAX_TLS < place < 0 else 0
