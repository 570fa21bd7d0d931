"""The uwsgi protocol, between a web server and uWSGI, seen from outside.

A connection is one request: a header of 4 bytes (modifier, size, modifier), CGI's variables,
the body as it is; and an HTTP response, which ends by its length or with the connection.
"""

from __future__ import annotations

from typing import Any

from .base import REQUEST, RESPONSE, Message
from .cgi import MAX_VARIABLES, CgiRequest, CgiResponse
from .context import carried_context
from .descriptor import Descriptor
from .http1_head import STATUS_LINE, body_framing, head_end

HEADER = 4
MAX_HEAD = 16_384
"""Bytes of a response's head that are kept. Variables are 64 KiB at most by the protocol."""


class UwsgiParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes."""

    __slots__ = (
        "_body",
        "_cut",
        "_given",
        "_head",
        "_left",
        "_lost",
        "_request",
        "_response",
        "_size",
        "client",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._given = bytearray()  # header and variables
        self._size = HEADER
        """Bytes of them that there are, as far as is known."""
        self._cut = self._lost = False
        self._body = 0
        """Bytes of the request's body that are still to come."""
        self._request: Message | None = None
        self._response: Message | None = None
        self._head = bytearray()
        self._left = -1
        """Bytes of the response's body that are still to come; -1: to the connection's end."""

    @property
    def in_step(self) -> bool:
        """See ``base.PairingParser.in_step``."""
        return not self._lost

    @property
    def open_ended(self) -> bool:
        """Only the connection's end ends it."""
        return False

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client

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
        if self._lost:
            return out
        if direction == self.client:
            self._asked(data, length, ts, end_ts, token, out)
        else:
            self._answered(data, length, ts, end_ts, token, out)
        return out

    def _asked(
        self, data: bytes, length: int, ts: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        message = self._request
        if message is None:
            message = self._request = Message(REQUEST, self.client, ts, token, 0, None)
        message.end = end_ts
        message.last_token = token
        message.length += length
        if message.stream:
            self._body -= length
        else:
            given = self._given
            given += data
            if len(given) < length and len(given) < HEADER:
                self._lost = True  # without its header nothing is known
                return
            if len(given) >= HEADER:
                self._size = HEADER + int.from_bytes(given[1:3], "little")
            whole = message.length >= self._size
            if not whole and length == len(data):
                return
            self._cut = len(given) < min(self._size, message.length)
            if not whole and not self._cut:
                return
            self._tell(message, out)
            self._body -= message.length - self._size
        message.complete = message.complete or self._body <= 0

    def _tell(self, message: Message, out: list[Message]) -> None:
        found, whole = _variables(bytes(self._given[HEADER : self._size]))
        self._given.clear()
        head = message.head = CgiRequest(found)
        message.truncated = self._cut or not whole
        message.stream = 1
        said = head.variable(b"CONTENT_LENGTH")
        if said.isascii() and said.isdigit() and len(said) < 19:
            self._body = int(said)
        out.append(message)

    def _answered(
        self, data: bytes, length: int, ts: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        request = self._request
        if request is None or (self._response is not None and self._response.complete):
            return
        if not request.stream:
            self._cut = True
            self._tell(request, out)
        message = self._response
        if message is None:
            head = CgiResponse(0, b"")
            message = self._response = Message(RESPONSE, 1 - self.client, ts, token, 0, head)
        message.end = end_ts
        message.last_token = token
        message.length += length
        if message.stream:
            if self._left >= 0:
                self._left = max(0, self._left - length)
        else:
            self._head += data
            end = head_end(self._head, 0)
            if end < 0 and len(data) == length and len(self._head) < MAX_HEAD:
                return
            self._headed(message, end, out)
        if message.stream and self._left == 0:
            message.complete = request.complete = True
            if message not in out:
                out.append(message)

    def _headed(self, message: Message, end: int, out: list[Message]) -> None:
        """The response's head is there, or will never be (``end`` < 0)."""
        request = self._request
        assert request is not None
        raw = bytes(self._head[:end] if end >= 0 else self._head)
        self._head.clear()
        line = STATUS_LINE.match(raw)
        message.truncated = end < 0
        message.stream = request.stream
        if line is not None:
            message.head = CgiResponse(int(line[2]), raw)
            framing = body_framing(message.head)
            if request.head.method == "HEAD" or message.head.status in (204, 304):
                framing = 0
            if framing >= 0 and end >= 0:
                # What is beyond the body is nobody's.
                self._left = max(0, framing - (message.length - end))
        else:
            self.desyncs += 1
        out.append(message)

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        if direction == self.client:
            request = self._request
            if request is not None and not request.stream:
                self._cut = True
                self._tell(request, out)
        elif self._response is not None and not self._response.stream:
            self._headed(self._response, -1, out)
        else:
            self._left = -1
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        return []

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        message = self._response
        if message is not None and not message.complete:
            if not message.stream:
                self._headed(message, -1, out)
            message.complete = True
            message.error = error
            if message not in out:
                out.append(message)
        return out


def _variables(data: bytes) -> tuple[dict[bytes, bytes], bool]:
    """The pairs of a packet, each text behind its length; False where the last is cut."""
    found: dict[bytes, bytes] = {}
    at, size = 0, len(data)
    while at < size:
        middle = at + 2 + int.from_bytes(data[at : at + 2], "little")
        end = middle + 2 + int.from_bytes(data[middle : middle + 2], "little")
        if end > size or middle + 2 > size:
            return found, False
        if len(found) < MAX_VARIABLES:
            found[data[at + 2 : middle]] = data[middle + 2 : end]
        at = end
    return found, True


PROTOCOL = Descriptor(
    name="uwsgi",
    number=30,
    parser=UwsgiParser,
    carried_context=carried_context,
    pairs=True,
)
