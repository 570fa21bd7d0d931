"""Heads out of bytes: at once where they are whole, else gathered up to a cap."""

from __future__ import annotations

from typing import Any

from .base import REQUEST, RESPONSE, Message
from .http1_body import ChunkedBody
from .http1_connection import Connection
from .http1_half import Half
from .http1_head import (
    BAD_FRAMING,
    CHUNKED,
    METHODS,
    REQUEST_LINE,
    STATUS_LINE,
    HttpRequest,
    HttpResponse,
    body_framing,
    cut_framing,
    head_end,
    text,
)
from .http1_known import RESPONSES, SECTIONS, learn_section, remember

MAX_HEAD = 65536
"""Most bytes of one head that are kept; a longer one counts as truncated."""


class HeadReader(Connection):
    """Reads start lines and headers; what they begin is ``Connection``'s affair."""

    __slots__ = ()

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
                section = SECTIONS.get(data[line_end:end])
                if section is None and (end < 3 or data.find(b"\n\n", line_end, end) >= 0):
                    end = head_end(data, line_end)
                if 0 < end <= pos + MAX_HEAD:
                    method, target, minor = match.groups()
                    version = "1.0" if minor == b"0" else "1.1"
                    head = HttpRequest(
                        METHODS.get(method) or text(method),
                        text(target),
                        version,
                        data[pos:end],
                        section,
                    )
                    if section is None:
                        section = learn_section(head, data[line_end:end])
                    message = Message(REQUEST, half.direction, ts, token, pos, head)
                    message.end = end_ts
                    message.length = end - pos
                    return end + self._request(half, message, section.framing, len(data) - end, out)
        if kind != REQUEST:
            end = data.find(b"\n\r\n", pos) + 3
            known = RESPONSES.get(data[pos:end])
            if known is not None:
                message = Message(RESPONSE, half.direction, ts, token, pos, known[0])
                message.end = end_ts
                message.length = end - pos
                return end + self._response(half, message, known[1], len(data) - end, out)
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
                    framing = body_framing(head)
                    remember(RESPONSES, head.head, (head, framing))
                    message = Message(RESPONSE, half.direction, ts, token, pos, head)
                    message.end = end_ts
                    message.length = end - pos
                    return end + self._response(half, message, framing, len(data) - end, out)
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
                    self._hand_off("h2c", out)
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
        if truncated and half.message is message:
            self._expect(half, message, cut_framing(head))

    def _expect(self, half: Half, message: Message, framing: int) -> None:
        """What the part of a head that was seen says of its body."""
        if framing == CHUNKED:
            half.chunks = ChunkedBody()
        elif framing > 0:
            half.left = message.length + framing
