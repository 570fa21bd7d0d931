"""Whether a program may be of Go, by the names of its sections: a few reads."""

from __future__ import annotations

import struct

_MOST = 1 << 16
_HEADER, _SECTION = 64, 64


def may_be_go(path: str) -> bool:
    """True as well where that cannot be told: for a file that is cut, or names no sections."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER)
            if head[:6] != b"\x7fELF\x02\x01":
                return True
            (sections,) = struct.unpack_from("<Q", head, 40)
            size, _, names = struct.unpack_from("<HHH", head, 58)
            if not sections or size < _SECTION:
                return True
            file.seek(sections + names * size)
            offset, length = struct.unpack_from("<QQ", file.read(_SECTION), 24)
            if not 0 < length <= _MOST:
                return True
            file.seek(offset)
            text = file.read(length)
    except (OSError, OverflowError, ValueError, struct.error):
        return True
    return len(text) < length or b".gopclntab" in text or b".go.buildinfo" in text
