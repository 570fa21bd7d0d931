"""Field offsets of Go structs, from a program's debugging data, without walking it.

Go's linker writes type names into .debug_info itself (DW_FORM_string). So the name's
bytes lead to the type's entry, and only that entry and its members are decoded.
Source: DWARF 5, section 7; DWARF 4 differs only in the unit header.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from otel_ebpf.discovery.elf import MAX_TRIES, ElfImage

MAX_UNITS = 200_000
MAX_MEMBERS = 1024
MAX_ABBREV = 8 << 20
_OVERLAP = 128 << 10
"""A struct's entry with its members is far smaller than this."""

_STRUCT, _MEMBER = 0x13, 0x0D
_AT_NAME, _AT_LOCATION = 0x03, 0x38
_STRING, _IMPLICIT = 0x08, 0x21

# Bytes of fixed-size forms. Those whose size is that of an offset are in _OFFSET_FORMS.
_FIXED = {
    0x01: 8, 0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8,
    0x19: 0, 0x1C: 4, 0x1E: 16, 0x20: 8, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4,
    0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
_OFFSET_FORMS = frozenset({0x0E, 0x10, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21})
_ULEB_FORMS = frozenset({0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23})
_BLOCKS = {0x0A: 1, 0x03: 2, 0x04: 4}  # length prefix in bytes; 0x09 and 0x18 are ULEB

_Abbrev = tuple[int, bool, list[tuple[int, int, int]]]  # tag, has children, attributes


class _Malformed(Exception):
    """The bytes here are no entry, or go beyond the piece at hand."""


def _uleb(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Malformed


def _sleb(data: bytes, at: int) -> tuple[int, int]:
    value, end = _uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if data[end - 1] & 0x40 else value), end


class _Abbrevs:
    """The abbreviation tables, each decoded when first asked for."""

    def __init__(self, image: ElfImage) -> None:
        self._data = b""
        for _, piece in image.chunks(".debug_abbrev"):
            self._data += piece
            if len(self._data) > MAX_ABBREV:
                break
        self._tables: dict[int, dict[int, _Abbrev]] = {}

    def table(self, offset: int) -> dict[int, _Abbrev]:
        if offset not in self._tables:
            if len(self._tables) > 1000:
                self._tables.clear()
            self._tables[offset] = self._decode(offset)
        return self._tables[offset]

    def _decode(self, at: int) -> dict[int, _Abbrev]:
        table: dict[int, _Abbrev] = {}
        data = self._data
        try:
            while True:
                code, at = _uleb(data, at)
                if not code:
                    return table
                tag, at = _uleb(data, at)
                children = data[at : at + 1] == b"\1"
                at += 1
                attributes: list[tuple[int, int, int]] = []
                while True:
                    name, at = _uleb(data, at)
                    form, at = _uleb(data, at)
                    value = 0
                    if form == _IMPLICIT:
                        value, at = _sleb(data, at)
                    if not name and not form:
                        break
                    attributes.append((name, form, value))
                table[code] = (tag, children, attributes)
        except _Malformed:
            return table


class _Units:
    """Where compilation units begin, learned as the section passes by."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._facts: list[tuple[int, int]] = []  # abbreviation offset, bytes per offset
        self._next = 0

    def scan(self, base: int, data: bytes) -> None:
        while base <= self._next <= base + len(data) - 32 and len(self._starts) < MAX_UNITS:
            at = self._next - base
            length, width = int.from_bytes(data[at : at + 4], "little"), 4
            head = at + 4
            if length == 0xFFFFFFFF:
                length, width, head = int.from_bytes(data[at + 4 : at + 12], "little"), 8, at + 12
            version = int.from_bytes(data[head : head + 2], "little")
            if not 2 <= version <= 5 or not length:
                self._next = -1
                return
            # DWARF 5 puts the unit's type and address size before the abbreviation offset.
            place = head + (4 if version == 5 else 2)
            abbrev = int.from_bytes(data[place : place + width], "little")
            self._starts.append(self._next)
            self._facts.append((abbrev, width))
            self._next = base + head + length

    def at(self, offset: int) -> tuple[int, int] | None:
        index = bisect_right(self._starts, offset) - 1
        return self._facts[index] if index >= 0 else None


def _entry(
    data: bytes, at: int, table: dict[int, _Abbrev], width: int
) -> tuple[int, bool, str, int | None, int]:
    """Decode one entry: tag (0 ends a list), has children, name, member offset, next."""
    code, at = _uleb(data, at)
    if not code:
        return 0, False, "", None, at
    if code not in table:
        raise _Malformed
    tag, children, attributes = table[code]
    name, location = "", None
    for attribute, form, implicit in attributes:
        start = at
        value: int | None = None
        if form == _STRING:
            end = data.find(b"\0", at)
            if end < 0:
                raise _Malformed
            at = end + 1
            if attribute == _AT_NAME:
                name = data[start:end].decode("utf-8", "replace")
        elif form in _FIXED:
            at += _FIXED[form]
            value = int.from_bytes(data[start:at], "little")
        elif form in _ULEB_FORMS:
            value, at = _uleb(data, at)
        elif form == 0x0D:
            value, at = _sleb(data, at)
        elif form in _OFFSET_FORMS:
            at += width
        elif form == _IMPLICIT:
            value = implicit
        elif form in _BLOCKS:
            at += _BLOCKS[form]
            at += int.from_bytes(data[start:at], "little")
        elif form in (0x09, 0x18):
            size, at = _uleb(data, at)
            if attribute == _AT_LOCATION and data[at : at + 1] == b"\x23":  # DW_OP_plus_uconst
                value = _uleb(data, at + 1)[0]
            at += size
        else:
            raise _Malformed
        if attribute == _AT_LOCATION:
            location = value
        if at > len(data):
            raise _Malformed
    return tag, children, name, location, at


def _members(data: bytes, at: int, table: dict[int, _Abbrev], width: int) -> dict[str, int]:
    """The members of the struct whose entry begins at ``at``: name -> offset in bytes."""
    tag, children, _, _, at = _entry(data, at, table, width)
    if tag != _STRUCT or not children:
        raise _Malformed
    members: dict[str, int] = {}
    for _ in range(MAX_MEMBERS):
        tag, nested, name, location, at = _entry(data, at, table, width)
        if tag == 0:
            return members
        if tag != _MEMBER or nested:
            raise _Malformed
        if location is not None:
            members[name] = location
    raise _Malformed


def _places(data: bytes, name: bytes, begin: int) -> Iterator[int]:
    """Where an entry with this name might begin: one or two code bytes before it."""
    at = data.find(name, begin)
    while at >= 0:
        if at >= 1 and 0 < data[at - 1] < 0x80:
            yield at - 1
            if at >= 2 and data[at - 2] >= 0x80:
                yield at - 2
        at = data.find(name, at + 1)


def struct_members(image: ElfImage, names: Iterable[str]) -> dict[str, dict[str, int]]:
    """Offsets in bytes of every member of the structs named, where the program tells.

    Structs that the debugging data lacks are absent; without debugging data the
    answer is empty. Raises ElfError when a section does not inflate.
    """
    found: dict[str, dict[str, int]] = {}
    abbrevs, units = _Abbrevs(image), _Units()
    missing = {name: name.encode() + b"\0" for name in names}
    tries = 0
    for base, data in image.chunks(".debug_info", overlap=_OVERLAP):
        units.scan(base, data)
        for name, text in list(missing.items()):
            for at in _places(data, text, 0):
                tries += 1
                if tries > MAX_TRIES:
                    return found
                unit = units.at(base + at)
                if unit is None:
                    continue
                table = abbrevs.table(unit[0])
                try:
                    code, after = _uleb(data, at)
                    shape = table.get(code)
                    begins = data.startswith(text, after)
                    if not begins or shape is None or not shape[2]:
                        continue
                    if shape[0] != _STRUCT or shape[2][0][:2] != (_AT_NAME, _STRING):
                        continue
                    found[name] = _members(data, at, table, unit[1])
                except _Malformed:
                    continue
                del missing[name]
                break
        if not missing:
            break
    return found
