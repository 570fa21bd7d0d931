"""MongoDB's messages as bytes, for tests. Documents are dicts; an int is an int32."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

MESSAGE, QUERY, REPLY, COMPRESSED = 2013, 2004, 1, 2012


def document(fields: Mapping[str, Any]) -> bytes:
    body = b"".join(_element(name, value) for name, value in fields.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _element(name: str, value: Any) -> bytes:
    key = name.encode() + b"\0"
    match value:
        case bool():
            return b"\x08" + key + bytes([value])
        case int():
            return b"\x10" + key + struct.pack("<i", value)
        case float():
            return b"\x01" + key + struct.pack("<d", value)
        case str():
            raw = value.encode() + b"\0"
            return b"\x02" + key + struct.pack("<i", len(raw)) + raw
        case bytes():
            return b"\x05" + key + struct.pack("<iB", len(value), 0) + value
        case Mapping():
            return b"\x03" + key + document(value)
        case Sequence():
            return b"\x04" + key + document({str(n): v for n, v in enumerate(value)})
    return b"\x0a" + key


def packet(kind: int, number: int, answers: int, body: bytes) -> bytes:
    return struct.pack("<iiii", 16 + len(body), number, answers, kind) + body


def message(
    number: int,
    fields: Mapping[str, Any],
    answers: int = 0,
    flags: int = 0,
    sequences: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> bytes:
    """OP_MSG, with a checksum where the flags say so (of zeros: nobody looks at it)."""
    body = struct.pack("<I", flags) + b"\0" + document(fields)
    for name, documents in (sequences or {}).items():
        held = name.encode() + b"\0" + b"".join(map(document, documents))
        body += b"\1" + struct.pack("<i", len(held) + 4) + held
    return packet(MESSAGE, number, answers, body + (bytes(4) if flags & 1 else b""))


def ask(number: int, fields: Mapping[str, Any], db: str = "shop", **more: Any) -> bytes:
    return message(number, {**fields, "lsid": {"id": b"x" * 16}, "$db": db}, **more)


def answer(number: int, fields: Mapping[str, Any] | None = None, flags: int = 0) -> bytes:
    """Its own number is its request's and a thousand."""
    return message(number + 1000, fields or {"ok": 1.0}, number, flags)


def query(number: int, name: str, fields: Mapping[str, Any]) -> bytes:
    body = struct.pack("<i", 0) + name.encode() + b"\0" + struct.pack("<ii", 0, -1)
    return packet(QUERY, number, 0, body + document(fields))


def reply(number: int, fields: Mapping[str, Any], flags: int = 8) -> bytes:
    body = struct.pack("<iqii", flags, 0, 0, 1) + document(fields)
    return packet(REPLY, number + 1000, number, body)


def compressed(raw: bytes, how: int = 2) -> bytes:
    _, number, answers, kind = struct.unpack_from("<iiii", raw)
    body = raw[16:]
    packed = zlib.compress(body) if how == 2 else body
    return packet(COMPRESSED, number, answers, struct.pack("<iiB", kind, len(body), how) + packed)
