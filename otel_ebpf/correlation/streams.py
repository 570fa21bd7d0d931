"""A connection of many streams: requests and responses pair by the stream's number."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from otel_ebpf.correlation.conversation import Conversation
from otel_ebpf.correlation.live import Live
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import EGRESS, FRAMES, INGRESS, ROLE_CLIENT, stream_uid
from otel_ebpf.protocols import base
from otel_ebpf.protocols.base import Message, StreamParser
from otel_ebpf.protocols.http2_told import read_block

if TYPE_CHECKING:
    from otel_ebpf.correlation.correlator import Correlator

MAX_EARLY = 64
KEEP_EARLY = 10_000_000_000
"""Responses kept whose request has not been told of (a send that blocked is told of when it is
over), and nanoseconds for which they are; above either the oldest has none."""

HOLD = 500_000_000
"""Nanoseconds for which frames wait for what the program itself tells of their header blocks."""
MAX_HELD = 1024
FRUITLESS = 3
"""Waits in vain after which a connection waits no more, for heads and for trailers apart."""

_LOST, _BEGINS, _TOLD = 1, 2, 4
"""In the third 16 bits of ``ref_ts``; see bpf/http2_record.h."""


class StreamConnection(Conversation):
    """HTTP/2: exactly one exchange for each stream whose request was seen.

    Attributes:
        streams: open exchanges by stream number.
        _held: segments that wait, in order; whatever comes behind one waits too.
    """

    __slots__ = (
        "_early",
        "_fruitless",
        "_held",
        "_next_seq",
        "_over",
        "_serials",
        "_stream_parser",
        "streams",
    )

    _stream_parser: StreamParser

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.streams: dict[int, Live] = {}
        self._early: dict[int, tuple[Message, Record]] = {}
        self._over: dict[int, None] = {}
        """Streams that ended without a response, the latest; bounded as ``_early``."""
        self._serials = [0, 0]
        self._next_seq = [-1, -1]
        self._held: deque[Record] = deque()
        self._fruitless = [0, 0]

    @property
    def in_flight(self) -> int:
        """See ``Conversation``."""
        return len(self.streams)

    def segment(self, record: Record, owner: Correlator) -> None:
        """See ``Conversation``."""
        self.last_ts = record.end_ts
        if self.ended:
            owner.counts["segments_after_end"] += 1
            return
        if self._held:
            self._held.append(record)
            if len(self._held) > MAX_HELD:
                self.release(owner)
            return
        rest = self._ready(record, owner)
        if rest is not None:
            self._held.append(rest)
            owner.hold(self, record.ts + HOLD)

    def told(self, record: Record, owner: Correlator) -> None:
        """The program tells what a header block says."""
        if self.ended:
            return
        block = read_block(record.data, record.ref_ts, record.tcp_seq, record.context_uid)
        parser = self._speaker()
        parser.tell(record.direction, record.length, block)
        if parser.told is not None:
            parser.told.counts = owner.counts
        self._go_on(owner)

    def _untold(self, record: Record) -> list[tuple[int, bool]]:
        """See ``StreamParser.untold``; nothing where the program tells nothing."""
        if not record.ref_ts >> 16 & _TOLD or record.begins != FRAMES:
            return []
        return self._speaker().untold(
            record.direction, record.data, record.ref_ts & 0xFFFF, record.tcp_seq
        )

    def _ready(self, record: Record, owner: Correlator) -> Record | None:
        """Takes a segment up to the first header block that is still to be told; returns the
        rest. What a block says may have effects before the next one is told."""
        for at, trailers in self._untold(record):
            if self._fruitless[trailers] >= FRUITLESS:
                continue
            if not at:
                return record
            rest = record.again()
            rest.data = record.data[at:]
            rest.ref_ts = record.ref_ts >> 32 << 32 | _TOLD << 16
            record.data = record.data[:at]
            self._segment(record, owner)
            self._serials[record.direction] = record.ref_ts >> 32
            return rest
        self._segment(record, owner)
        return None

    def _go_on(self, owner: Correlator) -> None:
        """Takes what has waited, up to what still has to."""
        held = self._held
        while held:
            waited = held.popleft()
            rest = self._ready(waited, owner)
            if rest is not None:
                held.appendleft(rest)
                if rest is not waited:
                    owner.hold(self, rest.ts + HOLD)
                return

    def due(self, now: int, owner: Correlator) -> None:
        """A wait may be over."""
        held = self._held
        if not held or held[0].ts + HOLD > now:
            return
        while held and held[0].ts + HOLD <= now:
            record = held.popleft()
            for _, trailers in self._untold(record):
                self._fruitless[trailers] += 1
                owner.counts["header_blocks_waited_for_in_vain"] += 1
            self._segment(record, owner)
        self._go_on(owner)
        if held:
            owner.hold(self, held[0].ts + HOLD)

    def release(self, owner: Correlator) -> None:
        """Nothing is waited for any more."""
        while self._held:
            self._segment(self._held.popleft(), owner)

    def _segment(self, record: Record, owner: Correlator) -> None:
        parser = self._speaker()
        if record.begins == FRAMES:
            messages = self._frames(parser, record, owner)
        else:
            messages = self._bytes(parser, record, owner)
        for message in messages:
            self.take(message, record, owner)
        if not self.watched and parser.open_ended:
            owner.watch(self)

    def adopt(self, x: Live) -> None:
        """An exchange that began in HTTP/1 and asked for the upgrade."""
        self._speaker().adopt(x.request_message)
        x.stream = 1
        self.streams[1] = x

    def _speaker(self) -> StreamParser:
        parser = self.parser
        assert parser is not None
        return parser  # type: ignore[return-value]  # what multiplexed descriptors make

    def _frames(self, parser: StreamParser, record: Record, owner: Correlator) -> list[Message]:
        """Frames that the kernel half has found."""
        direction, told = record.direction, record.ref_ts
        lost = bool(told >> 16 & _LOST)
        if told >> 16 & _BEGINS:
            parser.begin(direction)
            if self.upgraded:
                # The server may have answered already, in frames that were not seen.
                parser.gap(1 - direction, record.ts)
        serial = told >> 32
        if serial != self._serials[direction]:
            owner.counts["gaps"] += 1
            lost = True
        self._serials[direction] = serial + 1 & 0xFFFFFFFF
        return parser.frames(
            direction,
            record.data,
            told & 0xFFFF,
            lost,
            record.tcp_seq,
            record.length,
            record.ts,
            record.end_ts,
            record,
        )

    def _bytes(self, parser: StreamParser, record: Record, owner: Correlator) -> list[Message]:
        """Bytes as they were, of which the first are here."""
        direction, seq, messages = record.direction, record.tcp_seq, []
        if seq != self._next_seq[direction] >= 0:
            owner.counts["gaps"] += 1
            messages = parser.gap(direction, record.ts)
        self._next_seq[direction] = seq + record.length & 0xFFFFFFFF
        messages += parser.feed(
            direction, record.data, record.length, record.ts, record.end_ts, record
        )
        return messages

    def take(self, message: Message, record: Record, owner: Correlator) -> None:
        """A message begins or completes; ``record`` brought that."""
        number = message.stream
        x = self.streams.get(number)
        if message.kind == base.REQUEST:
            if x is None:
                x = self._begin(message, record, owner)
                early = self._early.pop(number, None)
                if early is not None and not message.error:
                    self.take(*early, owner)
            if message.error and x.response_message is None:
                self._finish(x, message, owner)
            return
        if x is None:
            if number in self._over:  # it was reset, and this crossed the reset
                owner.counts["responses_after_end"] += 1
                return
            kept = self._early
            kept[number] = (message, record)
            oldest = record.ts - KEEP_EARLY
            while len(kept) > MAX_EARLY or next(iter(kept.values()))[1].ts < oldest:
                del kept[next(iter(kept))]
                owner.counts["responses_without_request"] += 1
            return
        if x.response_message is not message:
            x.response_message = message
            x.response = message.head
            owner.answered(x, record)
        if message.complete:
            self._finish(x, message, owner)

    def _begin(self, message: Message, record: Record, owner: Correlator) -> Live:
        x = self.live(message, message.token, record, owner)
        x.protocol = "grpc" if message.head.grpc else "http"
        x.uid = stream_uid(self.socket_id, message.stream)
        self.streams[message.stream] = x
        owner.asked(x, record, self)
        return x

    def _finish(self, x: Live, last: Message, owner: Correlator) -> None:
        response = x.response_message
        del self.streams[x.request_message.stream]
        if response is None:
            self._over[x.request_message.stream] = None
            if len(self._over) > MAX_EARLY:
                del self._over[next(iter(self._over))]
        self.over(x, last)
        # A request joined midway may not have shown what it is.
        if response is not None and x.protocol != "grpc" and response.head.grpc:
            x.protocol = "grpc"
        if last.error == "no_response":
            owner.counts["requests_given_up"] += 1
        owner.finished(x)

    def missed(self, record: Record, owner: Correlator) -> None:
        """See ``Conversation``."""
        self.release(owner)
        owner.counts["gaps"] += 1
        parser = self._speaker()
        for message in parser.gap(record.direction, record.ts):
            self.take(message, record, owner)
        if not self.watched and parser.open_ended:
            owner.watch(self)

    def settle(self, ts: int, owner: Correlator) -> None:
        """See ``Conversation``."""
        if not self.ended:
            self.release(owner)
            self._last(self._speaker().settle(ts), owner)

    def half_close(self, record: Record, owner: Correlator) -> None:
        """The conversation is over when the side that answers has said its last."""
        self.release(owner)
        client = self._speaker().client
        if client < 0:
            client = EGRESS if record.role == ROLE_CLIENT else INGRESS
        if record.direction != client:
            self.end(record.ts, None, owner)

    def end(self, ts: int, error: str | None, owner: Correlator) -> None:
        """See ``Conversation``."""
        if self.ended:
            return
        self.release(owner)
        self.ended = True
        parser = self._speaker()
        self._last(parser.close(ts, error), owner)
        owner.counts["desyncs"] += parser.desyncs
        self.leave(owner)

    def leave(self, owner: Correlator) -> None:
        """See ``Conversation``."""
        owner.counts["responses_without_request"] += len(self._early)
        self._early.clear()

    def _last(self, messages: list[Message], owner: Correlator) -> None:
        """Ends that no record brought."""
        for message in messages:
            x = self.streams.get(message.stream)
            if x is None or (message.error is None and not message.complete):
                continue
            if message.kind == base.RESPONSE and x.response_message is not message:
                continue
            self._finish(x, message, owner)
