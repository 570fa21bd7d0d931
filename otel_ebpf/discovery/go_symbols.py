"""Addresses of Go functions and variables: from ``.symtab``, else from pclntab.

``strip`` removes the symbol table, but Go needs pclntab to run, and it names every
function that was not inlined everywhere. Only the wanted names are looked for, in the
memory map. Source: runtime.pcHeader and internal/abi, Go 1.18 (0xfffffff0) and
Go 1.20 and later (0xfffffff1). Variables are in ``.symtab`` alone.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from otel_ebpf.discovery.elf import MAX_TRIES, ElfImage

_SECTIONS = (".gopclntab", ".data.rel.ro.gopclntab")
_MAGICS = (b"\xf1\xff\xff\xff", b"\xf0\xff\xff\xff")
_ABI_SUFFIX = ".abi0"
MAX_FUNCTIONS = 2_000_000
_RELATIVE = 8  # R_X86_64_RELATIVE
_TEXT_IN_MODULEDATA = 22 * 8


@dataclass(frozen=True, slots=True)
class GoSymbol:
    """A symbol's address as linked and its size in bytes (0: unknown)."""

    vaddr: int
    size: int
    tls: bool = False


@dataclass(frozen=True, slots=True)
class _Pclntab:
    start: int  # file offsets
    end: int
    vaddr: int
    count: int
    text: int
    names: int
    functions: int


def from_symtab(image: ElfImage, wanted: Iterable[str]) -> dict[str, GoSymbol]:
    """Wanted names found in ``.symtab``; assembly functions under their Go name too."""
    names = list(wanted)
    table = image.symbols([*names, *(n + _ABI_SUFFIX for n in names)])
    found: dict[str, GoSymbol] = {}
    for name in names:
        symbol = table.get(name) or table.get(name + _ABI_SUFFIX)
        if symbol is not None:
            found[name] = GoSymbol(symbol.value, symbol.size, symbol.tls)
    return found


def _header(image: ElfImage, start: int, end: int, vaddr: int) -> _Pclntab | None:
    raw = image.data[start : start + 72]
    if len(raw) < 72 or raw[4:6] != b"\0\0" or raw[6] not in (1, 2, 4) or raw[7] != 8:
        return None
    count, _, text, names, _, _, _, functions = struct.unpack_from("<8Q", raw, 8)
    size = end - start
    if not 0 < count <= MAX_FUNCTIONS or names >= size or functions + 8 * count + 4 > size:
        return None
    return _Pclntab(start, end, vaddr, count, text, start + names, start + functions)


def _find(image: ElfImage) -> _Pclntab | None:
    for name in _SECTIONS:
        section = image.sections.get(name)
        if section is not None:
            start, end = image.span(section)
            if image.data[start : start + 4] in _MAGICS:
                return _header(image, start, end, section.vaddr)
    # No section headers: the table is somewhere in the read-only (or relro) data.
    for segment in image.segments:
        if segment.kind != "PT_LOAD":
            continue
        end = min(segment.offset + segment.filesz, len(image.data))
        for magic in _MAGICS:
            for tail in (b"\0\0\1\x08", b"\0\0\4\x08"):
                at = image.data.find(magic + tail, segment.offset, end)
                for _ in range(MAX_TRIES):
                    if at < 0:
                        break
                    vaddr = at - segment.offset + segment.vaddr
                    table = _header(image, at, end, vaddr)
                    if table is not None:
                        return table
                    at = image.data.find(magic + tail, at + 1, end)
    return None


def _text_start(image: ElfImage, table: _Pclntab) -> int | None:
    """Where Go's code begins. The header has it only before Go 1.26 and not in a PIE."""
    if table.text:
        return table.text
    for segment in image.segments:
        if segment.kind != "PT_LOAD" or not segment.flags & 2:
            continue
        end = min(segment.offset + segment.filesz, len(image.data))
        at = image.data.find(struct.pack("<Q", table.vaddr), segment.offset, end)
        if at >= 0:
            vaddr = at - segment.offset + segment.vaddr
            text = image.word_at(vaddr + _TEXT_IN_MODULEDATA)
            if text and image.file_offset(text) is not None:
                return text
    text = _relocated_text(image, table.vaddr)
    if text is not None:
        return text
    section = image.sections.get(".text")
    return section.vaddr if section is not None and section.vaddr else None


def _relocated_text(image: ElfImage, pclntab: int) -> int | None:
    """The same through a PIE's relocations: moduledata's words are addends there."""
    relocations = image.sections.get(".rela.dyn") or image.sections.get(".rela")
    if relocations is None:
        return None
    start, end = image.span(relocations)

    def addend_at(vaddr: int) -> int | None:
        pattern = struct.pack("<QQ", vaddr, _RELATIVE)
        at = image.data.find(pattern, start, end)
        return struct.unpack_from("<q", image.data, at + 16)[0] if at >= 0 else None

    pattern = struct.pack("<QQ", _RELATIVE, pclntab)
    at = image.data.find(pattern, start, end)
    for _ in range(MAX_TRIES):
        if at < start + 8:
            break
        if (at - 8 - start) % 24 == 0:
            moduledata = int.from_bytes(image.data[at - 8 : at], "little")
            text = addend_at(moduledata + _TEXT_IN_MODULEDATA)
            if text and image.file_offset(text) is not None:
                return text
        at = image.data.find(pattern, at + 1, end)
    return None


def from_pclntab(image: ElfImage, wanted: Iterable[str]) -> dict[str, GoSymbol]:
    """Wanted functions found in pclntab; inlined-away ones and variables are absent."""
    table = _find(image)
    if table is None:
        return {}
    text = _text_start(image, table)
    if text is None:
        return {}
    # Pairs of u32: offset of the function from text, offset of its record; sorted by the first.
    functab = memoryview(image.data[table.functions : table.functions + 8 * table.count + 4])
    entries = functab[: 8 * table.count + 4].cast("I")
    starts, records = entries[0::2], entries[1::2]
    found: dict[str, GoSymbol] = {}
    for name in wanted:
        at = image.data.find(b"\0" + name.encode() + b"\0", table.names, table.end)
        if at < 0:
            continue
        offset = at + 1 - table.names
        index = _function(image, table, starts, records, offset)
        if index is not None:
            found[name] = GoSymbol(text + starts[index], starts[index + 1] - starts[index])
    return found


def _function(
    image: ElfImage, table: _Pclntab, starts: memoryview, records: memoryview, name: int
) -> int | None:
    """The function whose record holds this name offset (record: u32 entry, i32 name...)."""
    wanted = struct.pack("<i", name)
    at = image.data.find(wanted, table.functions, table.end)
    for _ in range(MAX_TRIES):
        if at < 0:
            return None
        record = at - 4 - table.functions
        if record >= 0 and at % 4 == table.functions % 4:
            entry = int.from_bytes(image.data[at - 4 : at], "little")
            index = bisect_left(starts, entry, 0, table.count)
            if index < table.count and starts[index] == entry and records[index] == record:
                return index
        at = image.data.find(wanted, at + 1, table.end)
    return None
