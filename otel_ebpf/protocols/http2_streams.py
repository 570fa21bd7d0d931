"""The life of streams on one HTTP/2 connection: begin, answer, end, reset (RFC 9113, 5.1)."""

from __future__ import annotations

from typing import Any

from .base import REQUEST, RESPONSE, Message
from .http2_heads import FIELDS, REQUEST_HEAD, RESPONSE_HEAD, Fields, Http2Request, Http2Response

MAX_STREAMS = 4096
"""Most streams remembered while they are open; above it the oldest is given up."""
LOST_WAIT = 30_000_000_000
"""Nanoseconds without a word of a stream, after bytes were lost, until it counts as ended."""

ERRORS = {
    0: "no_error",
    1: "protocol_error",
    2: "internal_error",
    3: "flow_control_error",
    4: "settings_timeout",
    5: "stream_closed",
    6: "frame_size_error",
    7: "refused_stream",
    8: "cancel",
    9: "compression_error",
    10: "connect_error",
    11: "enhance_your_calm",
    12: "inadequate_security",
    13: "http_1_1_required",
}
"""RFC 9113, 7: error code -> ``error.type``."""

Begin = tuple[int, int, int, Any]
"""Of a frame: offset in its segment, ts and end ts of that segment, and its token."""
Heads = tuple[Fields, "Http2Request | Http2Response | None"]
"""A header block, and the head it makes; None for fields without pseudo-fields."""


class _Stream:
    __slots__ = ("doubt", "request", "response")

    def __init__(self, request: Message | None = None, response: Message | None = None) -> None:
        self.request = request
        self.response = response
        self.doubt = 0


