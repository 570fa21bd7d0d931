"""Small ELF files of any content, for what no linker makes."""

from __future__ import annotations

import struct
from collections.abc import Mapping

BASE = 0x400000
_HEADER, _SEGMENT, _SECTION = 64, 56, 64
_KINDS = {".symtab": 2, ".strtab": 3, ".shstrtab": 3, ".rela.dyn": 4}


def make_elf(sections: Mapping[str, bytes], *, pie: bool = False, flags: int = 7) -> bytes:
    """An x86-64 program whose one segment is the whole file, with these sections in it.

    A section's address is ``BASE`` plus its place in the file (without ``BASE`` for a PIE).
    """
    base = 0 if pie else BASE
    bodies = {**sections, ".shstrtab": b""}
    names = b"\0" + b"".join(name.encode() + b"\0" for name in bodies)
    bodies[".shstrtab"] = names
    at = _HEADER + _SEGMENT
    body, headers = b"", [bytes(_SECTION)]
    for name, content in bodies.items():
        pad = -at % 16
        at += pad
        body += bytes(pad) + content
        kind = _KINDS.get(name, 1)
        offset = names.index(name.encode() + b"\0")
        headers.append(
            struct.pack("<IIQQQQIIQQ", offset, kind, 2, base + at, at, len(content), 0, 0, 16, 0)
        )
        at += len(content)
    size = at + _SECTION * len(headers)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\2\1\1", 3 if pie else 2, 62, 1, base + _HEADER, _HEADER, at, 0,
        _HEADER, _SEGMENT, 1, _SECTION, len(headers), len(headers) - 1,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, flags, 0, base, base, size, size, 4096)
    return head + segment + body + b"".join(headers)


def place(image: bytes, content: bytes, *, pie: bool = False) -> int:
    """The address of ``content`` in a file that ``make_elf`` made."""
    return (0 if pie else BASE) + image.index(content)
