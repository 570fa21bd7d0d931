"""pclntab: the table of a program's functions that Go needs at run time.

``strip`` removes the symbol table, but not this one: it names every function that was
not inlined everywhere. Only the wanted names are looked for, in the memory map.
Source: runtime.pcHeader and debug/gosym for the layouts of Go 1.2 (magic 0xfffffffb,
until 1.15), 1.16 (0xfffffffa), 1.18 (0xfffffff0) and 1.20 (0xfffffff1, until now).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from otel_ebpf.discovery.elf import MAX_TRIES, ElfImage
from otel_ebpf.discovery.relocations import Relocations

_SECTIONS = (".gopclntab", ".data.rel.ro.gopclntab")
_GO_1_2, _GO_1_16 = b"\xfb\xff\xff\xff", b"\xfa\xff\xff\xff"
_GO_1_18, _GO_1_20 = b"\xf0\xff\xff\xff", b"\xf1\xff\xff\xff"
_MAGICS = (_GO_1_20, _GO_1_18, _GO_1_16, _GO_1_2)
_QUANTA = (b"\0\0\1\x08", b"\0\0\4\x08")
"""Two zeros, the processor's instruction alignment, bytes in a pointer."""
MAX_FUNCTIONS = 2_000_000
_TEXT_IN_MODULEDATA = 22 * 8


@dataclass(frozen=True, slots=True)
class Pclntab:
    """Where the table's parts are: offsets in the file, in bytes.

    Attributes:
        start, end: the whole table; vaddr: its address as linked.
        count: functions in it.
        text: what entries count from as the header says; 0 where it does not, and for
            the layouts before Go 1.18, whose entries are addresses.
        names, names_end: where the names are, and what their offsets count from.
        functions: what the records' offsets count from.
        table: the sorted pairs (entry, offset of the record), ``width`` bytes each part.
    """

    start: int
    end: int
    vaddr: int
    count: int
    text: int
    names: int
    names_end: int
    functions: int
    table: int
    width: int


def _header(image: ElfImage, start: int, end: int, vaddr: int) -> Pclntab | None:
    raw = image.data[start : start + 72]
    if len(raw) < 72 or raw[4:8] not in _QUANTA:
        return None
    magic = raw[:4]
    words = struct.unpack_from("<8Q", raw, 8)
    width = 4 if magic in (_GO_1_18, _GO_1_20) else 8
    count, size, text = words[0], end - start, 0
    if magic == _GO_1_2:
        names, names_end, functions, table = 0, size, 0, 16
    elif magic == _GO_1_16:
        names, names_end, functions, table = words[2], words[3], words[6], words[6]
    else:
        text, names, names_end, functions, table = words[2], words[3], words[4], words[7], words[7]
    fits = table + 2 * width * count + width <= size and names < names_end <= size
    if not 0 < count <= MAX_FUNCTIONS or not fits:
        return None
    return Pclntab(
        start=start,
        end=end,
        vaddr=vaddr,
        count=count,
        text=text,
        names=start + names,
        names_end=start + names_end,
        functions=start + functions,
        table=start + table,
        width=width,
    )


def _places(image: ElfImage) -> Iterator[tuple[int, int, int]]:
    """Where the table may be: start and end in the file, address."""
    for name in _SECTIONS:
        section = image.sections.get(name)
        if section is not None:
            start, end = image.span(section)
            yield start, end, section.vaddr
    # No section headers, or lying ones: it is somewhere in the read-only (or relro) data.
    for segment in image.segments:
        if segment.kind != "PT_LOAD":
            continue
        end = min(segment.offset + segment.filesz, len(image.data))
        for magic in _MAGICS:
            for quantum in _QUANTA:
                at = image.data.find(magic + quantum, segment.offset, end)
                for _ in range(MAX_TRIES):
                    if at < 0:
                        break
                    yield at, end, at - segment.offset + segment.vaddr
                    at = image.data.find(magic + quantum, at + 1, end)


