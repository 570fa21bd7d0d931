"""MQTT's packets, written."""

from __future__ import annotations

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


def packet(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([first]) + length + body


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def properties(data: bytes = b"", version: int = 5) -> bytes:
    return bytes([len(data)]) + data if version == 5 else b""


def user(name: str, value: str) -> bytes:
    return b"\x26" + text(name) + text(value)


def connect(version: int = 5, client: str = "shop") -> bytes:
    start = text("MQTT") + bytes([version, 0xC2, 0, 60]) + properties(version=version)
    return packet(0x10, start + text(client) + text("me") + text("s3cr3t"))


def connack(code: int = 0, version: int = 5, props: bytes = b"") -> bytes:
    return packet(0x20, bytes([0, code]) + properties(props, version))


def publish(
    topic: str, number: int = 0, quality: int = 0, props: bytes = b"", **more: int
) -> bytes:
    version, flags = more.get("version", 5), more.get("flags", 0)
    where = number.to_bytes(2, "big") if quality else b""
    body = text(topic) + where + properties(props, version) + b"s3cr3t"
    return packet(0x30 | quality << 1 | flags, body)


def ack(kind: int, number: int, code: int = 0) -> bytes:
    """PUBACK 4, PUBREC 5, PUBREL 6, PUBCOMP 7."""
    body = number.to_bytes(2, "big") + (bytes([code]) if code else b"")
    return packet(kind << 4 | (2 if kind == 6 else 0), body)


def subscribe(number: int, *filters: str, version: int = 5) -> bytes:
    asked = b"".join(text(name) + b"\1" for name in filters)
    return packet(0x82, number.to_bytes(2, "big") + properties(version=version) + asked)


def suback(number: int, *codes: int, version: int = 5) -> bytes:
    return packet(0x90, number.to_bytes(2, "big") + properties(version=version) + bytes(codes))
