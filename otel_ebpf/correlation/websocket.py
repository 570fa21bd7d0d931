"""A connection that HTTP/1 has left to WebSocket: one long exchange, until it is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from otel_ebpf.correlation.conversation import Conversation
from otel_ebpf.correlation.live import Live
from otel_ebpf.events.decode import Record
from otel_ebpf.protocols import base
from otel_ebpf.protocols.websocket import WebSocketParser

if TYPE_CHECKING:
    from otel_ebpf.correlation.correlator import Correlator

RULE = "upgrade"
PREFIX = "otel_ebpf.websocket."
_WELL = (0, 1000, 1001, 1005)
"""Close codes that tell of no error: none, normal, going away, none by RFC 6455's own number."""


class Upgrade:
    """What HTTP/1 leaves: its exchange ``asked``, and the ``record`` with the answer, of which
    the bytes from ``at`` on are WebSocket's; the heads, for a finished exchange may have let go
    of its own."""

    __slots__ = ("asked", "at", "record", "request", "response")

    def __init__(self, asked: Live, record: Record, at: int, request: Any, response: Any) -> None:
        self.asked = asked
        self.record = record
        self.at = at
        self.request = request
        self.response = response


class WebSocketConnection(Conversation):
    """The exchange is a child of the one that asked for the upgrade, on either side.

    Attributes:
        exchange: None once it is over.
    """

    __slots__ = ("_next_seq", "exchange")

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.exchange: Live | None = None
        self._next_seq = [-1, -1]

    def adopt(self, upgrade: Upgrade, owner: Correlator) -> None:
        """Begins with what was agreed."""
        asked, record = upgrade.asked, upgrade.record
        x = Live(
            asked.kind,
            self.protocol,
            asked.pid,
            asked.tid,
            asked.endpoints,
            asked.end,
            upgrade.request,
            owner.ids.span(),
        )
        x.response = upgrade.response
        x.notes["url.scheme"] = "wss" if asked.secure else "ws"
        x.rule = RULE
        x.parent, x.parent_span_id = asked, asked.span_id
        x.settled = True
        self.exchange = x
        self.pid = x.pid
        answers = record.direction
        cast(WebSocketParser, self.parser).begin(1 - answers)
        rest = record.length - upgrade.at
        self._next_seq[answers] = record.tcp_seq + record.length & 0xFFFFFFFF
        if rest > 0:
            self._feed(answers, record.data[upgrade.at :], rest, record.end_ts, owner)

    @property
    def in_flight(self) -> int:
        """See ``Conversation``."""
        return int(self.exchange is not None)

    def segment(self, record: Record, owner: Correlator) -> None:
        """See ``Conversation``."""
        self.last_ts = record.end_ts
        if self.exchange is None:
            owner.counts["segments_after_end"] += 1
            return
        direction, seq = record.direction, record.tcp_seq
        expected = self._next_seq[direction]
        if seq != expected >= 0:
            missing = seq - expected & 0xFFFFFFFF
            owner.counts["gaps"] += 1
            if missing >> 31:
                self._lost(direction)
            else:
                owner.counts["bytes_not_seen"] += missing
                self._feed(direction, b"", missing, record.ts, owner)
        self._next_seq[direction] = seq + record.length & 0xFFFFFFFF
        tail = record.tail[: record.tail_len] if record.tail_len else b""
        self._feed(direction, record.data, record.length, record.end_ts, owner, tail)

    def _feed(
        self,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        owner: Correlator,
        tail: bytes = b"",
    ) -> None:
        parser = cast(WebSocketParser, self.parser)
        x = self.exchange
        if x is None:
            return
        parser.feed(direction, data, length, ts, ts, None, tail)
        x.end = max(ts, x.start)
        if parser.closed:
            self._over(None, owner)

    def _lost(self, direction: int) -> None:
        if self.parser is not None:
            self.parser.gap(direction, 0)

    def missed(self, record: Record, owner: Correlator) -> None:
        """See ``Conversation``."""
        owner.counts["gaps"] += 1
        self._next_seq[record.direction] = -1
        self._lost(record.direction)

    def settle(self, ts: int, owner: Correlator) -> None:
        """See ``Conversation``; a silence ends nothing here."""

    def half_close(self, record: Record, owner: Correlator) -> None:
        """See ``Conversation``; a close frame of the other side may still come."""

    def end(self, ts: int, error: str | None, owner: Correlator) -> None:
        """See ``Conversation``."""
        self.ended = True
        x = self.exchange
        if x is None:
            return
        parser = cast(WebSocketParser, self.parser)
        x.end = max(ts, x.start)
        self._over(error or (None if parser.said else "connection_closed"), owner)

    def _over(self, error: str | None, owner: Correlator) -> None:
        x, self.exchange = self.exchange, None
        parser = cast(WebSocketParser, self.parser)
        assert x is not None
        owner.counts["desyncs"] += parser.desyncs
        parser.desyncs = 0
        code = parser.code
        x.error = error if error or code in _WELL else str(code)
        for name, way in (
            ("received", parser.ways[base.INGRESS]),
            ("sent", parser.ways[base.EGRESS]),
        ):
            x.notes[f"{PREFIX}{name}.messages"] = way.messages
            x.notes[f"{PREFIX}{name}.bytes"] = way.size
        if code:
            x.notes[f"{PREFIX}close_code"] = code
        if not all(way.exact for way in parser.ways):
            x.notes[f"{PREFIX}counts"] = "at least"
        owner.conversed(x)
