"""Where Node keeps its async context: the frame of AsyncLocalStorage that runs now.

Since Node 24 it is V8's continuation-preserved embedder data, a member of the isolate; the
isolate is in a thread-local variable. Both places are read off the machine code of V8's own
exported functions, which do nothing else; what does not look so gives nothing.

Frames move when memory is collected. At the end of each collection V8 calls one function, of
which programs that are not stripped tell the place.
"""

from __future__ import annotations

import re

from cachetools import LRUCache

from otel_ebpf.discovery.elf import ElfError, ElfImage, identity
from otel_ebpf.discovery.go_returns import decoder
from otel_ebpf.discovery.procfs import ProcFs

CURRENT = "_ZN2v87Isolate10GetCurrentEv"
DATA = "_ZN2v87Isolate36GetContinuationPreservedEmbedderDataEv"
COLLECTED = "_ZN2v88internal4Heap36GarbageCollectionEpilogueInSafepointENS0_16GarbageCollectorE"
MAX_CODE = 128
MAX_TLS = 1 << 20
MAX_ISOLATE = 1 << 20

_FIXED = re.compile(r"^rax, qword ptr fs:\[(0x[0-9a-f]+)\]$")
_RETURNED = re.compile(r"^r\w\w, qword ptr \[rdi \+ (0x[0-9a-f]+)\]$")
_FILES: LRUCache[tuple[int, int, int, int], dict[str, int]] = LRUCache(64)


def read_node(pid: int, proc: ProcFs | None = None) -> dict[str, int]:
    """Members ``node_isolate`` and ``node_data`` of ``struct proc_info_t``, both in bytes: of the
    isolate's address from the thread pointer, of the context within it. Empty: not known."""
    path = (proc or ProcFs()).path(pid, "exe")
    try:
        file = identity(path)
        if file not in _FILES:
            _FILES[file] = _read(path)
    except (ElfError, OSError):
        return {}
    return _FILES[file]


def place_of_collections(pid: int, proc: ProcFs | None = None) -> tuple[str, int] | None:
    """(path, file offset) of the function that V8 calls at the end of each collection, before
    the program goes on; None when it is not to be found."""
    path = (proc or ProcFs()).path(pid, "exe")
    try:
        with ElfImage(path) as image:
            for tables in ((".symtab", ".strtab"), (".dynsym", ".dynstr")):
                found = image.symbols((COLLECTED,), *tables).get(COLLECTED)
                at = image.file_offset(found.value) if found is not None else None
                if at is not None:
                    return path, at
    except (ElfError, OSError):
        return None
    return None


def _read(path: str) -> dict[str, int]:
    with ElfImage(path) as image:
        found = image.symbols((CURRENT, DATA), ".dynsym", ".dynstr")
        if len(found) != 2:
            return {}
        code = {
            name: image.bytes_at(symbol.value, min(symbol.size, MAX_CODE))
            for name, symbol in found.items()
        }
    return places(code[CURRENT], code[DATA])


def places(current: bytes, data: bytes) -> dict[str, int]:
    """The same from the machine code of the two functions."""
    isolates = {int(word, 16) - (1 << 64) for word in _operands(current, _FIXED)}
    members = [int(word, 16) for word in _operands(data, _RETURNED)][:1]
    if len(isolates) != 1 or not members:
        return {}
    (isolate,) = isolates
    if not -MAX_TLS < isolate < 0 or not 0 < members[0] < MAX_ISOLATE or members[0] % 8:
        return {}
    return {"node_isolate": isolate, "node_data": members[0]}


def _operands(code: bytes, shape: re.Pattern[str]) -> list[str]:
    """What ``mov`` instructions of that shape read, in their order."""
    found = []
    for _, _, mnemonic, words in decoder().disasm_lite(code, 0):
        match = shape.match(words) if mnemonic == "mov" else None
        if match:
            found.append(match[1])
    return found
