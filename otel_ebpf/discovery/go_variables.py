"""Variables of Go's scheduler in a program without a symbol table.

pclntab names functions only, but the code of two small functions tells where these are.
For a slice both must agree; what is not plain has no answer. amd64 only.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from otel_ebpf.discovery.elf import ElfImage
from otel_ebpf.discovery.go_symbols import GoSymbol

ALLP, ALLGS, GOIDGEN = "runtime.allp", "runtime.allgs", "runtime.sched.goidgen"
CODE_OF_ALLP = ("runtime.gcMarkTinyAllocs", "runtime.preemptall")
CODE_OF_ALLGS = "runtime.allgadd"
CODE_OF_GOIDGEN = "runtime.newproc1"
MAX_CODE = 16 << 10

_RIP = rb"[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]"  # a ModRM byte: disp32(%rip) and any register
# mov disp32(%rip), %reg
_LOAD = re.compile(rb"[\x48\x4c]\x8b" + _RIP + rb"(?=(.{4}))", re.S)
# mov $16, %reg; lea disp32(%rip), %base; lock xadd %reg, (%base): a batch of 16 ids is taken
_TAKE_IDS = re.compile(
    rb"[\xb8-\xbf]\x10\0\0\0[\x48\x4c]\x8d" + _RIP + rb"(.{4})\xf0[\x48\x49\x4c\x4d]\x0f\xc1", re.S
)


def _code(image: ElfImage, symbols: Mapping[str, GoSymbol], name: str) -> tuple[int, bytes]:
    symbol = symbols.get(name)
    if symbol is None or not 0 < symbol.size <= MAX_CODE:
        return 0, b""
    return symbol.vaddr, image.bytes_at(symbol.vaddr, symbol.size)


def _targets(place: int, code: bytes, pattern: re.Pattern[bytes]) -> set[int]:
    """Addresses that the instructions found name, relative to the next instruction."""
    return {
        place + match.start(1) + 4 + struct.unpack("<i", match.group(1))[0]
        for match in pattern.finditer(code)
    }


def scheduler_variables(image: ElfImage, symbols: Mapping[str, GoSymbol]) -> dict[str, int]:
    """Addresses as linked of ``runtime.allp``, ``allgs`` and ``runtime.sched``'s ``goidgen``.

    ``symbols`` should hold the functions of ``CODE_OF_ALLP``, ``_ALLGS`` and ``_GOIDGEN``.
    Absent when the code is not as expected.
    """
    if image.machine != "x64":
        return {}
    found: dict[str, int] = {}
    slices = []
    for name in CODE_OF_ALLP:  # both go through a slice: its pointer, and its length behind
        loaded = _targets(*_code(image, symbols, name), _LOAD)
        slices.append({at for at in loaded if at + 8 in loaded})
    common = set.intersection(*slices)
    if len(common) == 1:
        found[ALLP] = common.pop()
    # What is appended to has its pointer, length and capacity read.
    loaded = _targets(*_code(image, symbols, CODE_OF_ALLGS), _LOAD)
    grown = {at for at in loaded if at + 8 in loaded and at + 16 in loaded}
    if len(grown) == 1:
        found[ALLGS] = grown.pop()
    taken = _targets(*_code(image, symbols, CODE_OF_GOIDGEN), _TAKE_IDS)
    if len(taken) == 1:
        found[GOIDGEN] = taken.pop()
    return {name: at for name, at in found.items() if at % 8 == 0 and _writable(image, at)}


def _writable(image: ElfImage, vaddr: int) -> bool:
    return any(
        s.kind == "PT_LOAD" and s.flags & 2 and 0 <= vaddr - s.vaddr < s.memsz
        for s in image.segments
    )
