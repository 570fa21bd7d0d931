"""FastCGI, between a web server and its programs (php-fpm), seen from outside.

Source: the FastCGI specification 1.0. Requests of a connection are told apart by their id;
each is one call like HTTP's. What a request says is in its parameters, its status in the
header lines with which its output begins.
"""

from __future__ import annotations

from typing import Any

from .base import REQUEST, RESPONSE, Message
from .cgi import CgiRequest, CgiResponse, cgi_response
from .context import carried_context
from .descriptor import Descriptor
from .fastcgi_records import (
    ABORT_REQUEST,
    BEGIN_REQUEST,
    END_REQUEST,
    PARAMS,
    STDERR,
    STDIN,
    STDOUT,
    Piece,
    Records,
    begins_request,
    name_values,
)
from .http1_head import head_end

MAX_ACTIVE = 1024
"""Requests of one connection that wait; above it the oldest is given up."""
MAX_PARAMS = 65_536
MAX_HEAD = 16_384
"""Bytes of parameters, and of an output's header lines, that are kept."""

_PROTOCOL_STATUS = {1: "cannot_multiplex", 2: "overloaded", 3: "unknown_role"}


class _Call:
    """A request that is under way.

    Attributes:
        request: told of once its parameters are known (``told``).
        params, cut: bytes of them; some were not captured.
        response: from its first record on; headed: its head is known.
        output: the beginning of it, until then. end: the bytes of END_REQUEST.
        closed: its output has ended.
    """

    __slots__ = (
        "closed",
        "cut",
        "end",
        "headed",
        "output",
        "params",
        "request",
        "response",
        "told",
    )

    def __init__(self, request: Message) -> None:
        self.request = request
        self.told = self.cut = self.headed = self.closed = False
        self.params = bytearray()
        self.output = bytearray()
        self.end = bytearray()
        self.response: Message | None = None


class FastCgiParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: ``MAX_ACTIVE`` requests with their heads.
    """

    __slots__ = ("_calls", "_open", "_records", "_serial", "client", "desyncs", "upgraded")

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._records = (Records(), Records())
        self._calls: dict[int, _Call] = {}
        self._open: _Call | None = None
        """One whose output's end no framing shows."""
        self._serial = 0

    @property
    def in_step(self) -> bool:
        """See ``base.PairingParser.in_step``."""
        return bool(self._calls) or not self._records[self.client].lost

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return self._open is not None

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        for records in self._records:
            records.lost = not fresh

    def feed(
        self,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
        tail: bytes = b"",
    ) -> list[Message]:
        """See ``base.Parser.feed``."""
        out: list[Message] = []
        records = self._records[direction]
        asks = direction == self.client
        if records.lost and not (asks and self._resumes(data, out)):
            self._follow(direction, length, end_ts, token)
            return out
        pieces, lost = records.feed(data, length, ts, token)
        for piece in pieces:
            if asks:
                self._asked(piece, direction, end_ts, token, out)
            else:
                self._answered(piece, direction, end_ts, token, out)
        if lost:
            if records.lost and len(data) == length:
                self.desyncs += 1
            self._lose(direction, ts, end_ts, token, out)
            self._follow(direction, length - len(data), end_ts, token)
        return out

    # Requests

    def _resumes(self, data: bytes, out: list[Message]) -> bool:
        """Whether a request begins with this segment, of a direction that was lost."""
        if not begins_request(data) or any(c.response is None for c in self._calls.values()):
            return False
        self._conclude(out)
        for records in self._records:
            if not self._calls or records is self._records[self.client]:
                records.reset()
                records.lost = False
        return True

    def _asked(
        self, piece: Piece, direction: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        number = piece.request
        if piece.kind == BEGIN_REQUEST and piece.first:
            if self._open is not None:
                self._conclude(out)
                answers = self._records[1 - direction]
                if answers.lost and not self._calls:
                    answers.reset()
                    answers.lost = False
            self._end(number, "response_lost", out)
            if len(self._calls) >= MAX_ACTIVE:
                self._end(next(iter(self._calls)), "no_response", out)
            message = Message(REQUEST, direction, piece.start, piece.token, piece.offset, None)
            self._calls[number] = _Call(message)
        call = self._calls.get(number)
        if call is None:
            return
        message = call.request
        message.end = end_ts
        message.last_token = token
        if piece.first:
            message.length += piece.size
        if piece.kind == PARAMS and not call.told:
            room = MAX_PARAMS - len(call.params)
            if piece.cut or room < len(piece.content):
                call.cut = True
            elif not call.cut:
                call.params += piece.content
            if piece.empty:
                self._tell(call, out)
        elif piece.kind == STDIN and piece.empty:
            message.complete = True
        elif piece.kind == ABORT_REQUEST and piece.last:
            self._end(number, "aborted", out)

    def _tell(self, call: _Call, out: list[Message]) -> None:
        """Its parameters are as known as they will ever be."""
        call.told = True
        variables, whole = name_values(bytes(call.params))
        call.params.clear()
        message = call.request
        message.head = CgiRequest(variables)
        message.truncated = call.cut or not whole
        self._serial += 1
        message.stream = self._serial
        out.append(message)

    # Responses

    def _answered(
        self, piece: Piece, direction: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        number, kind = piece.request, piece.kind
        call = self._calls.get(number)
        if call is None or kind not in (STDOUT, STDERR, END_REQUEST):
            return
        message = self._response(call, direction, piece.start, piece.token, piece.offset, out)
        message.end = end_ts
        message.last_token = token
        if piece.first:
            message.length += piece.size
        if kind == STDOUT and not call.headed:
            call.output += piece.content
            end = head_end(call.output, 0)
            if end >= 0 or piece.cut or len(call.output) > MAX_HEAD or piece.empty:
                self._head(call, end, out)
        if kind == STDOUT and piece.empty:
            call.closed = True
        if kind == END_REQUEST:
            call.end += piece.content
            if piece.last:
                self._ended(number, call, out)

    def _response(
        self, call: _Call, direction: int, ts: int, token: Any, offset: int, out: list[Message]
    ) -> Message:
        message = call.response
        if message is None:
            if not call.told:
                call.cut = True
                self._tell(call, out)
            message = Message(RESPONSE, direction, ts, token, offset, CgiResponse(0, b""))
            message.stream = call.request.stream
            call.response = message
        return message

    def _head(self, call: _Call, end: int, out: list[Message]) -> None:
        message = call.response
        assert message is not None
        call.headed = True
        if end < 0:
            message.truncated = bool(call.output)
            end = len(call.output)
        if call.output:
            message.head = cgi_response(bytes(call.output[:end]))
        call.output.clear()
        _add(out, message)

    def _ended(self, number: int, call: _Call, out: list[Message]) -> None:
        """END_REQUEST is whole."""
        del self._calls[number]
        if not call.headed:
            self._head(call, -1, out)
        message = call.response
        assert message is not None
        message.complete = call.request.complete = True
        if len(call.end) >= 5:
            exit_status = int.from_bytes(call.end[:4], "big")
            message.error = _PROTOCOL_STATUS.get(call.end[4])
            if message.error is None and exit_status:
                code = str(exit_status) if exit_status < 256 else "_OTHER"
                message.error = f"app_status_{code}"
        _add(out, message)

    # Losses and ends

    def _follow(self, direction: int, length: int, end_ts: int, token: Any) -> None:
        """A segment whose records are not known."""
        if direction != self.client:
            message = None if self._open is None else self._open.response
        else:
            last = next(reversed(self._calls.values()), None)
            message = None if last is None or last.response is not None else last.request
        if message is not None:
            message.end = end_ts
            message.last_token = token
            message.length += length

    def _lose(self, direction: int, ts: int, end_ts: int, token: Any, out: list[Message]) -> None:
        """From here on it is not known where records begin."""
        self._records[direction].lost = True
        calls = self._calls
        if direction == self.client:
            for call in calls.values():
                if not call.told:
                    call.cut = True
                    self._tell(call, out)
            return
        if len(calls) != 1 or self._open is not None:
            for number in list(calls):
                self._end(number, "response_lost", out)
            self._open = None
            return
        call = next(iter(calls.values()))
        message = self._response(call, direction, ts, token, 0, out)
        message.end = end_ts
        message.last_token = token
        if not call.headed:
            message.truncated = True
            self._head(call, -1, out)
        self._open = call

    def _conclude(self, out: list[Message], error: str | None = None) -> None:
        call, self._open = self._open, None
        if call is None or call.response is None:
            return
        for number, other in list(self._calls.items()):
            if other is call:
                del self._calls[number]
        call.response.complete = True
        call.response.error = error
        _add(out, call.response)

    def _end(self, number: int, error: str, out: list[Message]) -> None:
        """A call is over without END_REQUEST."""
        call = self._calls.pop(number, None)
        if call is None or not call.told:
            return
        message = call.response if call.headed and call.response is not None else call.request
        message.complete = True
        message.error = error
        _add(out, message)

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        if self._calls and not self._records[direction].lost:
            self._lose(direction, ts, ts, None, out)
        self._records[direction].lost = True
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        out: list[Message] = []
        self._conclude(out)
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        self._conclude(out, error)
        for call in self._calls.values():
            if call.closed and call.response is not None and error is None:
                call.response.complete = True
                _add(out, call.response)
        self._calls.clear()
        return out


def _add(out: list[Message], message: Message) -> None:
    if not any(known is message for known in out):
        out.append(message)


PROTOCOL = Descriptor(
    name="fastcgi",
    number=44,
    parser=FastCgiParser,
    carried_context=carried_context,
    pairs=True,
)
