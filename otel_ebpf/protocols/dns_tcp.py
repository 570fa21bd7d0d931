"""DNS over TCP: messages with their lengths before them, many on a connection, in any order."""

from __future__ import annotations

from typing import Any

from .base import REQUEST, RESPONSE, Message
from .dns_heads import request_of, response_of
from .dns_message import AXFR, HEADER, IXFR, DnsMessage, read_message

MAX_OUTSTANDING = 1024
"""Queries of one connection that wait for their answers; above it the oldest are given up."""
KEPT = 4096
"""Most bytes of one message that are looked at."""


class _Half:
    """One direction of a TCP connection."""

    __slots__ = ("data", "lost", "need", "offset", "passed", "start", "token")

    def __init__(self) -> None:
        self.data = bytearray()
        """Of the length and the message at hand, as far as it was captured and is kept."""
        self.passed = 0
        """Bytes of them that have moved."""
        self.need = 2
        """And how many that will be, 2 while the length is not known."""
        self.lost = True
        """Where the next message begins is not known."""
        self.start = self.offset = 0
        self.token: Any = None

    def reset(self) -> None:
        self.data.clear()
        self.passed = 0
        self.need = 2


class DnsParser:
    """One TCP connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: 4 KiB of one message in each direction, and ``MAX_OUTSTANDING`` queries.
    """

    __slots__ = ("_halves", "_more", "_outstanding", "_serial", "client", "desyncs", "upgraded")

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._halves = (_Half(), _Half())
        self._outstanding: dict[int, tuple[Message, int, tuple[str, int]]] = {}
        """Queries by their numbers here, with their ids and what they are about."""
        self._more: dict[int, tuple[Message, int, int]] = {}
        """Transfers of zones, of which more messages follow: by id the answer, its query's
        number, and SOA records so far."""
        self._serial = 0

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return bool(self._more)

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        for half in self._halves:
            half.lost = not fresh

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
        half = self._halves[direction]
        if half.lost:
            # A message hardly ever begins within a segment.
            whole = data[:2]
            if len(whole) < 2 or int.from_bytes(whole, "big") + 2 != length:
                return out
            if read_message(data[2:], length - 2) is None:
                return out
            half.lost = False
            half.reset()
        size = len(data)
        at = 0
        while at < length:
            if not half.passed:
                half.start, half.token, half.offset = ts, token, at
            n = min(half.need - half.passed, length - at)
            room = KEPT + 2 - len(half.data)
            if len(half.data) == half.passed and room > 0 and at < size:
                half.data += data[at : at + min(n, room)]
            half.passed += n
            at += n
            if half.passed < half.need:
                break
            if half.need == 2:
                if len(half.data) < 2:  # it was not captured
                    self._lose(half, out)
                    break
                half.need = 2 + int.from_bytes(half.data, "big")
                if half.need < 2 + HEADER.size:
                    self.desyncs += 1
                    self._lose(half, out)
                    break
                continue
            message = read_message(bytes(half.data[2:]), half.need - 2)
            if message is None:
                self.desyncs += 1
            elif direction == self.client and not message.answer:
                self._asked(direction, half, message, end_ts, token, out)
            elif direction != self.client and message.answer:
                self._answered(direction, half, message, end_ts, token, out)
            half.reset()
        return out

    def _asked(
        self,
        direction: int,
        half: _Half,
        message: DnsMessage,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        head = request_of(message, "tcp")
        request = Message(REQUEST, direction, half.start, half.token, half.offset, head)
        self._serial += 1
        request.stream = self._serial
        request.end = end_ts
        request.last_token = token
        request.length = half.need
        request.complete = True
        out.append(request)
        self._outstanding[self._serial] = (request, message.number, message.about)
        if len(self._outstanding) > MAX_OUTSTANDING:
            oldest = self._outstanding.pop(next(iter(self._outstanding)))[0]
            oldest.error = "no_response"
            out.append(oldest)

    def _answered(
        self,
        direction: int,
        half: _Half,
        message: DnsMessage,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        more = self._more.get(message.number)
        if more is not None:
            answer, serial, soas = more
            answer.length += half.need
            answer.end = end_ts
            answer.last_token = token
            self._transfer(answer, serial, message, soas, out)
            return
        serial = self._find(message)
        if not serial:
            return
        kind = self._outstanding.pop(serial)[2][1]
        answer = Message(
            RESPONSE, direction, half.start, half.token, half.offset, response_of(message)
        )
        answer.stream = serial
        answer.length = half.need
        answer.end = end_ts
        answer.last_token = token
        out.append(answer)
        if kind in (AXFR, IXFR) and not message.code:
            self._transfer(answer, serial, message, 0, out)
        else:
            answer.complete = True

    def _transfer(
        self, answer: Message, serial: int, message: DnsMessage, soas: int, out: list[Message]
    ) -> None:
        """A zone is told between its SOA record and that again, in one message or many."""
        before, soas = soas, soas + message.soas
        if soas >= 2 or message.code or (not before and message.soas == 1 and _alone(message)):
            self._more.pop(message.number, None)
            _finish(answer, out)
        else:
            self._more[message.number] = (answer, serial, soas)
            if len(self._more) > MAX_OUTSTANDING:
                _finish(self._more.pop(next(iter(self._more)))[0], out)

    def _find(self, message: DnsMessage) -> int:
        """The query that it answers; 0: none, or nobody knows which."""
        found = 0
        for serial, (_, number, about) in self._outstanding.items():
            if number != message.number:
                continue
            if message.questions:
                if about == message.about:
                    return serial  # the oldest of several that are the same
            elif found:
                return 0
            else:
                found = serial
        return found

    def _lose(self, half: _Half, out: list[Message]) -> None:
        half.lost = True
        half.reset()
        if half is not self._halves[self.client]:
            self._end_transfers(out)

    def _end_transfers(self, out: list[Message]) -> None:
        for answer, _, _ in self._more.values():
            _finish(answer, out)
        self._more.clear()

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        self._lose(self._halves[direction], out)
        if direction != self.client:
            # Whichever answers were lost, their queries wait for nothing.
            for request, _, _ in self._outstanding.values():
                request.error = "response_lost"
                out.append(request)
            self._outstanding.clear()
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        out: list[Message] = []
        self._end_transfers(out)
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        for answer, _, _ in self._more.values():
            answer.error = error
        self._end_transfers(out)
        return out


def _finish(answer: Message, out: list[Message]) -> None:
    """It is whole; it may have begun in the same segment, and is told of once."""
    answer.complete = True
    if answer not in out:
        out.append(answer)


def _alone(message: DnsMessage) -> bool:
    """An IXFR's answer of one record says that nothing has changed."""
    return message.type == IXFR or not message.questions
