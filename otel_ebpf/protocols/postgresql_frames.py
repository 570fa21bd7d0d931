"""One direction of PostgreSQL's protocol, cut into messages: a type, a length, a body."""

from __future__ import annotations

from typing import Any

from .half import BAD, MORE, UNIT, Half

_LONGEST = 1 << 30
SERVER_KEEPS = {69: 512, 82: 4}
"""Of the server's messages: how much of the body is kept. ErrorResponse, Authentication."""
CLIENT_KEEPS = {81: 8193, 80: 8450, 66: 512, 69: 128, 67: 65, 70: 4}
"""The same of the client's: Query, Parse, Bind, Execute, Close, FunctionCall."""
_CLIENT_TYPES = frozenset(b"QPBEDCHSFdcfpX")
_SERVER_TYPES = frozenset(b"RSKZTDCENA123tnIsGHWdcVv")


class Frames(Half):
    """Messages.

    Attributes:
        kind: type of the message that ``feed`` has completed; 0: one without a type, which
            begins a connection (``startup``).
        body: its first bytes, as many as are kept.
        truncated: fewer of them were captured.
        startup: the next message has no type.
        length: its bytes, header and all.
    """

    __slots__ = (
        *("_header", "_keep", "_keeps", "_left", "_types"),
        *("body", "kind", "length", "startup", "truncated"),
    )

    def __init__(self, client: bool) -> None:
        self._keeps = CLIENT_KEEPS if client else SERVER_KEEPS
        self._types = _CLIENT_TYPES if client else _SERVER_TYPES
        self.startup = False
        super().__init__()

    def reset(self) -> None:
        """See ``Half.reset``."""
        self._header = b""
        self._left = -1
        self._keep = 0
        self.kind = 0
        self.body = b""
        self.length = 0
        self.truncated = False

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._left >= 0 or bool(self._header)

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        size = len(data)
        if self._left < 0:
            if not self._header:
                self.kind, self.body, self.truncated = 0, b"", False
                self.start, self.token, self.offset = ts, token, at
            wanted = (4 if self.startup else 5) - len(self._header)
            part = data[at : at + wanted]
            header = self._header + part if self._header else part
            at += len(part)
            if len(part) < wanted:
                self._header = header
                return at, MORE
            self._header = b""
            length = int.from_bytes(header[-4:], "big")
            if self.startup:
                if not 8 <= length <= 10000:
                    return at, BAD
                self._keep = length - 4
            else:
                self.kind = header[0]
                if self.kind not in self._types or not 4 <= length < _LONGEST:
                    return at, BAD
                self._keep = self._keeps.get(self.kind, 0)
            self._left = length - 4
            self.length = length + (not self.startup)
        taken = self._left if self._left <= size - at else size - at
        if self._keep:
            part = data[at : at + min(taken, self._keep)]
            self.body = self.body + part if self.body else part
            self._keep -= len(part)
        at += taken
        self._left -= taken
        if self._left:
            return at, MORE
        self._left = -1
        return at, UNIT

    def skip(self, length: int) -> int:
        """See ``Half.skip``."""
        if length > self._left:
            return BAD
        self._left -= length
        self.truncated = self._keep > 0
        if self._left:
            return MORE
        self._left = -1
        return UNIT
