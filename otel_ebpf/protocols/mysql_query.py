"""The text of a command of MySQL's, as it may be told."""

from __future__ import annotations

import re
from functools import lru_cache

from .mysql_login import (
    CLIENT_QUERY_ATTRIBUTES,
    NO_BACKSLASH_ESCAPES,
    database_name,
)
from .mysql_packets import length_encoded
from .sql import MAX_TEXT, MYSQL, MYSQL_PLAIN, MYSQL_UNSURE

KEEP = MAX_TEXT + 257
"""Bytes of a command that are looked at."""

_USE = re.compile(rb"\s*use\s+(?:`((?:[^`]|``)+)`|([\w$\x80-\xff]+))\s*;?\s*\Z", re.IGNORECASE)
_UNSURE = re.compile(rb"(sql_mode)|(\b(?:gbk|big5|sjis|cp932|gb18030)(?:_\w+)?\b)", re.IGNORECASE)
_FIXED = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 0, 8: 8, 9: 4, 13: 2}
"""Bytes of values by type; others say their length themselves."""


def query_text(body: bytes, capabilities: int) -> bytes:
    """COM_QUERY without the attributes that may come before its text."""
    if not (capabilities & CLIENT_QUERY_ATTRIBUTES if capabilities else body[1:3] == b"\0\1"):
        return body[1:]
    count, at = length_encoded(body, 1)
    _, at = length_encoded(body, at)
    if count:
        at = _past_attributes(body, at, count)
    return body[at:] if at >= 0 else b""


def _past_attributes(body: bytes, at: int, count: int) -> int:
    """The place behind ``count`` values; -1: not found."""
    if not 0 < count <= 255:
        return -1
    nulls = body[at : at + (count + 7) // 8]
    at += len(nulls) + 1
    kinds = []
    for _ in range(count):
        kinds.append(body[at] if at < len(body) else 0)
        length, at = length_encoded(body, at + 2)
        if length < 0:
            return -1
        at += length
    for number, kind in enumerate(kinds):
        if number // 8 < len(nulls) and nulls[number // 8] >> number % 8 & 1:
            continue
        length = _FIXED.get(kind, -1)
        if length < 0:
            length, at = length_encoded(body, at)
        if length < 0:
            return -1
        at += length
    return at if at <= len(body) else -1


@lru_cache(maxsize=2048)
def backslash_unsure(text: bytes) -> tuple[bool, bool]:
    """Whether in this statement, and whether from it on, a backslash in a literal may be another
    thing than the server's status says: the mode may change within it, or a character set is
    named in which it may be half of a character."""
    mode = charset = False
    for found in _UNSURE.finditer(text):
        mode = mode or found[1] is not None
        charset = charset or found[2] is not None
    return mode, charset


def dialect(status: int, unsure: bool) -> int:
    """How literals are read: by the server's status as last told (-1: never was)."""
    if status < 0 or unsure:
        return MYSQL_UNSURE
    return MYSQL_PLAIN if status & NO_BACKSLASH_ESCAPES else MYSQL


def used_database(text: bytes) -> str | None:
    """The database that ``USE`` turns to; None: it is another statement."""
    found = _USE.match(text) if len(text) <= 300 else None
    if found is None:
        return None
    return database_name(found[1].replace(b"``", b"`") if found[1] else found[2])
