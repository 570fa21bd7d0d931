"""A connection of one conversation: requests and responses pair by their order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from otel_ebpf.correlation import usual
from otel_ebpf.correlation.conversation import Conversation
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.websocket import Upgrade
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import MAYBE, REQUEST, RESPONSE, ROLE_CLIENT
from otel_ebpf.protocols import base
from otel_ebpf.protocols.base import Message

if TYPE_CHECKING:
    from otel_ebpf.correlation.correlator import Correlator

MAX_OUTSTANDING = 4096
"""Requests without a response on one connection; above it the oldest are given up."""
MAX_UNKNOWN = 16
"""Segments kept while the protocol is not clear (the kernel judges by 8 bytes)."""


class Connection(Conversation):
    """A connection where responses come in the order of the requests.

    Attributes:
        turn: what :mod:`.usual` waits for; 0: messages go through the parser.
        asks, asked, asked_end, asked_length: its own; see there.
    """

    one_by_one = True

    __slots__ = (
        "asked",
        "asked_end",
        "asked_length",
        "asks",
        "begun",
        "cut",
        "last_direction",
        "next_seq",
        "outstanding",
        "request",
        "response",
        "turn",
        "unknown",
        "upgrade",
    )

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.begun: list[Record | None] = [None, None]
        """By direction: the latest record with which a request or response began."""
        self.outstanding: deque[Live] = deque()
        self.request: Message | None = None
        self.response: Message | None = None
        self.unknown: list[Record] = []
        self.last_direction = -1
        self.next_seq = [-1, -1]
        """By direction: where the next byte belongs in the stream; -1: not known."""
        self.cut = True
        """Bytes may have been lost since the last response (or ever, before the first)."""
        self.upgrade: Upgrade | None = None
        """It goes on as WebSocket."""
        self.turn = 0
        self.asks = 0
        self.asked: Live | None = None
        self.asked_end = self.asked_length = 0

    @property
    def in_flight(self) -> int:
        """See ``Conversation``."""
        return len(self.outstanding) + (self.asked is not None)

    def upgrading(self) -> Live | None:
        """See ``Conversation``."""
        if self.turn:
            usual.resume(self)
        waits = self.parser is not None and self.parser.upgraded == "h2c" and self.outstanding
        return self.outstanding.popleft() if waits else None

    def segment(self, record: Record, owner: Correlator) -> None:
        """Takes one data record."""
        if self.turn:
            usual.resume(self)
        self.last_ts = record.end_ts
        if self.ended:
            owner.counts["segments_after_end"] += 1
            return
        parser = self.parser
        if parser is None:
            if record.begins == MAYBE and len(self.unknown) < MAX_UNKNOWN:
                self.unknown.append(record)
            return
        if self.unknown:
            early, self.unknown = self.unknown, []
            for before in early:
                if before.direction == record.direction:
                    self._parse(before, owner)
        self._parse(record, owner)

    def _parse(self, record: Record, owner: Correlator) -> None:
        parser = self.parser
        assert parser is not None
        direction, length, seq = record.direction, record.length, record.tcp_seq
        begins = record.begins
        if begins == REQUEST:
            self.begun[direction] = record
            if direction == self.last_direction and self.outstanding:
                self._unheard(record, owner)
        elif begins == RESPONSE:
            self.begun[direction] = record
        self.last_direction = direction
        if seq != self.next_seq[direction] >= 0:
            self._skip(record, owner)
        self.next_seq[direction] = seq + length & 0xFFFFFFFF
        messages = parser.feed(
            direction,
            record.data,
            length,
            record.ts,
            record.end_ts,
            record,
            record.tail[: record.tail_len] if record.tail_len else b"",
        )
        for message in messages:
            self.take(message, owner)
        # What completed in this record leaves nothing open behind it.
        if not (messages and messages[-1].complete) and not self.watched and parser.open_ended:
            owner.watch(self)

    def _unheard(self, record: Record, owner: Correlator) -> None:
        """The kernel judges a request only where the connection has turned: what it turned
        from, the answer to the one before, was not told of."""
        assert self.parser is not None
        if self.outstanding[-1].response_message is None:
            owner.counts["gaps"] += 1
            for message in self.parser.gap(1 - record.direction, record.ts):
                self.take(message, owner)

    def _skip(self, record: Record, owner: Correlator) -> None:
        """The stream does not go on where it stood: no probe saw what is between."""
        missing = record.tcp_seq - self.next_seq[record.direction] & 0xFFFFFFFF
        if missing >> 31:  # it went back: bytes were told of that did not move
            self.missed(record, owner)
            return
        owner.counts["gaps"] += 1
        owner.counts["bytes_not_seen"] += missing
        self.cut = True
        assert self.parser is not None
        ts = record.ts
        for message in self.parser.feed(record.direction, b"", missing, ts, ts, record):
            self.take(message, owner)

    def missed(self, record: Record, owner: Correlator) -> None:
        """Nobody knows how many bytes in the direction of ``record`` are missing."""
        if self.turn:
            usual.resume(self)
        owner.counts["gaps"] += 1
        self.cut = True
        self.next_seq[record.direction] = -1
        if self.parser is not None:
            for message in self.parser.gap(record.direction, record.ts):
                self.take(message, owner)
            if not self.watched and self.parser.open_ended:
                owner.watch(self)

    def settle(self, ts: int, owner: Correlator) -> None:
        """The connection is quiet: what can have ended has."""
        if self.parser is not None and not self.ended:
            for message in self.parser.settle(ts):
                self.take(message, owner)

    def take(self, message: Message, owner: Correlator) -> None:
        """A message begins or completes."""
        if message.kind == base.REQUEST:
            if message is not self.request:
                self.request = message
                self._begin(message, owner)
            return
        if message.interim:
            return
        if message is not self.response:
            self._drop_unanswerable(owner)
            self._drop_others(self._mark(message).uid, owner)
            for exchange in self.outstanding:
                if exchange.response_message is None:
                    break
            else:
                owner.counts["responses_without_request"] += 1
                return
            self.response = message
            exchange.response_message = message
            exchange.response = message.head
            owner.answered(exchange, self._mark(message))
        if message.complete:
            self._complete(message, owner)

    def _drop_unanswerable(self, owner: Correlator) -> None:
        """The parser says that the oldest requests' responses were lost."""
        outstanding = self.outstanding
        while outstanding and outstanding[0].request_message.oneway:
            self._lost(outstanding.popleft(), owner)

    def _drop_others(self, named: int, owner: Correlator) -> None:
        """The kernel says which request was the latest when this response began. A request
        with another number has lost its response, unless it is ahead in a pipeline."""
        cut, self.cut = self.cut, False
        outstanding = self.outstanding
        while outstanding:
            x = outstanding[0]
            if not named or x.uid in (0, named) or x.response_message is not None:
                return
            if not cut and any(y.uid == named for y in outstanding):
                return
            self._lost(outstanding.popleft(), owner)

    def _lost(self, x: Live, owner: Correlator) -> None:
        x.end = max(x.request_message.end, x.start)
        x.error = "response_lost"
        x.request_size = x.request_message.length
        owner.finished(x)

    def _mark(self, message: Message) -> Record:
        """The record that says who and why: where the kernel saw the message begin."""
        first: Record = message.token
        if first.begins == REQUEST or first.begins == RESPONSE:
            return first
        begun = self.begun[message.direction]
        # A first byte read alone is judged with the rest, one record later.
        return begun if begun is not None and begun.ts >= first.ts else first

    def _begin(self, message: Message, owner: Correlator) -> None:
        first: Record = message.token
        mark = self._mark(message)
        if self.outstanding:
            self._drop_unanswerable(owner)
        x = self.live(message, first, mark, owner)
        # Requests behind the first of a segment have no number of their own.
        if message.offset == 0 and mark.begins == REQUEST:
            x.uid = mark.uid
        self.outstanding.append(x)
        if len(self.outstanding) > MAX_OUTSTANDING:
            owner.counts["requests_given_up"] += 1
            oldest = self.outstanding.popleft()
            oldest.error = "no_response"
            owner.finished(oldest)
        owner.asked(x, mark, self)

    def _complete(self, message: Message, owner: Correlator) -> None:
        outstanding = self.outstanding
        if outstanding and outstanding[0].response_message is message:
            x = outstanding.popleft()
        else:
            for x in outstanding:
                if x.response_message is message:
                    outstanding.remove(x)
                    break
            else:
                return
        request = x.request_message
        x.end = message.end
        x.error = message.error
        x.request_truncated = request.truncated
        x.response_truncated = message.truncated
        x.request_size = request.length
        x.response_size = message.length
        owner.finished(x)
        if message.head.status == 101 and self.parser is not None:
            self._upgraded(x, request, message)

    def _upgraded(self, x: Live, request: Message, message: Message) -> None:
        """HTTP/1 ends with this answer."""
        assert self.parser is not None
        if self.parser.upgraded == "websocket":
            last: Record = message.last_token
            whole = message.token is last
            at = message.offset + message.length if whole else last.length
            self.upgrade = Upgrade(x, last, at, request.head, message.head)

    def end(self, ts: int, error: str | None, owner: Correlator) -> None:
        """No more bytes will come; what is open ends here."""
        if self.turn:
            usual.resume(self)
        if self.ended:
            return
        self.ended = True
        if self.parser is not None:
            if self.parser.desyncs:
                owner.counts["desyncs"] += self.parser.desyncs
            for message in self.parser.close(ts, error):
                self.take(message, owner)
            self.parser = None
        if self.unknown:
            owner.counts["segments_never_understood"] += len(self.unknown)
            self.unknown = []
        while self.outstanding:
            x = self.outstanding.popleft()
            x.end = max(ts, x.start)
            x.error = error or "connection_closed"
            x.request_size = x.request_message.length
            owner.finished(x)

    def half_close(self, record: Record, owner: Correlator) -> None:
        """One side has said its last. That ends the conversation if it is the side
        that answers."""
        answering = base.INGRESS if record.role == ROLE_CLIENT else base.EGRESS
        if record.direction == answering:
            self.end(record.ts, None, owner)
