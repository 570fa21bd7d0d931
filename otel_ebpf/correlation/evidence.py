"""Who asked for a client stream: told by a record of its own, before or after the stream.

On a connection of many streams the writer of a request's bytes says little: a loop writes
for everybody. The kernel half tells who asked in RECORD_STREAM, when it sees the call.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from otel_ebpf.correlation.live import Live
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import FLAG_CALLER_PARENT, RULE_ANCESTOR, RULE_GOROUTINE

MAX_TOLD = 16_384
"""Statements kept whose stream has not been seen; above it the oldest is given up."""
KEEP_TOLD = 10_000_000_000
"""Nanoseconds after which they are given up in any case."""
MAX_AWAITED = 65_536
"""Streams that wait for theirs; above it the oldest goes without."""
WAIT = 1_000_000_000
"""Nanoseconds after its first byte for which a stream waits for the statement."""
WAIT_ENDED = 100_000_000
"""The same, after the stream has ended."""


class Evidence:
    """Brings a stream and the statement about it together, whichever comes first.

    Args:
        apply: binds a stream by what a record states of it.
        give_up: nothing was stated of this stream in time.
        counts: statements about streams that never came, or were told before.
    """

    def __init__(
        self,
        apply: Callable[[Live, Record], None],
        give_up: Callable[[Live], None],
        counts: Counter[str],
    ) -> None:
        self._apply = apply
        self._give_up = give_up
        self._counts = counts
        self._told: OrderedDict[int, Record] = OrderedDict()
        self._awaited: dict[int, Live] = {}
        self._asked: deque[tuple[int, Live]] = deque()
        self._ended: deque[tuple[int, Live]] = deque()

    def told(self, record: Record) -> None:
        """A statement about the stream ``record.uid``."""
        uid = record.uid
        known = self._told.pop(uid, None)
        if known is not None:
            _join(record, known)
        if not record.caller_uid and record.rule in (RULE_GOROUTINE, RULE_ANCESTOR):
            record.caller_uid = record.parent_uid
            if record.rule == RULE_ANCESTOR:
                record.flags |= FLAG_CALLER_PARENT
        x = self._awaited.get(uid)
        if x is not None and (record.caller_uid or record.context_uid):
            del self._awaited[uid]
            if not x.settled:
                self._apply(x, record)
            return
        self._told[uid] = record
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
            self._counts["statements_not_used"] += 1

    def asked(self, x: Live, now: int, wait: bool) -> bool:
        """A client stream begins. False: nothing is stated of it, nor waited for."""
        record = self._told.get(x.uid)
        if record is not None and (record.caller_uid or record.context_uid):
            del self._told[x.uid]
            self._apply(x, record)
            return True
        if not wait:
            return False
        self._awaited[x.uid] = x
        self._asked.append((now + WAIT, x))
        if len(self._awaited) > MAX_AWAITED:
            self._late(next(iter(self._awaited.values())))
        return True

    def finished(self, x: Live, now: int) -> None:
        """A client stream is over; what is stated of it must come soon."""
        if self._awaited.get(x.uid) is x:
            self._ended.append((now + WAIT_ENDED, x))

    def tick(self, now: int) -> None:
        """Goes on without what has not come in time."""
        for queue in (self._ended, self._asked):
            while queue and queue[0][0] <= now:
                self._late(queue.popleft()[1])
        told = self._told
        while told and next(iter(told.values())).ts + KEEP_TOLD <= now:
            told.popitem(last=False)
            self._counts["statements_not_used"] += 1

    def flush(self) -> None:
        """The end: nothing more will be stated."""
        for x in list(self._awaited.values()):
            self._late(x)
        self._asked.clear()
        self._ended.clear()

    def _late(self, x: Live) -> None:
        if self._awaited.get(x.uid) is not x:
            return
        del self._awaited[x.uid]
        self._told.pop(x.uid, None)
        if not x.settled:
            self._give_up(x)


def _join(record: Record, known: Record) -> None:
    """What two statements about one stream say together."""
    record.context_uid = record.context_uid or known.context_uid
    record.parent_uid = record.parent_uid or known.parent_uid
    record.rule = record.rule or known.rule
    if not record.caller_uid:
        record.caller_uid = known.caller_uid
        record.flags |= known.flags & FLAG_CALLER_PARENT
    if not record.caller_goid:
        record.caller_goid = known.caller_goid
        record.caller_site = known.caller_site
