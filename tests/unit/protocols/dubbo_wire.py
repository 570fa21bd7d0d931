"""Messages of Dubbo 2, made by hand."""

from __future__ import annotations

HESSIAN, FASTJSON = 2, 23
OK = 20


def packet(flags: int, status: int, number: int, body: bytes) -> bytes:
    head = bytes((0xDA, 0xBB, flags, status)) + number.to_bytes(8, "big")
    return head + len(body).to_bytes(4, "big") + body


def word(text: str, written: int = HESSIAN) -> bytes:
    data = text.encode()
    size = len(data)
    if written == FASTJSON:
        if size < 32:
            json = bytes((0x49 + size,)) + data
        elif size < 48:
            json = bytes((0x79, size)) + data
        else:
            json = bytes((0x79, 0x38 + (size >> 8), size & 0xFF)) + data
        return len(json).to_bytes(4, "big") + json
    if size < 32:
        return bytes((size,)) + data
    if size < 1024:
        return bytes((0x30 + (size >> 8), size & 0xFF)) + data
    return b"S" + size.to_bytes(2, "big") + data


def call(
    number: int,
    method: str = "price",
    path: str = "shop.Shop",
    version: str = "0.0.0",
    *,
    written: int = HESSIAN,
    two_way: bool = True,
    rest: bytes = b"\x12Ljava/lang/String;\x06secretH\x04path\x09shop.ShopZ",
) -> bytes:
    body = b"".join(word(text, written) for text in ("2.0.2", path, version, method))
    return packet(0x80 | (0x40 if two_way else 0) | written, 0, number, body + rest)


def answer(number: int, body: bytes = b"\x94\x06secretHZ", status: int = OK) -> bytes:
    return packet(HESSIAN, status, number, body)


def thrown(name: str, kind: int = 0) -> bytes:
    return bytes((0x90 + kind,)) + b"C" + word(name) + b"\x92\x07message\x05cause\x60\x06secretN"


def heartbeat(number: int, asks: bool = True) -> bytes:
    return packet(0xE2 if asks else 0x22, 0 if asks else OK, number, b"N")
