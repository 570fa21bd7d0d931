"""The message without a type that begins a PostgreSQL connection, and how it may go on."""

from __future__ import annotations

from typing import NamedTuple

_CANCEL, _SSL, _GSS = 80877102, 80877103, 80877104
_VERSION = 3
_LONGEST = 10_000
"""The server takes no longer one."""
_NO = (b"false", b"off", b"0")
_MAX_NAME = 64


class Start(NamedTuple):
    """What a client begins with.

    Attributes:
        encrypts: it asks whether to encrypt; a start follows.
        cancels: it is there to end another connection's query.
        database: that it logs in to.
        replicates: it asks for replication.
    """

    encrypts: bool
    cancels: bool
    database: str
    replicates: bool


def begins_connection(data: bytes) -> bool:
    """Whether a segment's first bytes are a start's: nothing else looks like it, not even what
    goes on behind a segment that was not seen."""
    if len(data) < 8 or not 8 <= int.from_bytes(data[:4], "big") <= _LONGEST:
        return False
    code = int.from_bytes(data[4:8], "big")
    return code >> 16 == _VERSION or code in (_SSL, _GSS, _CANCEL)


def read_start(body: bytes) -> Start:
    """Its body, behind the length, as far as it was captured."""
    code = int.from_bytes(body[:4], "big")
    if code in (_SSL, _GSS, _CANCEL):
        return Start(code != _CANCEL, code == _CANCEL, "", False)
    fields = body[4:].split(b"\0")
    named = dict(zip(fields[::2], fields[1::2], strict=False))
    database = named.get(b"database") or named.get(b"user") or b""
    replicates = named.get(b"replication", b"0") not in _NO
    return Start(False, False, database[:_MAX_NAME].decode("utf-8", "replace"), replicates)
