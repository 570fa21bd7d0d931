"""Results that reach a thread through others: whose they are.

A client with threads of its own (``java.net.http.HttpClient``) hands a result on from one to the
next. A thread between may be given the next one's result without a wake, and then hands that on
as if it were the first. Where that happened, it shows: the other result has reached nobody, this
one has reached others too, or has come through another number of threads than all else for
that request.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator

from otel_ebpf.correlation.live import Live

THROUGH = 2
"""Threads between the one that read a result and the one that waited for it, at most: one of the
client's, and one that waited in its stead. What came further was wrong as often as not."""
BEFORE = 300_000
"""Nanoseconds before a result for which another one may be what a thread between was at."""
MAX_RESULTS = 4096
MAX_SEGMENTS = 16_384
_MIXED = 1 << 15


class Chains:
    """What has reached the segments of one process's threads."""

    def __init__(self) -> None:
        self._ways: OrderedDict[int, int] = OrderedDict()
        """Segment -> a bit for each number of threads that a result has come through."""
        self._results: deque[Live] = deque(maxlen=MAX_RESULTS)

    def woke(self, segment: int, hops: int, others: Iterable[int]) -> None:
        """A result has come to ``segment`` through so many threads; it has reached ``others``
        before."""
        self._mark(segment, 1 << hops)
        for other in others:
            if other != segment:
                self._mark(segment, _MIXED)
                self._mark(other, _MIXED)

    def ended(self, x: Live) -> None:
        """The result of request ``x`` is there."""
        self._results.append(x)

    def around(self, x: Live, until: int) -> Iterator[Live]:
        """Other requests whose results came shortly before that of ``x``, or from then on until
        ``until``."""
        first = x.end - BEFORE
        for other in reversed(self._results):
            if other.end < first:
                return
            if other.end <= until and other is not x:
                yield other

    def tells_apart(self, segment: int) -> bool:
        """Nothing shows that what has reached this segment was for others. Forgets it: it ends."""
        ways = self._ways.pop(segment, 0)
        return not ways & ways - 1 and ways < 1 << THROUGH + 1

    def _mark(self, segment: int, bit: int) -> None:
        self._ways[segment] = self._ways.get(segment, 0) | bit
        if len(self._ways) > MAX_SEGMENTS:
            self._ways.popitem(last=False)
