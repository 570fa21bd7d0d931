"""Memcached's requests and replies, cut into units: lines with their data, or binary packets."""

from __future__ import annotations

from typing import Any

from .half import BAD, MORE, UNIT, Half

_MAX_LINE = 8192
_MAX_BODY = 1 << 30
_KEY = 250
_STORES = frozenset({b"set", b"add", b"replace", b"append", b"prepend", b"cas"})
_HEADER = 24


def _data_of_request(words: list[bytes]) -> int:
    """Bytes that follow a command's line; -1: none do, -2: nobody knows."""
    at = 4 if words[0] in _STORES else 2 if words[0] == b"ms" else 0
    if not at:
        return -1
    if len(words) <= at or not words[at].isdigit() or len(words[at]) > 9:
        return -2
    return int(words[at])


def _data_of_reply(words: list[bytes]) -> int:
    at = 3 if words[0] == b"VALUE" else 1 if words[0] == b"VA" else 0
    if not at:
        return -1
    if len(words) <= at or not words[at].isdigit() or len(words[at]) > 9:
        return -2
    return int(words[at])


class Units(Half):
    """Lines with their data, and packets.

    Attributes:
        words: of the line that ``feed`` has completed; empty for a packet.
        header, body: of the packet, the body's first bytes (extras and key).
        length: bytes of the unit.
    """

    __slots__ = ("_client", "_keep", "_part", "_skip", "body", "header", "length", "words")

    def __init__(self, client: bool) -> None:
        self._client = client
        super().__init__()

    def reset(self) -> None:
        """See ``Half.reset``."""
        self._part = b""
        self._skip = -1
        self._keep = 0
        self.words: list[bytes] = []
        self.header = b""
        self.body = b""
        self.length = 0

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._skip >= 0 or bool(self._part)

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        size, began = len(data), at
        if self._skip < 0:
            if not self._part:
                self.reset()
                self.start, self.token, self.offset = ts, token, at
            first = self._part[0] if self._part else data[at]
            if first in (0x80, 0x81):
                at, outcome = self._packet(data, at)
            else:
                at, outcome = self._line(data, at)
            if outcome != MORE or self._skip < 0:
                self.length += at - began
                return at, outcome
        taken = min(self._skip, size - at)
        if self._keep:
            part = data[at : at + min(taken, self._keep)]
            self.body += part
            self._keep -= len(part)
        at += taken
        self._skip -= taken
        self.length += at - began
        if self._skip:
            return at, MORE
        self._skip = -1
        return at, UNIT

    def skip(self, length: int) -> int:
        """See ``Half.skip``."""
        if length > self._skip:
            return BAD
        self._skip -= length
        self.length += length
        self._keep = 0
        if self._skip:
            return MORE
        self._skip = -1
        return UNIT

    def _line(self, data: bytes, at: int) -> tuple[int, int]:
        end = data.find(b"\n", at)
        if end < 0:
            self._part += data[at : at + _MAX_LINE]
            return len(data), BAD if len(self._part) > _MAX_LINE else MORE
        line = self._part + data[at:end]
        self._part = b""
        words = line.split()
        if not words or not line.endswith(b"\r") or not words[0][:1].isalnum():
            return end + 1, BAD
        self.words = words
        follows = _data_of_request(words) if self._client else _data_of_reply(words)
        if follows == -2:
            return end + 1, BAD
        if follows < 0:
            return end + 1, UNIT
        self._skip = follows + 2
        return end + 1, MORE

    def _packet(self, data: bytes, at: int) -> tuple[int, int]:
        part = data[at : at + _HEADER - len(self._part)]
        header = self._part + part
        at += len(part)
        if len(header) < _HEADER:
            self._part = header
            return at, MORE
        self._part = b""
        self.header = header
        body = int.from_bytes(header[8:12], "big")
        key = int.from_bytes(header[2:4], "big")
        expected = 0x80 if self._client else 0x81
        if header[0] != expected or key > _KEY or header[4] + key > body or body > _MAX_BODY:
            return at, BAD
        self._keep = header[4] + key
        self._skip = body
        if not body:
            self._skip = -1
            return at, UNIT
        return at, MORE
