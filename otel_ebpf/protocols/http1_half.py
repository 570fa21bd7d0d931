"""One direction of an HTTP/1.x connection: what is expected next, and the unfinished head."""

from __future__ import annotations

from typing import Any, NamedTuple

from .base import REQUEST, RESPONSE, TAIL, Message
from .http1_body import ChunkedBody
from .http1_head import (
    CUT_REQUEST_LINE,
    CUT_STATUS_LINE,
    KNOWN_METHOD,
    PREFACE_LINE,
    REQUEST_LINE,
    STATUS_LINE,
    could_start,
    loose_request_line,
    text,
)

AT_START, AT_HEAD, LOST, ENDED, AT_LENGTH, AT_CHUNKS, AT_TURN, AT_CLOSE, UPGRADED = range(9)
"""States. AT_START: a start line comes next. AT_HEAD: inside a head. LOST: waiting for a
segment that begins with a head. ENDED: the same, after a message whose end was concluded,
not framed. Inside a body that ends: AT_LENGTH after ``left`` bytes, AT_CHUNKS by its chunks,
AT_TURN when the connection turns around, AT_CLOSE with it. UPGRADED: no more HTTP/1.

AT_TURN knows two things more: with ``chunks`` the body is chunked and its framing was lost,
so that a segment's last bytes may show the end; ``left`` is the least length of the message.
"""

LAST_CHUNK = b"0\r\n\r\n"
_LAST_CHUNK_AFTER_ANOTHER = b"\r\n" + LAST_CHUNK

# A method alone cannot be told from other text; past this a partial line is not looked at again.
_JUDGED = 64


class StartLine(NamedTuple):
    """A parsed start line; ``end`` is the position after it."""

    kind: int
    end: int
    version: str
    method: str = ""
    target: str = ""
    status: int = 0


class Half:
    """State of one direction. Memory is bounded by the cap its owner puts on ``buffer``."""

    __slots__ = (
        "buffer",
        "chunks",
        "direction",
        "gap",
        "head_end_ts",
        "head_token",
        "kind",
        "left",
        "line",
        "message",
        "offset",
        "scanned",
        "start",
        "start_token",
        "state",
        "tail",
    )

    def __init__(self, direction: int) -> None:
        self.direction = direction
        self.kind = 0  # REQUEST or RESPONSE once learned
        self.gap = False  # the next segment may begin anywhere
        self.buffer = bytearray()
        self.start_token: Any = None
        self.head_token: Any = None
        self.start = self.head_end_ts = self.offset = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but which kind this direction carries."""
        self.state = AT_START
        self.message: Message | None = None
        self.left = 0
        self.tail = b""  # latest bytes of a chunked body without framing
        self.chunks: ChunkedBody | None = None
        self.drop_head()

    def extend(self, length: int, end_ts: int, token: Any) -> None:
        """The message in progress goes on for ``length`` bytes."""
        message = self.message
        if message is not None:
            message.length += length
            message.end = end_ts
            message.last_token = token

    def lose_framing(self, least: int = 0) -> None:
        """The end of the body cannot be computed any more."""
        self.state = AT_TURN
        self.left = least
        self.tail = b""

    def at_last_chunk(self, data: bytes, length: int, tail: bytes) -> bool:
        """Whether a segment of a chunked body without framing ends with its last chunk."""
        seen = tail or (data[-TAIL:] if len(data) == length else b"")
        if len(seen) < TAIL and len(seen) == length:
            seen = (self.tail + seen)[-TAIL:]
        self.tail = seen
        return seen.endswith(_LAST_CHUNK_AFTER_ANOTHER) or seen == LAST_CHUNK

    def may_have_ended(self) -> bool:
        """Whether the message in progress AT_TURN can have had its last byte."""
        if self.chunks is not None and self.tail:
            # Trailers end with an empty line, as no chunk does but by its own data.
            tail = self.tail
            return tail.endswith(b"\r\n\r\n") and not tail.endswith(b"\r\n\r\n\r\n")
        return self.message is None or self.message.length >= self.left

    def begin_head(self, ts: int, token: Any, offset: int) -> None:
        """A head begins whose end is not in this segment."""
        self.state = AT_HEAD
        self.start, self.start_token, self.offset = ts, token, offset

    def drop_head(self) -> None:
        """Free the unfinished head."""
        if self.buffer:
            self.buffer = bytearray()
        self.line: StartLine | None = None
        self.scanned = 0
        self.start_token = self.head_token = None
        if self.state == AT_HEAD:
            self.state = AT_START

    def may_restart(self, data: bytes) -> bool:
        """Whether a segment is taken for the beginning of a head while LOST."""
        if self.kind != RESPONSE and REQUEST_LINE.match(data):
            return True
        if self.kind != REQUEST and STATUS_LINE.match(data):
            return True
        if data.startswith(PREFACE_LINE):
            return True
        return b"\n" not in data[:_JUDGED] and could_start(self.kind, data, strict=True)

    def read_line(self) -> StartLine | str | None:
        """The buffered start line; None: more is needed; ``"preface"``; ``"bad"``."""
        buffer = self.buffer
        if buffer.find(b"\n", self.scanned) < 0:
            before, self.scanned = self.scanned, len(buffer)
            # Before the first head anything may come, even text that resembles a method.
            if before <= _JUDGED and not could_start(self.kind, buffer, strict=not self.kind):
                return "bad"
            return None
        if self.kind != RESPONSE:
            end = buffer.find(b"\n") + 1
            match = REQUEST_LINE.match(buffer)
            found = match.groups() if match else loose_request_line(bytes(buffer[:end]))
            if found is not None:
                method, target, minor = found
                version = "1.0" if minor == b"0" else "1.1"
                return StartLine(REQUEST, end, version, text(method), text(target))
            if buffer.startswith(PREFACE_LINE):
                return "preface"
        if self.kind != REQUEST:
            match = STATUS_LINE.match(buffer)
            if match is not None:
                version = "1.0" if match[1] == b"0" else "1.1"
                return StartLine(RESPONSE, match.end(), version, status=int(match[2]))
        return "bad"

    def cut_line(self) -> StartLine | None:
        """What can be said of a start line whose end was not captured."""
        buffer = self.buffer
        if self.kind == REQUEST or (not self.kind and KNOWN_METHOD.match(buffer)):
            match = CUT_REQUEST_LINE.match(buffer)
            if match is not None:
                method, target, minor = match.groups()
                version = "" if minor is None else "1.0" if minor == b"0" else "1.1"
                return StartLine(REQUEST, len(buffer), version, text(method), text(target))
        if self.kind != REQUEST:
            match = CUT_STATUS_LINE.match(buffer)
            if match is not None:
                version = "1.0" if match[1] == b"0" else "1.1"
                return StartLine(RESPONSE, len(buffer), version, status=int(match[2]))
        return None
