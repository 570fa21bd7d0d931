"""Messages of Thrift, made by hand."""

from __future__ import annotations

import zlib

CALL, REPLY, EXCEPTION, ONEWAY = 1, 2, 3, 4
VOID = b"\0"


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def binary(name: str, number: int = 0, kind: int = CALL, body: bytes = VOID) -> bytes:
    word = name.encode()
    return (
        bytes((0x80, 1, 0, kind)) + len(word).to_bytes(4, "big") + word
        + number.to_bytes(4, "big") + body
    )  # fmt: skip


def compact(name: str, number: int = 0, kind: int = CALL, body: bytes = VOID) -> bytes:
    word = name.encode()
    return bytes((0x82, kind << 5 | 1)) + varint(number) + varint(len(word)) + word + body


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def header(
    message: bytes, number: int = 1, pairs: dict[str, str] | None = None, packed: bool = False
) -> bytes:
    """Behind THeader."""
    said = varint(2 if message[0] == 0x82 else 0) + (b"\1\1" if packed else b"\0")
    if pairs:
        said += b"\1" + varint(len(pairs))
        for text in (text.encode() for pair in pairs.items() for text in pair):
            said += varint(len(text)) + text
    said += bytes(-len(said) % 4)
    head = b"\x0f\xff\0\0" + number.to_bytes(4, "big") + (len(said) // 4).to_bytes(2, "big")
    return framed(head + said + (zlib.compress(message) if packed else message))


def text(field: int, value: bytes) -> bytes:
    """A field of the binary protocol."""
    return b"\x0b" + field.to_bytes(2, "big") + len(value).to_bytes(4, "big") + value


def fault(kind: int, words: bytes = b"secret") -> bytes:
    """TApplicationException's struct, binary."""
    return text(1, words) + b"\x08\0\2" + kind.to_bytes(4, "big") + b"\0"


def compact_fault(kind: int, words: bytes = b"secret") -> bytes:
    return b"\x18" + varint(len(words)) + words + b"\x15" + varint(kind << 1) + b"\0"


MANY = (
    b"\x02\0\1\1" b"\x03\0\2\7" b"\x06\0\3\0\1" b"\x08\0\4\0\0\0\1" b"\x0a\0\5" + bytes(8)
    + b"\x04\0\6" + bytes(8) + text(7, b"seven")
    + b"\x0f\0\x08\x08\0\0\0\2" + bytes(8)
    + b"\x0f\0\x09\x0c\0\0\0\2" + text(1, b"a") + b"\0" + b"\0"
    + b"\x0e\0\x0a\x0b\0\0\0\1\0\0\0\1x"
    + b"\x0d\0\x0b\x0b\x0d\0\0\0\1\0\0\0\1k\x0b\x08\0\0\0\1\0\0\0\1v" + bytes(4)
    + b"\x0d\0\x0c\x08\x0a\0\0\0\0"
    + b"\x0c\0\x0d\x0c\0\1\0\0" b"\x10\0\x0e" + bytes(16) + b"\0"
)  # fmt: skip
"""A struct with a field of every type, binary."""

COMPACT_MANY = (
    b"\x11\x12" b"\x13\7" b"\x14\x96\1" b"\x15\2" b"\x16\x80\x80\1" b"\x17" + bytes(8)
    + b"\x18\5seven" b"\x19\x25\2\x80\1" b"\x19\x2c\x18\1a\0\0" b"\x1a\x18\1x"
    + b"\x1b\1\x8b\1k\1\x85\1v\0" b"\x1b\0" b"\x1c\x1c\0\0" b"\x1d" + bytes(16)
    + b"\x05\xc8\1\3" b"\x19\xf1\x10" + bytes(16) + b"\0"
)  # fmt: skip
"""The same, compact."""
