"""DNS messages, made by hand."""

from __future__ import annotations

import socket
import struct

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, OPT, AXFR = 1, 2, 5, 6, 12, 15, 16, 28, 41, 252
RD, RA, TC, AA = 0x0100, 0x0080, 0x0200, 0x0400
TO_QUESTION = b"\xc0\x0c"


def name(text: str) -> bytes:
    """Labels, without compression."""
    labels = [label.encode("latin-1") for label in text.split(".")] if text else []
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(text: str, kind: int = A) -> bytes:
    return name(text) + struct.pack(">HH", kind, 1)


def opt(code: int = 0) -> bytes:
    """EDNS, with the upper bits of a response code."""
    return b"\0" + struct.pack(">HHIH", OPT, 1232, code >> 4 << 24, 0)


def rr(kind: int, value: bytes, owner: bytes = TO_QUESTION, ttl: int = 60) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(value)) + value


def address(text: str) -> bytes:
    """An A or AAAA record."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return rr(AAAA if ":" in text else A, socket.inet_pton(family, text))


def query(number: int, text: str, kind: int = A, edns: bool = False, flags: int = RD) -> bytes:
    head = struct.pack(">HHHHHH", number, flags, 1, 0, 0, int(edns))
    return head + question(text, kind) + (opt() if edns else b"")


def reply(
    number: int,
    text: str,
    kind: int = A,
    answers: tuple[bytes, ...] = (),
    code: int = 0,
    flags: int = RD | RA,
) -> bytes:
    edns = (opt(code),) if code > 15 else ()
    head = struct.pack(">HHHHHH", number, 0x8000 | flags | code & 15, 1, len(answers), 0, len(edns))
    return head + question(text, kind) + b"".join((*answers, *edns))


def framed(message: bytes) -> bytes:
    """As over TCP."""
    return struct.pack(">H", len(message)) + message
