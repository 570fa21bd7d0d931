"""How a message of Thrift begins: its framing, its protocol, what it is, name and number.

A message comes as it is, or behind its length (framed), or behind a header that says more
(THeader). The protocol is binary or compact.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

CALL, REPLY, EXCEPTION, ONEWAY = 1, 2, 3, 4
LONGEST_FRAME = 1 << 30
LONGEST_HEAD = 4096
"""Bytes within which a message says what it is."""
BINARY, COMPACT = 0, 2
"""THeader's numbers of the protocols."""

_NAME = re.compile(rb"[A-Za-z_$][\w.:/$-]{0,254}", re.ASCII)
_MAGIC = b"\x0f\xff"
_ZLIB = 1
_KEY_VALUE = 1
_MOST_PAIRS = 64


class Head(NamedTuple):
    """A message's beginning.

    Attributes:
        size: bytes of it, the framing included.
        frame: bytes of the whole message where its framing says so; else 0.
        kind: CALL, REPLY, EXCEPTION, ONEWAY; 0: not told, for the message is compressed.
        name: of the method; number: that pairs call and reply.
        compact: its protocol.
        headers: what THeader carries by key and value; None: it is not THeader.
    """

    size: int
    frame: int
    kind: int
    name: str
    number: int
    compact: bool
    headers: dict[str, str] | None = None


def read_head(data: bytes) -> Head | int:
    """The head that the bytes begin with; 0: more of them are needed, -1: it is none."""
    if len(data) < 4:
        return _short(data)
    if data[0] & 0x80:
        return _message(data, 0, 0)
    frame = 4 + int.from_bytes(data[:4], "big")
    if frame < 10 or frame > LONGEST_FRAME:
        return -1
    if len(data) < 6:
        return 0
    if data[4:6] == _MAGIC:
        return _header(data[:frame], frame)
    return _message(data[:frame], 4, frame)


def _short(data: bytes) -> int:
    if not data or data[0] < 0x40:
        return 0
    first = (data[0], data[1] if len(data) > 1 else -1)
    if first[0] == 0x80:
        return 0 if first[1] in (-1, 1) else -1
    return 0 if first[0] == 0x82 and (first[1] < 0 or first[1] & 0x1F == 1) else -1


def _message(data: bytes, at: int, frame: int, headers: dict[str, str] | None = None) -> Head | int:
    if data[at] == 0x80:
        found = _binary(data, at, frame, headers)
    elif data[at] == 0x82:
        found = _compact(data, at, frame, headers)
    else:
        return -1
    # A frame that ends within its own head is none; a struct is a byte at least.
    seen = found.size if isinstance(found, Head) else len(data)
    return -1 if frame and seen >= frame else found


def _binary(data: bytes, at: int, frame: int, headers: dict[str, str] | None) -> Head | int:
    if len(data) < at + 8:
        return 0 if b"\x80\x01".startswith(data[at : at + 2]) else -1
    kind, size = data[at + 3], int.from_bytes(data[at + 4 : at + 8], "big")
    end = at + 8 + size
    if data[at + 1] != 1 or not CALL <= kind <= ONEWAY or size > 255:
        return -1
    if len(data) < end + 4:
        return 0
    name = data[at + 8 : end]
    if not _fits(name, kind):
        return -1
    number = int.from_bytes(data[end : end + 4], "big")
    return Head(end + 4, frame, kind, name.decode("ascii"), number, False, headers)


def _compact(data: bytes, at: int, frame: int, headers: dict[str, str] | None) -> Head | int:
    if len(data) < at + 2:
        return 0
    kind = data[at + 1] >> 5
    if data[at + 1] & 0x1F != 1 or not CALL <= kind <= ONEWAY:
        return -1
    number, at = varint(data, at + 2)
    if at <= 0:
        return at
    size, at = varint(data, at)
    if at <= 0:
        return at
    if size > 255 or number >> 32:
        return -1
    if len(data) < at + size:
        return 0
    name = data[at : at + size]
    if not _fits(name, kind):
        return -1
    return Head(at + size, frame, kind, name.decode("ascii"), number, True, headers)


def _fits(name: bytes, kind: int) -> bool:
    return _NAME.fullmatch(name) is not None or (kind == EXCEPTION and not name)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to 70 bits at ``at``, and the place behind it; as place 0: more bytes are
    needed, -1: it is none."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            return 0, -1
    return 0, 0


def _header(data: bytes, frame: int) -> Head | int:
    """THeader: magic, flags, number, its size in words; protocol, transforms, pairs."""
    if len(data) < 14:
        return 0 if len(data) < frame else -1
    end = 14 + 4 * int.from_bytes(data[12:14], "big")
    if end >= frame or end == 14:
        return -1
    if len(data) <= end:
        # Longer headers than are kept have names, too, but these are not looked for.
        return 0 if end < LONGEST_HEAD else -1
    number = int.from_bytes(data[8:12], "big")
    protocol, at = varint(data[:end], 14)
    transforms, at = varint(data[:end], at) if at > 0 else (0, at)
    if at <= 0 or protocol not in (BINARY, COMPACT) or transforms > 8:
        return -1
    packed = []
    for _ in range(transforms):
        one, at = varint(data[:end], at)
        if at <= 0:
            return -1
        packed.append(one)
    headers = _pairs(data[at:end])
    if not packed:
        found = _message(data, end, frame, headers)
        return found if isinstance(found, int) else found._replace(number=number)
    unknown = Head(end, frame, 0, "", number, protocol == COMPACT, headers)
    if packed != [_ZLIB]:
        return unknown
    try:
        plain = zlib.decompressobj().decompress(data[end:], LONGEST_HEAD)
    except zlib.error:
        return unknown
    inner = _message(plain, 0, 0) if plain else 0
    if isinstance(inner, int):
        # What was seen is not enough yet, or never will be.
        return 0 if not inner and len(data) < min(frame, LONGEST_HEAD) else unknown
    return unknown._replace(kind=inner.kind, name=inner.name)


def _pairs(data: bytes) -> dict[str, str]:
    """What the header carries by key and value, as far as it can be read."""
    found: dict[str, str] = {}
    kind, at = varint(data, 0)
    if at <= 0 or kind != _KEY_VALUE:
        return found
    pairs, at = varint(data, at)
    texts: list[str] = []
    while at > 0 and len(texts) < 2 * min(pairs, _MOST_PAIRS):
        size, at = varint(data, at)
        if at <= 0 or at + size > len(data):
            break
        texts.append(data[at : at + size].decode("latin-1"))
        at += size
    for key, value in zip(texts[::2], texts[1::2], strict=False):
        found[key.lower()] = value
    return found
