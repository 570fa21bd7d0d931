"""Addresses of Go types' descriptors: what an interface's type word holds.

A program compares them to know what is behind an interface. There is no symbol for them in
a stripped program, and in others not for all; but every type that can be in an interface has
its name in the program, and its descriptor points at the name.
Source: internal/abi.Type and abi.Name of the Go runtime; the same since Go 1.15 on amd64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from otel_ebpf.discovery.elf import MAX_TRIES, ElfImage
from otel_ebpf.discovery.go_pclntab import find_moduledata, find_pclntab
from otel_ebpf.discovery.go_symbols import from_symtab
from otel_ebpf.discovery.relocations import Relocations

_TYPES, _ETYPES = "runtime.types", "runtime.etypes"
# Of the descriptor: u64 size, u8 flags at 20, u8 kind at 23, i32 name at 40; of a
# pointer type what its methods need is at 56, which begins with its package's name.
_FLAGS, _KIND, _NAME, _UNCOMMON = 20, 23, 40, 56
_POINTER_KIND, _HAS_UNCOMMON = 22, 1
MAX_SAME_NAME = 64
MAX_TYPES = 1 << 30
"""Bytes of type descriptors that are believed."""


def _range(image: ElfImage, offsets: Mapping[str, int]) -> tuple[int, int] | None:
    """Addresses between which descriptors and their names are."""
    symbols = from_symtab(image, (_TYPES, _ETYPES))
    if len(symbols) == 2:
        bounds = symbols[_TYPES].vaddr, symbols[_ETYPES].vaddr
        return bounds if _sound(image, *bounds) else None
    first = offsets.get("runtime.moduledata.types")
    last = offsets.get("runtime.moduledata.etypes")
    table = find_pclntab(image) if first is not None and last is not None else None
    if first is None or last is None or table is None:
        return None
    relocations = Relocations(image)
    for moduledata in find_moduledata(image, table):
        types, etypes = relocations.word(moduledata + first), relocations.word(moduledata + last)
        if types and etypes and _sound(image, types, etypes):
            return types, etypes
    return None


def _sound(image: ElfImage, types: int, etypes: int) -> bool:
    first, last = image.file_offset(types), image.file_offset(etypes - 1)
    return (
        0 < etypes - types < MAX_TYPES
        and first is not None
        and last is not None
        and last - first == etypes - 1 - types
    )


def _name(image: ElfImage, start: int, end: int, offset: int, old: bool) -> str:
    """The name at an offset from ``types``: one byte of flags, its length, its bytes."""
    at = start + offset
    if not start <= at < end - 3:
        return ""
    if old:
        size, at = int.from_bytes(image.data[at + 1 : at + 3], "big"), at + 3
    else:
        size, at = image.data[at + 1], at + 2
        if size & 0x80:
            size, at = size & 0x7F | image.data[at] << 7, at + 1
    return image.data[at : min(at + size, end)].decode("utf-8", "replace")


def _length(size: int, old: bool) -> bytes:
    if old:
        return size.to_bytes(2, "big")
    return bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])


def type_addresses(
    image: ElfImage,
    wanted: Iterable[str],
    version: tuple[int, int, int],
    offsets: Mapping[str, int],
) -> dict[str, int]:
    """Addresses as linked of the descriptors of pointer types.

    Args:
        wanted: ``*net/http.conn``, ``*google.golang.org/grpc/internal/transport.ServerStream``.
            Types with methods; two packages may have the same last element.
        version: of Go: names were written in another way before 1.17.
        offsets: for ``runtime.moduledata``, where there are no symbols.

    A type that is not in the program, or is there twice, is absent.
    """
    bounds = _range(image, offsets)
    start = image.file_offset(bounds[0]) if bounds else None
    if bounds is None or start is None:
        return {}
    types, etypes = bounds
    end = start + etypes - types
    old = version < (1, 17, 0)
    texts: dict[bytes, list[str]] = {}
    for name in wanted:
        text = f"*{name.rpartition('/')[2].lstrip('*')}".encode()
        texts.setdefault(_length(len(text), old) + text, []).append(name)
    # A name's offset counts from its flags, the byte before its length.
    names = {
        struct.pack("<I", at - 1 - start): texts[text]
        for text, at in image.data.find_each(texts, start, end, MAX_SAME_NAME)
        if at > start
    }
    places: dict[str, set[int]] = {}
    for offset, at in image.data.find_each(names, start, end, MAX_TRIES):
        place = at - _NAME
        if not _pointer_type(image, start, end, place):
            continue
        package = _package(image, start, end, place, old)
        for name in names[offset]:
            if name.lstrip("*").rpartition(".")[0] == package:
                places.setdefault(name, set()).add(place)
    return {name: types + at.pop() - start for name, at in places.items() if len(at) == 1}


def _pointer_type(image: ElfImage, start: int, end: int, place: int) -> bool:
    if place < start or (place - start) % 8 or place + 64 > end:
        return False
    raw = image.data[place : place + 24]
    size, flags, kind = int.from_bytes(raw[:8], "little"), raw[_FLAGS], raw[_KIND] & 31
    return size == 8 and kind == _POINTER_KIND and bool(flags & _HAS_UNCOMMON)


def _package(image: ElfImage, start: int, end: int, place: int, old: bool) -> str:
    """The package of a type with methods."""
    offset = int.from_bytes(image.data[place + _UNCOMMON : place + _UNCOMMON + 4], "little")
    return _name(image, start, end, offset, old)
