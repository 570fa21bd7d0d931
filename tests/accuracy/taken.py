"""For what protocol a connection's first bytes are taken, by the kernel half's own code."""

from __future__ import annotations

import base64
import bz2
import ctypes
import json
import lzma
import random
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from otel_ebpf.protocols.registry import by_number
from tests.fuzz.conversation import segments

HERE = Path(__file__).resolve().parent
BPF = HERE.parents[1] / "bpf"
_SIZES = (1, 2, 4, 5, 6, 8, 12, 16, 24, 51, 64, 100, 200, 517, 1000, 1448, 4096)
"""Bytes of a segment."""


def build(folder: Path) -> ctypes.CDLL:
    """The library with ``taken_for(data, size)``. Raises RuntimeError with the compiler's words."""
    library = folder / "taken.so"
    done = subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", "-O2", "-include", "stdint.h", "-o", library),
            *("-I", BPF, HERE / "taken.c"),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the inference does not compile: {done.stderr[-3000:]}")
    made = ctypes.CDLL(str(library))
    made.taken_for.argtypes = [ctypes.c_char_p, ctypes.c_uint32]
    made.taken_for.restype = ctypes.c_uint32
    return made


def _cut(chance: random.Random, whole: bytes) -> Iterator[bytes]:
    """Segments from anywhere in ``whole``."""
    while True:
        size = chance.choice(_SIZES)
        at = chance.randrange(len(whole) - size)
        yield whole[at : at + size]


def _random(chance: random.Random) -> Iterator[bytes]:
    while True:
        yield chance.randbytes(chance.choice(_SIZES))


def _records(chance: random.Random) -> Iterator[bytes]:
    """TLS records, whole or their beginning."""
    while True:
        kind, size = chance.choice((20, 21, 22, 23, 23, 23)), chance.choice(_SIZES)
        yield (
            bytes((kind, 3, chance.choice((1, 3))))
            + size.to_bytes(2, "big")
            + chance.randbytes(size)
        )


def _lengths(chance: random.Random) -> Iterator[bytes]:
    """Messages of protocols of one's own: a length that fits, in either order, then anything."""
    while True:
        size, order = chance.choice(_SIZES[4:]), chance.choice(("big", "little"))
        yield size.to_bytes(4, order) + chance.randbytes(size)  # type: ignore[arg-type]


def _text(chance: random.Random) -> bytes:
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randrange(1, 9))) for _ in range(500)]
    return " ".join(chance.choices(words, k=200_000)).encode()


def _json(chance: random.Random) -> bytes:
    rows = [{"id": n, "name": f"n{n}", "price": chance.random()} for n in range(40_000)]
    return json.dumps(rows).encode()


_LINES = (
    b"220 mail.example ESMTP\r\n", b"EHLO client.example\r\n", b"MAIL FROM:<a@example>\r\n",
    b"250-SIZE 1000\r\n250 HELP\r\n", b"QUIT\r\n", b"+OK POP3 ready\r\n", b"USER someone\r\n",
    b"STAT\r\n", b"-ERR no such message\r\n", b"* OK IMAP4rev1 ready\r\n", b"a1 LOGIN a b\r\n",
    b"a1 OK done\r\n", b"SSH-2.0-OpenSSH_9.2p1\r\n", b"PASV\r\n", b"RETR file\r\n", b"NICK me\r\n",
    b"PRIVMSG #c :hello\r\n", b"OPTIONS sip:a@b SIP/2.0\r\n", b"INVITE sip:a@b SIP/2.0\r\n",
    b"stats\n", b"help\n", b"version 1\n", b"<?xml version='1.0'?>\n", b"LIST\r\n", b"NOOP\r\n",
)  # fmt: skip


def _lines(chance: random.Random) -> Iterator[bytes]:
    """Line protocols that are not spoken here: mail, files, chat, telephony."""
    while True:
        yield b"".join(chance.choices(_LINES, k=chance.randrange(1, 3)))


def kinds() -> dict[str, Callable[[random.Random], Iterator[bytes]]]:
    """By name, what gives segments without end."""
    return {
        "random bytes": _random,
        "deflate": lambda c: _cut(c, zlib.compress(_text(c), 9)),
        "bzip2": lambda c: _cut(c, bz2.compress(_text(c))),
        "xz": lambda c: _cut(c, lzma.compress(_text(c))),
        "base64": lambda c: _cut(c, base64.b64encode(c.randbytes(500_000))),
        "text": lambda c: _cut(c, _text(c)),
        "JSON": lambda c: _cut(c, _json(c)),
        "TLS records": _records,
        "a length, then anything": _lengths,
        "lines of mail, chat, telephony": _lines,
    }


def measure(library: ctypes.CDLL, kind: str, count: int, seed: int = 1) -> Counter[str]:
    """What ``count`` segments of the kind were taken for; those taken for nothing are not there."""
    found: Counter[int] = Counter()
    source = kinds()[kind](random.Random(seed))
    taken_for = library.taken_for
    for _, data in zip(range(count), source, strict=False):
        found[taken_for(data, len(data))] += 1
    return named(found)


def recorded(library: ctypes.CDLL, number: int) -> tuple[int, Counter[str]]:
    """Of the segments of real services that spoke protocol ``number``: how many there are, and for
    what each was taken that could have been a connection's first."""
    found: Counter[int] = Counter()
    for data in segments(number):
        found[taken(library, data)] += 1
    return found.total(), named(found)


def taken(library: ctypes.CDLL, data: bytes) -> int:
    """The protocol's number, or 0."""
    return int(library.taken_for(data, len(data)))


def named(found: Counter[int]) -> Counter[str]:
    """By name, without 0."""
    return Counter({by_number[number].name: n for number, n in found.items() if number})
