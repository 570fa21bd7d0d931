"""A connection whose parser says which reply answers which request."""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from otel_ebpf.correlation.conversation import Conversation
from otel_ebpf.correlation.live import OWN, Live
from otel_ebpf.correlation.model import CLIENT
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import FLAG_BEHIND, FLAG_FRESH, MAYBE, REQUEST, RESPONSE, ROLE_CLIENT
from otel_ebpf.protocols import base
from otel_ebpf.protocols.base import Message, PairingParser

if TYPE_CHECKING:
    from otel_ebpf.correlation.correlator import Correlator

_log = logging.getLogger(__name__)
_OWN = count(OWN)
_TOLD = 10
"""Failures of parsers of which the log has the place."""
MAX_OPEN = 4096
"""Requests without a reply on one connection; above it the oldest are given up."""


class PairedConnection(Conversation):
    """Databases, caches, queues: a reply has the number (``Message.stream``) of its request.

    Attributes:
        open: exchanges without their whole reply, by that number, the oldest first.
    """

    __slots__ = ("_begun", "_chatter", "_due", "_left", "_next_seq", "_pushed", "_unknown", "open")

    def __init__(self, record: Record, unknown: list[Record] | None = None) -> None:
        super().__init__(record)
        self.open: dict[int, Live] = {}
        self._begun: list[Record | None] = [None, None]
        """By direction: the latest record with which a request or reply began."""
        self._next_seq = [-1, -1]
        self._due = -1
        """The direction whose first byte is still to come, where the first one of the other was
        seen."""
        self._unknown = unknown or []
        self._left = False
        """The parser reads no more of it."""
        self._chatter: dict[int, Message] = {}
        """Calls that are told of only when they fail; bounded as ``open``."""
        self._pushed: dict[int, Live] = {}
        """Of ``open``, messages that the broker delivers."""

    @property
    def in_flight(self) -> int:
        """See ``Conversation``."""
        return len(self.open)

    def follow(self, before: base.Parser | None) -> None:
        """``before``: the parser of what passed here before TLS. It may know what the server
        has said of itself."""
        follow = getattr(self.parser, "follow", None)
        if follow is not None and isinstance(before, type(self.parser)):
            follow(before)

    def segment(self, record: Record, owner: Correlator) -> None:
        """See ``Conversation``."""
        self.last_ts = record.end_ts
        if self.ended:
            owner.counts["segments_after_end"] += 1
            return
        parser = cast(PairingParser, self.parser)
        if parser.client < 0:
            # The first segment whose protocol is known.
            if record.begins == MAYBE:
                return
            asks = base.EGRESS if record.role == ROLE_CLIENT else base.INGRESS
            if self.descriptor is not None and self.descriptor.memory is not None:
                cast(Any, parser).remember(owner.memory(self.descriptor), record.tgid)
            fresh = bool(record.flags & FLAG_FRESH)
            if fresh:
                self._due = 1 - record.direction
            parser.begin(asks, fresh)
            early, self._unknown = self._unknown, []
            for before in early:
                if before.direction == record.direction:
                    self._parse(parser, before, owner)
        self._parse(parser, record, owner)

    def _parse(self, parser: PairingParser, record: Record, owner: Correlator) -> None:
        direction, length, seq = record.direction, record.length, record.tcp_seq
        begins = record.begins
        if begins in (REQUEST, RESPONSE):
            self._begun[direction] = record
        expected = self._next_seq[direction]
        if seq != expected >= 0:
            self._skip(parser, record, seq - expected & 0xFFFFFFFF, owner)
        elif direction == self._due:
            self._due = -1
            if record.flags & FLAG_BEHIND:  # the first one was lost on its way here
                self.missed(record, owner)
        self._next_seq[direction] = seq + length & 0xFFFFFFFF
        messages = parser.feed(
            direction,
            record.data,
            length,
            record.ts,
            record.end_ts,
            record,
            record.tail[: record.tail_len] if record.tail_len else b"",
        )
        # Those that pair by a number of the protocol's are always in step.
        if not parser.upgraded and not getattr(parser, "in_step", True):
            owner.counts["segments_out_of_step"] += 1
        anchors = owner.parents.anchors
        if direction != parser.client and record.tgid in anchors.processes:
            ended = [m for m in messages if m.kind == base.RESPONSE and m.complete]
            anchors.came(record.tgid, record.ts, [self.open.get(m.stream) for m in ended])
        for message in messages:
            self.take(message, owner)
        if parser.upgraded is not None and not self._left:
            self._left = True
            if parser.upgraded == base.COMPRESSED:
                self._compressed(record, owner)
        if not self.watched and parser.open_ended:
            owner.watch(self)

    def _compressed(self, record: Record, owner: Correlator) -> None:
        name = "compressed_connections_left_out"
        owner.counts[name] += 1
        if owner.counts[name] <= _TOLD:
            _log.warning(
                "a connection of process %d turned to compression: its %s calls cannot be read",
                record.tgid,
                self.protocol,
            )

    def _skip(self, parser: PairingParser, record: Record, missing: int, owner: Correlator) -> None:
        """The stream does not go on where it stood: no probe saw what is between."""
        owner.counts["gaps"] += 1
        ts = record.ts
        if missing >> 31:  # it went back: bytes were told of that did not move
            messages = parser.gap(record.direction, ts)
        else:
            owner.counts["bytes_not_seen"] += missing
            messages = parser.feed(record.direction, b"", missing, ts, ts, record)
        for message in messages:
            self.take(message, owner)

    def take(self, message: Message, owner: Correlator) -> None:
        """A message begins or completes."""
        number = message.stream
        x = self.open.get(number)
        if message.kind == base.REQUEST:
            if x is None and number not in self._chatter:
                if message.head.chatter and not owner.chatter:
                    self._quiet(message, owner)
                    return
                x = self._begin(message, owner)
            if x is None:
                if message.error or message.oneway:
                    self._chatter.pop(number, None)
                return
            if message.error or (message.oneway and message.complete):
                self._finish(x, message, owner)
            return
        if x is None:
            request = self._chatter.get(number)
            if request is None or not message.complete:
                return
            del self._chatter[number]
            # An answer may show that a call was the program's own after all.
            chatter = request.head.chatter
            if chatter > 1 or (chatter and not (message.head.error or message.error)):
                owner.counts["internal_calls_left_out"] += 1
                return
            x = self._begin(request, owner)
        if x.response_message is None:
            x.response_message = message
            x.response = message.head
            owner.answered(x, self._mark(message))
        if message.complete:
            self._finish(x, message, owner)

    def _quiet(self, message: Message, owner: Correlator) -> None:
        """A call of the client's own (a ping, a login): only its failure is of interest."""
        if message.error or message.oneway:
            owner.counts["internal_calls_left_out"] += 1
            return
        self._chatter[message.stream] = message
        if len(self._chatter) > MAX_OPEN:
            del self._chatter[next(iter(self._chatter))]
            owner.counts["internal_calls_left_out"] += 1

    def _mark(self, message: Message) -> Record:
        """The record that says who and why: where the kernel saw the message begin."""
        first: Record = message.token
        if first.begins == REQUEST or first.begins == RESPONSE:
            return first
        begun = self._begun[message.direction]
        # A first byte read alone is judged with the rest, one record later.
        return begun if begun is not None and begun.ts >= first.ts else first

    def _begin(self, message: Message, owner: Correlator) -> Live:
        first: Record = message.token
        mark = self._mark(message)
        x = self.live(message, first, mark, owner)
        parser = cast("PairingParser | None", self.parser)
        # The number that pairs is the parser's; there are no streams to be asked for.
        x.stream = 0
        # Requests behind the first of a segment have no number of their own.
        if message.offset == 0 and mark.begins == REQUEST:
            x.uid = mark.uid
        elif x.kind == CLIENT:
            x.uid = next(_OWN)
        if parser is not None and message.direction != parser.client:
            x.pushed = True
            self._push(x, message, owner)
        self.open[message.stream] = x
        if len(self.open) > MAX_OPEN:
            owner.counts["requests_given_up"] += 1
            oldest = self.open[next(iter(self.open))]
            oldest.request_message.error = "no_response"
            self._finish(oldest, oldest.request_message, owner)
        owner.asked(x, mark, self)
        return x

    def _push(self, x: Live, message: Message, owner: Correlator) -> None:
        """A broker delivers. What the unit that read it does meanwhile is done for it only as
        long as no other delivery waits there to be acknowledged: libraries read ahead."""
        if message.oneway:
            x.uid = 0
            return
        if self._pushed:
            x.uid = 0
            for other in self._pushed.values():
                owner.parents.withdraw(other)
        self._pushed[message.stream] = x

    def _finish(self, x: Live, last: Message, owner: Correlator) -> None:
        del self.open[x.request_message.stream]
        self._pushed.pop(x.request_message.stream, None)
        self.over(x, last)
        owner.finished(x)

    def missed(self, record: Record, owner: Correlator) -> None:
        """See ``Conversation``."""
        owner.counts["gaps"] += 1
        self._next_seq[record.direction] = -1
        if self.parser is not None and not self.ended:
            for message in self.parser.gap(record.direction, record.ts):
                self.take(message, owner)

    def settle(self, ts: int, owner: Correlator) -> None:
        """See ``Conversation``."""
        if self.parser is not None and not self.ended:
            for message in self.parser.settle(ts):
                self.take(message, owner)

    def half_close(self, record: Record, owner: Correlator) -> None:
        """The conversation is over when the side that answers has said its last."""
        answering = base.INGRESS if record.role == ROLE_CLIENT else base.EGRESS
        if record.direction == answering:
            self.end(record.ts, None, owner)

    def end(self, ts: int, error: str | None, owner: Correlator) -> None:
        """See ``Conversation``."""
        if self.ended:
            return
        self.ended = True
        owner.counts["segments_never_understood"] += len(self._unknown)
        self._unknown = []
        parser, self.parser = self.parser, None
        if parser is not None:
            owner.counts["desyncs"] += parser.desyncs
            for message in parser.close(ts, error):
                self.take(message, owner)
        owner.counts["internal_calls_left_out"] += len(self._chatter)
        self._chatter.clear()
        for x in list(self.open.values()):
            last = x.request_message
            last.end = max(ts, x.start)
            last.error = error or "connection_closed"
            self._finish(x, last, owner)