def find_pclntab(image: ElfImage) -> Pclntab | None:
    """The program's table, or None when there is none that makes sense."""
    for start, end, vaddr in _places(image):
        if image.data[start : start + 4] in _MAGICS:
            table = _header(image, start, end, vaddr)
            if table is not None:
                return table
    return None


def find_moduledata(image: ElfImage, table: Pclntab) -> Iterator[int]:
    """Addresses where runtime.moduledata may be: it begins with pclntab's address."""
    pattern = struct.pack("<Q", table.vaddr)
    for segment in image.segments:
        if segment.kind != "PT_LOAD" or not segment.flags & 2:
            continue
        end = min(segment.offset + segment.filesz, len(image.data))
        at = image.data.find(pattern, segment.offset, end)
        for _ in range(MAX_TRIES):
            if at < 0:
                break
            if (at - segment.offset + segment.vaddr) % 8 == 0:
                yield at - segment.offset + segment.vaddr
            at = image.data.find(pattern, at + 1, end)
    yield from Relocations(image).places_of(table.vaddr)


def _text_start(image: ElfImage, table: Pclntab) -> int | None:
    """What entries count from. The header has it only before Go 1.26 and not in a PIE."""
    if table.width == 8:
        return 0
    if table.text:
        return table.text
    relocations = Relocations(image)
    for moduledata in find_moduledata(image, table):
        text = relocations.word(moduledata + _TEXT_IN_MODULEDATA)
        if text and image.file_offset(text) is not None:
            return text
    section = image.sections.get(".text")
    return section.vaddr if section is not None and section.vaddr else None


def _entries(image: ElfImage, table: Pclntab) -> tuple[Sequence[int], Sequence[int]]:
    """The functions' entries (one more than there are functions: the end) and records."""
    size = table.width * (2 * table.count + 1)
    words = memoryview(image.data[table.table : table.table + size]).cast(
        "I" if table.width == 4 else "Q"
    )
    starts, records = words[0::2], words[1::2]
    if table.width == 8 and image.pie and not (starts[0] and starts[table.count - 1]):
        # Addresses that the loader fills in: they are in the relocations.
        first = table.vaddr + table.table - table.start
        filled = Relocations(image).addends(first, first + size)
        return [filled.get(first + 16 * i, 0) for i in range(table.count + 1)], records
    return starts, records


def functions(image: ElfImage, wanted: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Wanted functions: name -> (address as linked, bytes to the next function).

    Functions that were inlined away are absent, as are all without a sound table.
    """
    table = find_pclntab(image)
    text = _text_start(image, table) if table is not None else None
    if table is None or text is None:
        return {}
    starts, records = _entries(image, table)
    texts = {b"\0" + name.encode() + b"\0": name for name in wanted}
    names = {
        struct.pack("<i", at + 1 - table.names): texts[name]
        for name, at in image.data.find_each(texts, table.names, table.names_end, 1)
    }
    found: dict[str, tuple[int, int]] = {}
    for offset, at in image.data.find_each(names, table.functions, table.end, MAX_TRIES):
        if names[offset] not in found:
            index = _function(image, table, starts, records, at)
            if index is not None:
                size = max(starts[index + 1] - starts[index], 0)
                found[names[offset]] = (text + starts[index], size)
    return found


def _function(
    image: ElfImage, table: Pclntab, starts: Sequence[int], records: Sequence[int], at: int
) -> int | None:
    """The function whose record has its name's offset at ``at`` (entry, then i32 name)."""
    record = at - table.width - table.functions
    if record < 0 or at % 4 != table.functions % 4:
        return None
    entry = int.from_bytes(image.data[at - table.width : at], "little")
    if not entry and table.width == 8 and image.pie:
        entry = Relocations(image).word(table.vaddr + at - table.width - table.start) or 0
    index = bisect_left(starts, entry, 0, table.count)
    if index < table.count and starts[index] == entry and records[index] == record:
        return index
    return None
