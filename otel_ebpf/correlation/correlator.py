"""Records in, finished exchanges with ids and parents out."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from otel_ebpf.correlation.assembly import Assembly
from otel_ebpf.correlation.connections import Connections
from otel_ebpf.correlation.conversation import ERRNO, Conversation
from otel_ebpf.correlation.datagrams import Datagrams
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.correlation.parents import Parents
from otel_ebpf.correlation.streams import StreamConnection
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Record
from otel_ebpf.protocols.descriptor import Descriptor

SETTLE = 100_000_000
"""Nanoseconds after a response for which the other side's view of it is waited for."""
QUIET = 1_000_000_000
"""Nanoseconds without a byte after which a message whose end no framing shows has ended.
Connections are looked at that often, so it may take twice as long."""
AT_ONCE = 32
"""Exchanges that are settled together when time passes."""
_log = logging.getLogger(__name__)
_TOLD = 10
"""Failures of parsers of which the log has the place."""


class Correlator:
    """The stage between records and spans. No threads, sockets or clocks inside.

    Args:
        ids: source of span and trace ids.
        chatter: calls that clients make on their own account (pings, logins) are exchanges
            like any other; else only those that fail.

    Attributes:
        counts: everything that was not turned into a span or a parent, by reason.
        table: which kind each connection is; connections: socket id -> its state.
        now: ns (CLOCK_MONOTONIC) of what is being looked at.
        on_finished: told of each exchange that has ended, before its trace is known.
    """

    def __init__(self, ids: Ids | None = None, chatter: bool = False) -> None:
        self.ids = ids or Ids()
        self.chatter = chatter
        self.counts: Counter[str] = Counter()
        self.table = Connections(self)
        self.connections = self.table.by_socket
        self.now = 0
        self.on_finished: Callable[[Live], None] | None = None
        self.assembly = Assembly(self.ids, self.counts)
        self.parents = Parents(self.assembly, self.counts)
        self.datagrams = Datagrams(self)
        self._waiting: dict[int, Live] = {}
        """One side's view of a request, until the other side's comes."""
        self._settling: deque[tuple[int, Live]] = deque()
        self._watched: deque[tuple[int, Conversation]] = deque()
        self._held: deque[tuple[int, StreamConnection]] = deque()
        self._memories: dict[str, Any] = {}

    def feed(self, records: Iterable[Record]) -> list[Exchange]:
        """Takes records in the order of time; returns what is finished and decided."""
        for record in records:
            self.take(record)
        return self.left()

    def take(self, record: Record) -> None:
        """Takes one record; ``left`` gives what it finished."""
        self.now = record.ts
        if record.type != layout.DATA:
            self._other(record)
            return
        connection = self.connections.get(record.socket_id)
        if connection is None:
            connection = self.table.open(record)
        if record.protocol != connection.number and record.protocol:
            spoken = self.table.speak(connection, record)
            if spoken is None:
                return
            connection = spoken
        try:
            connection.segment(record, self)
        except Exception:  # a fault of a parser's ends this conversation, and no other
            self._failed(connection, record.ts)

    def _failed(self, connection: Conversation, ts: int) -> None:
        """The connection is let go; what was open on it ends, as far as that can be told."""
        self.counts["parsers_failed"] += 1
        if self.counts["parsers_failed"] <= _TOLD:
            _log.exception("the %s parser failed; the connection is let go", connection.protocol)
        connection.parser = None
        try:
            connection.end(ts, "response_lost", self)
        except Exception:
            connection.ended = True  # what is open is counted at the agent's end

    def tick(self, now: int) -> list[Exchange]:
        """Time has come to ``now`` (ns, CLOCK_MONOTONIC); all older records were fed."""
        return [x for some in self.ticking(now) for x in some]

    def ticking(self, now: int) -> Iterator[list[Exchange]]:
        """Like ``tick``, a few at a time: what these are made of is in the processor's cache
        still when a later stage looks at it."""
        self.now = now
        settling = self._settling
        taken = 0
        while settling and settling[0][0] <= now:
            _, x = settling.popleft()
            self._give_up_waiting(x)
            taken += 1
            if taken % AT_ONCE == 0:
                self.assembly.tick(now)
                yield self.left()
        held = self._held
        while held and held[0][0] <= now:
            held.popleft()[1].due(now, self)
        watched = self._watched
        while watched and watched[0][0] <= now:
            self._look_at(watched.popleft()[1])
        self.datagrams.tick(now)
        self.assembly.tick(now)
        self.parents.tick(now)
        yield self.left()

    def flush(self) -> list[Exchange]:
        """The end: everything that can be decided is, as it stands.

        Exchanges still in flight are not finished and are only counted.
        """
        while self._held:
            self._held.popleft()[1].release(self)
        for _, x in self._settling:
            self._give_up_waiting(x)
        self._settling.clear()
        for connection in list(self.connections.values()):
            self.counts["requests_in_flight_at_end"] += connection.in_flight
            connection.leave(self)
        self.counts["requests_in_flight_at_end"] += self.datagrams.in_flight
        self.parents.flush()
        self.assembly.flush()
        return self.left()

    def go_process(self, pid: int) -> None:
        """``pid`` is a Go program: its threads carry nothing."""
        self.parents.go.add(pid)

    def stats(self) -> dict[str, int]:
        """Counters for the ledger, and what is held."""
        return {
            **self.counts,
            "desyncs": self.counts["desyncs"]
            + sum(c.parser.desyncs for c in self.connections.values() if c.parser is not None),
            "go_statements_not_believed": self.parents.sites.closed,
            **self.parents.anchors.stats(),
            **self.parents.threads.stats(),
            "connections": len(self.connections),
            "waiting_for_parents": self.assembly.waiting,
        }

    # -- called by connections ---------------------------------------------------

    def asked(self, x: Live, record: Record, connection: Conversation) -> None:
        """A request begins."""
        self.counts["requests"] += 1
        descriptor = connection.descriptor
        if descriptor is not None and descriptor.carried_context is not None:
            x.carried = descriptor.carried_context(x.request)
        if x.kind == SERVER:
            self.served(x, connection.local_peer)
        elif x.pushed:
            self.parents.delivered(x)
            self._offer(x)
        else:
            self.called(x, record)

    def served(self, x: Live, local_peer: bool) -> None:
        """A SERVER exchange begins, and what it carries is known."""
        self.parents.opened(x)
        key = x.key
        client = self._waiting.pop(key, None) if key else None
        if client is not None:
            client.unmatched = False
        if client is not None and client.kind != SERVER:
            self.parents.joined(x, client)
        elif key and local_peer:
            self._waiting[key] = x
            x.unmatched = True
        else:
            self.parents.alone(x)

    def called(self, x: Live, record: Record) -> None:
        """A CLIENT exchange begins with ``record``, and what it carries is known."""
        if x.stream:
            self.parents.stream(x, record, self.now)
        else:
            self.parents.written(x, record)
        self._offer(x)

    def passed_on(self, x: Live, record: Record, causes: list[Live]) -> None:
        """The same, of a process that has been asked the very same by these."""
        if len(causes) == 1:
            self.parents.same_question(x, causes[0])
        elif causes:
            self.parents.same_questions(x)
        else:
            self.parents.written(x, record)
        self._offer(x)

    def _offer(self, x: Live) -> None:
        """The other side's view of a CLIENT exchange is waited for, or there already."""
        if x.key:
            server = self._waiting.pop(x.key, None)
            if server is not None:
                server.unmatched = False
            if server is not None and server.kind == SERVER:
                self.parents.joined(server, x)
            else:
                self._waiting[x.key] = x
                x.unmatched = True

    def answered(self, x: Live, record: Record) -> None:
        """Its response begins."""
        if x.kind != SERVER:
            self.parents.answered(x, record)
        elif not x.pushed:
            if x.pid in self.parents.threads.several:
                self.parents.threads.responded(x, record.tid)
            if x.pid in self.parents.anchors.processes:
                self.parents.responded(x, record)

    def finished(self, x: Live) -> None:
        """It is over."""
        self.counts["exchanges"] += 1
        if x.kind != SERVER:
            self.parents.ended(x, self.now)
        elif x.pushed:
            self.parents.acknowledged(x)
        else:
            self.parents.threads.finished(x)
            if x.pid in self.parents.anchors.processes:
                self.parents.anchors.finished(x)
            if x.pid in self.parents.needs.new:
                self.parents.needs.served(x.pid, x.start, x.end)
        if x.unmatched:
            self._settling.append((self.now + SETTLE, x))
        if self.on_finished is not None:
            self.on_finished(x)
        # They hold records, and it may wait for long.
        x.request_message = x.response_message = None
        self.assembly.finished(x, self.now)

    def conversed(self, x: Live) -> None:
        """One that is neither request nor response, and whose parent is known, is over."""
        self.counts["exchanges"] += 1
        if self.on_finished is not None:
            self.on_finished(x)
        self.assembly.finished(x, self.now)

    def watch(self, connection: Conversation) -> None:
        """A message is in progress on it whose end only a turn or silence will show."""
        connection.watched = True
        self._watched.append((self.now + QUIET, connection))

    def memory(self, descriptor: Descriptor) -> Any:
        """What all connections of a protocol know together."""
        known = self._memories.get(descriptor.name)
        if known is None and descriptor.memory is not None:
            known = self._memories[descriptor.name] = descriptor.memory()
        return known

    def hold(self, connection: StreamConnection, until: int) -> None:
        """It waits for something, until then at most."""
        self._held.append((until, connection))

    # -- inside ----------------------------------------------------------------------

    def left(self) -> list[Exchange]:
        """Exchanges that are finished and decided since the last call."""
        out = self.assembly.out
        if not out:
            return []
        self.assembly.out = []
        for x in out:
            if x.kind == SERVER:
                self.parents.left(x, self.now)
        exchanges = cast(list[Exchange], out)
        self.parents.links.left(exchanges)
        return exchanges

    def _look_at(self, connection: Conversation) -> None:
        connection.watched = False
        if connection.ended or connection.parser is None:
            return
        if connection.last_ts + QUIET <= self.now:
            connection.settle(self.now, self)
        if connection.parser.open_ended:
            self.watch(connection)

    def _give_up_waiting(self, x: Live) -> None:
        if x.unmatched and self._waiting.get(x.key) is x:
            del self._waiting[x.key]
        if x.kind == SERVER:
            self.parents.alone(x)

    def _other(self, record: Record) -> None:
        kind = record.type
        if kind == layout.DATAGRAM:
            self.datagrams.take(record)
        elif kind == layout.CLOSE:
            if not self.datagrams.close(record.socket_id, record.ts):
                self.table.close(record.socket_id, record.ts, None)
        elif kind == layout.EOF:
            connection = self.connections.get(record.socket_id)
            if connection is not None:
                connection.half_close(record, self)
        elif kind == layout.ERROR:
            connection = self.connections.get(record.socket_id)
            if connection is None:
                self.datagrams.error(record)
            else:
                connection.end(record.ts, ERRNO.get(record.length, "socket_error"), self)
        elif kind == layout.LINEAGE:
            self.parents.line(record)
        elif kind == layout.WAKE:
            anchors = self.parents.anchors
            anchors.woke(record.tgid, record.uid, record.goid, record.rule, record.ts)
        elif kind == layout.STREAM:
            self.parents.evidence.told(record)
        elif kind == layout.HEADERS:
            self.table.headers(record)
        elif kind == layout.CORRECTION:
            self._missing(record)
        elif kind == layout.FORK:
            self.parents.links.begun(record.tgid)
        elif kind == layout.EXIT:
            self.table.process_ended(record.tgid, record.ts)
            self.datagrams.process_ended(record.tgid, record.ts)
            self.parents.process_ended(record.tgid)

    def _missing(self, record: Record) -> None:
        """A send moved less than was told, and that was parsed already."""
        self.counts["late_corrections"] += 1
        connection = self.connections.get(record.socket_id)
        if connection is not None:
            connection.missed(record, self)
