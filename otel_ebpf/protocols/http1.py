"""HTTP/1.x, seen from outside: both directions of one connection become messages.

Source: RFC 9112. The captured bytes are a prefix of every run of segments in one
direction, so the parser frames by what it saw and by lengths. Where the end of a body
cannot be computed any more (chunked, and bytes are missing) the message ends with the
last segment before the connection turns around.
"""

from __future__ import annotations

from typing import Any

from .base import REQUEST, RESPONSE, Message
from .context import carried_context
from .descriptor import Descriptor
from .http1_body import BROKEN, DONE
from .http1_connection import Connection
from .http1_half import (
    AT_CHUNKS,
    AT_HEAD,
    AT_LENGTH,
    AT_START,
    AT_TURN,
    LOST,
    Half,
)
from .http1_head import (
    BAD_FRAMING,
    METHODS,
    REQUEST_LINE,
    STATUS_LINE,
    HttpRequest,
    HttpResponse,
    body_framing,
    head_end,
    text,
)

MAX_HEAD = 65536
"""Most bytes of one head that are kept; a longer one counts as truncated."""


class Http1Parser(Connection):
    """One HTTP/1.x connection. Follows ``base.Parser``; never raises on any bytes.

    Which direction carries the requests is learned from the first head. Memory is
    bounded: ``MAX_HEAD`` bytes a direction and the heads of ``MAX_OUTSTANDING`` requests.
    """

    __slots__ = ()

    def feed(
        self, direction: int, data: bytes, length: int, ts: int, end_ts: int, token: Any
    ) -> list[Message]:
        """See ``base.Parser.feed``."""
        if self.upgraded is not None:
            return []
        half = self._halves[direction]
        out: list[Message] = []
        size = len(data)
        if direction != self._last_direction or half.gap:
            self._last_direction = direction
            if half.state >= AT_LENGTH and size:
                self._fresh_run(half, data, out)
            half.gap = False
        pos = 0
        while pos < size:
            state = half.state
            if state == AT_START:
                pos = self._start(half, data, pos, ts, end_ts, token, out)
            elif state == AT_LENGTH:
                taken = size - pos if size - pos < half.left else half.left
                pos += taken
                half.left -= taken
                half.extend(taken, end_ts, token)
                if not half.left:
                    self._finish(half, out)
            elif state == AT_HEAD:
                pos = self._more_head(half, data, pos, end_ts, token, out)
            elif state == AT_CHUNKS:
                pos = self._chunks(half, data, pos, end_ts, token, out)
            elif state == LOST:
                # Only the beginning of a segment is a place where a head may be.
                if pos or not half.may_restart(data):
                    break
                half.state = AT_START
            else:
                half.extend(size - pos, end_ts, token)
                break
        if length > size:
            self._pass_over(half, length - size, end_ts, token, out)
        return out

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        half = self._halves[direction]
        half.gap = True
        if half.kind != REQUEST:
            self._stale = True
        if half.state == AT_HEAD:
            self._cut_head(half, out)
        elif half.state in (AT_LENGTH, AT_CHUNKS):
            half.state = AT_TURN
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        for half in self._halves:
            if half.state == AT_HEAD:
                self._cut_head(half, out)
        for half in self._halves:
            message = half.message
            if message is not None:
                message.error = error
                self._finish(half, out)
            half.reset()
        self._outstanding.clear()
        self._forgotten = 0
        self._stale = False
        return out

    def settle(self, ts: int) -> list[Message]:
        """Complete the messages whose end only a later turn would show.

        For a caller that has seen the connection quiet for a while. Their ``end`` is that
        of the last segment. Should the message go on after all, the rest is a desync.
        """
        out: list[Message] = []
        for half in self._halves:
            if half.state == AT_TURN:
                self._finish(half, out)
        return out

    # Heads

    def _start(
        self,
        half: Half,
        data: bytes,
        pos: int,
        ts: int,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> int:
        """Read a head at ``pos``, wholly or its beginning; return the position reached."""
        kind = half.kind
        head: HttpRequest | HttpResponse
        if kind != RESPONSE:
            match = REQUEST_LINE.match(data, pos)
            if match is not None:
                # ``head_end``, written out: this is the hot path.
                line_end = match.end() - 1
                end = data.find(b"\n\r\n", line_end) + 3
                if end < 3 or data.find(b"\n\n", line_end, end) >= 0:
                    end = head_end(data, line_end)
                if 0 < end <= pos + MAX_HEAD:
                    method, target, minor = match.groups()
                    version = "1.0" if minor == b"0" else "1.1"
                    head = HttpRequest(
                        METHODS.get(method) or text(method), text(target), version, data[pos:end]
                    )
                    message = Message(REQUEST, half.direction, ts, token, pos, head)
                    message.end = end_ts
                    message.length = end - pos
                    return end + self._request(
                        half, message, body_framing(head), len(data) - end, out
                    )
        if kind != REQUEST:
            match = STATUS_LINE.match(data, pos)
            if match is not None:
                line_end = match.end() - 1
                end = data.find(b"\n\r\n", line_end) + 3
                if end < 3 or data.find(b"\n\n", line_end, end) >= 0:
                    end = head_end(data, line_end)
                if 0 < end <= pos + MAX_HEAD:
                    minor, status = match.groups()
                    version = "1.0" if minor == b"0" else "1.1"
                    head = HttpResponse(int(status), version, data[pos:end])
                    message = Message(RESPONSE, half.direction, ts, token, pos, head)
                    message.end = end_ts
                    message.length = end - pos
                    return end + self._response(
                        half, message, body_framing(head), len(data) - end, out
                    )
        if data[pos] in b"\r\n":
            # Empty lines before a start line are nobody's bytes (RFC 9112, 2.2).
            return len(data) - len(data[pos:].lstrip(b"\r\n"))
        half.begin_head(ts, token, pos)
        return self._more_head(half, data, pos, end_ts, token, out)

    def _more_head(
        self, half: Half, data: bytes, pos: int, end_ts: int, token: Any, out: list[Message]
    ) -> int:
        """Add to a head that began before; return the position reached in ``data``."""
        buffer = half.buffer
        before = len(buffer)
        buffer += data[pos : pos + MAX_HEAD - before]
        half.head_end_ts, half.head_token = end_ts, token
        if half.line is None:
            found = half.read_line()
            if found is None:
                if len(buffer) >= MAX_HEAD:
                    self._cut_head(half, out)
                    return pos + len(buffer) - before
                return len(data)
            if isinstance(found, str):
                half.drop_head()
                if found == "preface":
                    self._hand_off("h2c")
                else:
                    self._desync(half)
                return len(data)
            half.line = found
            half.scanned = found.end - 1
        end = head_end(buffer, half.scanned)
        if end < 0:
            # The empty line may be cut anywhere: its first two bytes are seen again.
            half.scanned = max(half.scanned, len(buffer) - 2)
            if len(buffer) >= MAX_HEAD:
                self._cut_head(half, out)
                return pos + len(buffer) - before
            return len(data)
        self._take_head(half, bytes(buffer[:end]), False, out)
        return pos + end - before

    def _cut_head(self, half: Half, out: list[Message]) -> None:
        """The rest of the head that began will never be seen: keep what was."""
        if half.line is None:
            half.line = half.cut_line()
            if half.line is None:
                half.drop_head()
                self._desync(half)
                return
        self._take_head(half, bytes(half.buffer), True, out)

    def _take_head(self, half: Half, raw: bytes, truncated: bool, out: list[Message]) -> None:
        line = half.line
        assert line is not None
        token, start, offset = half.start_token, half.start, half.offset
        message = Message(line.kind, half.direction, start, token, offset, None)
        message.end = half.head_end_ts
        message.last_token = half.head_token
        message.length = len(raw)
        message.truncated = truncated
        half.drop_head()
        head: HttpRequest | HttpResponse
        if line.kind == REQUEST:
            head = HttpRequest(line.method, line.target, line.version, raw)
        else:
            head = HttpResponse(line.status, line.version, raw)
        message.head = head
        framing = BAD_FRAMING if truncated else body_framing(head)
        begin = self._request if line.kind == REQUEST else self._response
        begin(half, message, framing, 0, out)

    def _chunks(
        self, half: Half, data: bytes, pos: int, end_ts: int, token: Any, out: list[Message]
    ) -> int:
        assert half.chunks is not None
        reached, outcome = half.chunks.feed(data, pos)
        half.extend(reached - pos, end_ts, token)
        if outcome == DONE:
            self._finish(half, out)
        elif outcome == BROKEN:
            self.desyncs += 1
            half.state = AT_TURN
        return reached

    def _pass_over(
        self, half: Half, length: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        """``length`` bytes follow that were not captured."""
        if half.state == AT_HEAD:
            self._cut_head(half, out)
            half.extend(length, end_ts, token)
        elif half.state == AT_LENGTH:
            taken = min(length, half.left)
            half.left -= taken
            half.extend(taken, end_ts, token)
            if not half.left:
                self._finish(half, out)
                if taken < length:
                    self._desync(half)
        elif half.state == AT_START:
            self._desync(half)
        elif half.state != LOST:
            half.extend(length, end_ts, token)
            if half.state == AT_CHUNKS and half.chunks and not half.chunks.skip(length):
                half.state = AT_TURN

    def _fresh_run(self, half: Half, data: bytes, out: list[Message]) -> None:
        """A head where a body should go on ends that body, if its end was in doubt."""
        pattern = REQUEST_LINE if half.kind == REQUEST else STATUS_LINE
        if not pattern.match(data):
            return
        if half.state in (AT_LENGTH, AT_CHUNKS) and not (half.gap or half.doubtful):
            # Bytes that no probe saw would hide every later message. A head is believed
            # only when one is due: every request answered, or one still waiting.
            if half.kind == REQUEST:
                due = not self._outstanding and half.other.state == AT_START
            else:
                due = bool(self._outstanding)
            if not due:
                return
            self.desyncs += 1
        self._finish(half, out)


PROTOCOL = Descriptor(name="http", number=20, parser=Http1Parser, carried_context=carried_context)
