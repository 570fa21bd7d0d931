"""Traces from fragments: nothing leaves before its trace id is certain.

Every exchange has its span id at once. Its parent may become known after it has ended,
and its trace id is its root's. A finished exchange therefore waits for the nearest
ancestor whose parent is still open, bounded in time and number.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.live import Live

MAX_WAIT = 30_000_000_000
"""Nanoseconds that a finished exchange waits for its ancestors."""
MAX_WAITING = 50_000
"""Finished exchanges that wait; above it the oldest is decided as it stands."""
MAX_DEPTH = 4096
"""Exchanges between one and its root; more can only be a circle."""


class Assembly:
    """Finished exchanges in, the same ones with trace ids out.

    Attributes:
        out: exchanges ready to leave; the owner empties it.
        decide: settles an exchange whose parent was waited for too long.
    """

    def __init__(self, ids: Ids, counts: Counter[str]) -> None:
        self.out: list[Live] = []
        self.decide: Callable[[Live], None] = self.settle
        self._ids = ids
        self._counts = counts
        self._queue: deque[tuple[int, Live]] = deque()
        self.waiting = 0

    def finished(self, x: Live, now: int) -> None:
        """``x`` has ended: it leaves now or waits."""
        x.finished = True
        blocker = self._resolve(x) if x.settled or x.trace_id else x
        if blocker is None:
            self._leave(x)
            return
        self.waiting += 1
        self._queue.append((now + MAX_WAIT, x))
        self._wait(x, blocker)
        if self.waiting > MAX_WAITING:
            self._force_oldest()

    def settle(self, x: Live) -> None:
        """``x``'s parent is final now; whoever waited for that goes on."""
        x.settled = True
        waiters, x.waiters = x.waiters, None
        for waiter in waiters or ():
            blocker = self._resolve(waiter)
            if blocker is None:
                self.waiting -= 1
                self._leave(waiter)
            else:
                self._wait(waiter, blocker)

    def tick(self, now: int) -> None:
        """Decides what has waited too long."""
        queue = self._queue
        while queue and (queue[0][1].left or queue[0][0] <= now):
            _, x = queue.popleft()
            if not x.left:
                self._force(x)

    def flush(self) -> None:
        """Decides everything that still waits."""
        while self._queue:
            _, x = self._queue.popleft()
            if not x.left:
                self._force(x)

    def _force_oldest(self) -> None:
        while self._queue:
            _, x = self._queue.popleft()
            if not x.left:
                self._force(x)
                return

    def _force(self, x: Live) -> None:
        while not x.left:
            blocker = self._resolve(x)
            if blocker is None:  # cannot be: it would have left
                self.waiting -= 1
                self._leave(x)
                return
            self._counts["parents_not_known_in_time"] += 1
            self.decide(blocker)

    @staticmethod
    def _wait(x: Live, blocker: Live) -> None:
        if blocker.waiters is None:
            blocker.waiters = []
        blocker.waiters.append(x)

    def _resolve(self, x: Live) -> Live | None:
        """Gives ``x`` its trace id, or returns the ancestor that must settle first."""
        if x.trace_id:
            return None
        parent = x.parent
        if x.settled and parent is None:
            x.trace_id = self._ids.trace()
            return None
        chain: list[Live] = []
        at: Live = x
        while not at.trace_id:
            if not at.settled:
                return at
            parent = at.parent
            if parent is None or len(chain) > MAX_DEPTH:
                if parent is not None:
                    self._counts["circles"] += 1
                    at.parent, at.parent_span_id, at.rule = None, b"", ""
                at.trace_id = self._ids.trace()
                break
            chain.append(at)
            at = parent  # type: ignore[assignment]  # Done has what is read here
        while chain:
            child = chain.pop()
            child.trace_id = at.trace_id
            child.sampled = at.sampled
            child.trace_state = at.trace_state
            at = child
        return None

    def _leave(self, x: Live) -> None:
        x.left = True
        self.out.append(x)
