"""PostgreSQL's messages, as bytes."""

from __future__ import annotations


def frame(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + (len(body) + 4).to_bytes(4, "big") + body


def startup(**parameters: str) -> bytes:
    body = b"\0\3\0\0"
    body += b"".join(f"{k}\0{v}\0".encode() for k, v in parameters.items()) + b"\0"
    return (len(body) + 4).to_bytes(4, "big") + body


def query(text: str) -> bytes:
    return frame("Q", text.encode() + b"\0")


def parse(text: str, name: str = "") -> bytes:
    return frame("P", f"{name}\0{text}\0".encode() + b"\0\0")


def bind(statement: str = "", portal: str = "", value: bytes = b"v") -> bytes:
    body = f"{portal}\0{statement}\0".encode() + b"\0\0\0\1"
    return frame("B", body + len(value).to_bytes(4, "big") + value + b"\0\0")


def execute(portal: str = "", rows: int = 0) -> bytes:
    return frame("E", portal.encode() + b"\0" + rows.to_bytes(4, "big"))


def describe(name: str = "", kind: str = "S") -> bytes:
    return frame("D", f"{kind}{name}\0".encode())


SYNC = frame("S")
READY = frame("Z", b"I")
PARSED, BOUND = frame("1"), frame("2")
SUSPENDED = frame("s")
LOGIN = (
    frame("R", b"\0\0\0\0") + frame("S", b"server_version\x0015\0") + frame("K", bytes(8)) + READY
)


def row(value: bytes = b"x" * 20) -> bytes:
    return frame("D", b"\0\1" + len(value).to_bytes(4, "big") + value)


def done(tag: str = "SELECT 1") -> bytes:
    return frame("C", tag.encode() + b"\0")


def error(code: str, text: str = "boom") -> bytes:
    return frame("E", f"SERROR\0VERROR\0C{code}\0M{text}\0\0".encode())