class Streams:
    """What both directions share; ``http2.Http2Parser`` adds the reading of frames.

    Attributes:
        client: the direction that carries requests; -1 while that is not known.
        given_up: streams that were dropped because there were too many.
        unclear: header blocks whose direction nobody could tell.
    """

    __slots__ = ("_doubtful", "_last", "_streams", "_token", "client", "given_up", "unclear")

    def __init__(self) -> None:
        self.client = -1
        self.given_up = 0
        self.unclear = 0
        self._streams: dict[int, _Stream] = {}
        self._doubtful: dict[int, int] = {}
        self._last = 0
        self._token: Any = None

    def adopt(self, request: Message) -> None:
        """See ``base.StreamParser.adopt``."""
        request.stream = 1
        self._streams[1] = _Stream(request)
        self._last = 1

    def _headers(
        self,
        direction: int,
        number: int,
        heads: Heads,
        ends: bool,
        begin: Begin,
        out: list[Message],
    ) -> None:
        """A header block is complete. ``begin`` is that of its frame."""
        fields, head = heads
        kind = fields.kind
        if self.client < 0:
            if kind == FIELDS:
                self.unclear += 1
                return
            self.client = direction if kind == REQUEST_HEAD else 1 - direction
        if number & 1 == 0:
            return  # pushed: nobody asked for it
        streams = self._streams
        stream = streams.get(number)
        # The usual request and response first.
        if direction == self.client:
            if stream is None and kind == REQUEST_HEAD and len(streams) < MAX_STREAMS:
                message = self._message(REQUEST, number, head, fields, begin)
                message.complete = ends
                self._last = max(self._last, number)
                streams[number] = _Stream(message)
                out.append(message)
                return
        elif (
            stream is not None
            and not ends
            and not stream.doubt
            and stream.response is None
            and isinstance(head, Http2Response)
            and head.status >= 200
        ):
            stream.response = message = self._message(RESPONSE, number, head, fields, begin)
            out.append(message)
            return
        if stream is not None and stream.doubt:
            self._believe(number, stream)
        if direction == self.client:
            self._asks(stream, number, fields, head, ends, begin, out)
        else:
            self._answers(stream, number, fields, head, ends, begin, out)

    def _asks(
        self,
        stream: _Stream | None,
        number: int,
        fields: Fields,
        head: Http2Request | Http2Response | None,
        ends: bool,
        begin: Begin,
        out: list[Message],
    ) -> None:
        if stream is not None and stream.request is not None:
            if ends:
                self._finish_request(stream.request, begin, out)  # trailers
            return
        if fields.kind != REQUEST_HEAD and not (fields.cut and number > self._last):
            return  # trailers of a request before this parser's time
        self._last = max(self._last, number)
        if not isinstance(head, Http2Request):
            head = Http2Request(fields)
        message = self._message(REQUEST, number, head, fields, begin)
        message.complete = ends
        if stream is None:
            stream = self._open(number, out)
        stream.request = message
        out.append(message)

    def _answers(
        self,
        stream: _Stream | None,
        number: int,
        fields: Fields,
        head: Http2Request | Http2Response | None,
        ends: bool,
        begin: Begin,
        out: list[Message],
    ) -> None:
        response = stream.response if stream is not None else None
        if response is not None and fields.kind != RESPONSE_HEAD:
            response.head.trailers = fields
            response.truncated = response.truncated or fields.cut
            if ends:
                self._finish_response(number, response, begin, out)
            return
        if response is not None:
            return  # a second head makes no sense
        if isinstance(head, Http2Response) and head.status < 200 and head.status and not ends:
            return  # interim: another will follow
        made = head if isinstance(head, Http2Response) else Http2Response(fields)
        message = self._message(RESPONSE, number, made, fields, begin)
        if fields.kind != RESPONSE_HEAD:
            # The head was lost, or its status is in a part of the table never seen.
            message.truncated = True
            if ends:
                made.trailers = fields
        if ends:
            message.complete = True
            self._close_stream(number)
        else:
            if stream is None:
                stream = self._open(number, out)
            stream.response = message
        out.append(message)

    def _message(
        self,
        kind: int,
        number: int,
        head: Http2Request | Http2Response | None,
        fields: Fields,
        begin: Begin,
    ) -> Message:
        offset, ts, end_ts, token = begin
        direction = self.client if kind == REQUEST else 1 - self.client
        message = Message(kind, direction, ts, token, offset, head)
        message.end = end_ts
        message.last_token = self._token
        message.stream = number
        message.truncated = fields.cut or fields.unknown > 0
        return message

    def _ended(self, direction: int, number: int, begin: Begin, out: list[Message]) -> None:
        """DATA has ended one side of a stream."""
        stream = self._streams.get(number)
        if stream is None or self.client < 0:
            return
        if stream.doubt:
            self._believe(number, stream)
        if direction == self.client:
            if stream.request is not None:
                self._finish_request(stream.request, begin, out)
        elif stream.response is not None:
            self._finish_response(number, stream.response, begin, out)
        elif stream.request is not None:
            self._fail(number, stream, "response_lost", begin[2], out)

    def _reset(self, number: int, code: int, begin: Begin, out: list[Message]) -> None:
        """RST_STREAM, from either side. Behind a whole response it finds no stream."""
        stream = self._streams.get(number)
        if stream is not None:
            self._fail(number, stream, ERRORS.get(code, "unknown_error"), begin[2], out)

    def _go_away(self, direction: int, last: int, begin: Begin, out: list[Message]) -> None:
        """The peer takes no stream above ``last`` that the other side began."""
        if direction == self.client or self.client < 0:
            return
        for number, stream in list(self._streams.items()):
            if number > last and stream.response is None:
                self._fail(number, stream, "refused_stream", begin[2], out)

    def _doubt(self, ts: int) -> None:
        """Frames were lost: any open stream may have ended among them."""
        for number, stream in self._streams.items():
            if not stream.doubt:
                stream.doubt = ts
                self._doubtful[number] = ts

    def _believe(self, number: int, stream: _Stream) -> None:
        stream.doubt = 0
        self._doubtful.pop(number, None)

    def _end_doubtful(self, ts: int, out: list[Message]) -> None:
        for number, since in list(self._doubtful.items()):
            if since + LOST_WAIT > ts:
                return
            self._fail(number, self._streams[number], "response_lost", ts, out)

    def _end_all(self, error: str, ts: int, out: list[Message]) -> None:
        for number, stream in list(self._streams.items()):
            self._fail(number, stream, error, ts, out)

    def _fail(self, number: int, stream: _Stream, error: str, ts: int, out: list[Message]) -> None:
        self._close_stream(number)
        message = stream.response or stream.request
        if message is None:
            return
        message.error = error
        message.end = ts
        message.complete = True
        self._give(message, out)

    def _open(self, number: int, out: list[Message]) -> _Stream:
        streams = self._streams
        if len(streams) >= MAX_STREAMS:
            oldest = next(iter(streams))
            self.given_up += 1
            kept = streams[oldest]
            message = kept.response or kept.request
            self._fail(oldest, kept, "no_response", message.end if message else 0, out)
        stream = streams[number] = _Stream()
        return stream

    def _close_stream(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None and stream.doubt:
            self._doubtful.pop(number, None)

    def _finish_request(self, message: Message, begin: Begin, out: list[Message]) -> None:
        if message.complete:
            return
        message.complete = True
        message.end = begin[2]
        self._give(message, out)

    def _finish_response(
        self, number: int, message: Message, begin: Begin, out: list[Message]
    ) -> None:
        message.complete = True
        message.end = begin[2]
        self._close_stream(number)
        self._give(message, out)

    def _give(self, message: Message, out: list[Message]) -> None:
        """Once for each segment: the same object may be there already."""
        token = self._token
        if message.last_token is not token or token is None:
            message.last_token = token
            out.append(message)
