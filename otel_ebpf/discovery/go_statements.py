"""`go` statements of a running program: where goroutines of a kind are started.

A goroutine's ``g`` keeps the function that it was started with (``startpc``) and the address
behind the statement that did it (``gopc``), also after its end, until it is used again.
"""

from __future__ import annotations

import os
import struct
from collections import Counter

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_proof import ALLGS, Memory

MAX_GOROUTINES = 16_384
"""Of ``runtime.allgs``, from the newest back."""
MAX_STATEMENTS = 8
"""Statements that start goroutines with one function; the most frequent ones."""
NEWPROC = "runtime.newproc"
_CALL = 5
"""Bytes of ``CALL rel32``."""


def statements(go: GoBinary, memory: Memory, load_bias: int, start: int) -> list[int]:
    """Addresses as linked behind the `go` statements that start goroutines with the function at
    ``start`` (as loaded). Nothing before Go 1.21, or where fields or ``allgs`` are not known."""
    needed = ("runtime.g.startpc", "runtime.g.gopc", "runtime.g.parentGoid")
    if ALLGS not in go.addresses or not all(name in go.offsets for name in needed):
        return []
    startpc, gopc = go.offsets[needed[0]], go.offsets[needed[1]]
    first = min(startpc, gopc)
    size = max(startpc, gopc) - first + 8
    header = memory(go.addresses[ALLGS] + load_bias, 16)
    if len(header) < 16:
        return []
    at, count = struct.unpack("<QQ", header)
    looked = min(count, MAX_GOROUTINES)
    pointers = memory(at + 8 * (count - looked), 8 * looked)
    found: Counter[int] = Counter()
    for (g,) in struct.iter_unpack("<Q", pointers[: len(pointers) // 8 * 8]):
        raw = memory(g + first, size)
        if len(raw) < size:
            continue
        (started,) = struct.unpack_from("<Q", raw, startpc - first)
        if started == start:
            found[struct.unpack_from("<Q", raw, gopc - first)[0] - load_bias] += 1
    return [pc for pc, _ in found.most_common(MAX_STATEMENTS)]


def statement_places(descriptor: int, go: GoBinary, pcs: list[int]) -> list[tuple[int, str]]:
    """(offset in the file, program of the kernel half) for those that are what they seem to be:
    there is a call of ``runtime.newproc`` right before."""
    newproc = go.addresses.get(NEWPROC)
    if newproc is None or NEWPROC not in go.symbols:
        return []
    shift = go.symbols[NEWPROC] - newproc  # code is in one segment
    places = []
    for pc in pcs:
        if not 0 < pc + shift < 1 << 62:
            continue
        raw = os.pread(descriptor, _CALL, pc + shift - _CALL) if pc + shift > _CALL else b""
        if len(raw) == _CALL and raw[0] == 0xE8:
            (distance,) = struct.unpack_from("<i", raw, 1)
            if pc + distance == newproc:
                places.append((pc + shift, "go_statement"))
    return places
