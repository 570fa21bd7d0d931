"""NATS' protocol, written."""

from __future__ import annotations

INFO = b'INFO {"server_id":"NA","version":"2.9.0","headers":true}\r\n'
CONNECT = b'CONNECT {"verbose":false,"user":"me","pass":"s3cr3t","name":"shop"}\r\n'


def pub(subject: str, reply: str = "", payload: bytes = b"s3cr3t") -> bytes:
    words = " ".join(word for word in ("PUB", subject, reply, str(len(payload))) if word)
    return words.encode() + b"\r\n" + payload + b"\r\n"


def headers(*pairs: tuple[str, str]) -> str:
    return "NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n"


def hpub(subject: str, head: str, payload: bytes = b"s3cr3t", reply: str = "") -> bytes:
    sizes = f"{len(head)} {len(head) + len(payload)}"
    words = " ".join(word for word in ("HPUB", subject, reply, sizes) if word)
    return words.encode() + b"\r\n" + head.encode() + payload + b"\r\n"


def msg(subject: str, number: str, reply: str = "", payload: bytes = b"s3cr3t") -> bytes:
    words = " ".join(word for word in ("MSG", subject, number, reply, str(len(payload))) if word)
    return words.encode() + b"\r\n" + payload + b"\r\n"


def hmsg(subject: str, number: str, head: str, payload: bytes, reply: str = "") -> bytes:
    sizes = f"{len(head)} {len(head) + len(payload)}"
    words = " ".join(word for word in ("HMSG", subject, number, reply, sizes) if word)
    return words.encode() + b"\r\n" + head.encode() + payload + b"\r\n"
