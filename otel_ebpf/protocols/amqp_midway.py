"""A channel of AMQP that is older than the tracer: whether what passes on it is acknowledged, and
with which numbers.

Publishes are numbered by both sides without a word, so the broker's first confirmation says how
many there were, if none was under way. That nothing was is shown by publishes that come one by
one, each after a pause much longer than its confirmation took, and after pauses that differ: were
each confirmation that of the publish before, it would have taken just as long as the pause,
every time.
"""

from __future__ import annotations

ROUNDS = 4
"""Publishes in a row with their confirmations that show it."""
LONGER, DIFFERENT = 10, 2
"""How many times a pause is as long as the wait behind it, and the longest as the shortest."""
MANY, LONG = 32, 10_000_000_000
"""Messages, and nanoseconds from the first to the last, without any acknowledgement: nobody
acknowledges them."""
MAX_SEEN = 1024
"""Deliveries that may be acknowledged, and consumers."""


class Count:
    """Of publishes and their confirmations.

    Attributes:
        quiet: nobody confirms.
    """

    __slots__ = (
        "_answered", "_asked", "_base", "_first", "_longest", "_pause", "_rounds", "_seen",
        "_shortest", "_waits", "quiet",
    )  # fmt: skip

    def __init__(self) -> None:
        self.quiet = False
        self._base: int | None = None
        """Publishes before the first that was seen, at least."""
        self._seen = 0
        self._first = self._asked = self._answered = self._pause = 0
        self._waits = False
        self._anew()

    def _anew(self) -> None:
        self._rounds = self._longest = self._shortest = 0

    def published(self, ts: int) -> int:
        """One more; ``ts``: when it began. Its number; 0: that is not certain, or there is none
        (``quiet``)."""
        self._first = self._first or ts
        self._seen += 1
        if self._base is None:
            self.quiet = self._seen > MANY and ts - self._first > LONG
            self._asked = ts
            return 0
        if self._waits:
            self._anew()
            self._pause = 0
        else:
            if self._rounds >= ROUNDS and self._longest >= DIFFERENT * self._shortest:
                return self._base + self._seen
            self._pause = max(ts - self._answered, 0)
        self._waits = True
        self._asked = ts
        return 0

    def confirmed(self, number: int, ts: int) -> None:
        """The broker's word on this one, or on all up to it."""
        before = number - self._seen
        self.quiet = False
        if before != self._base:
            # More came before than it seemed, or it is not the latest that is confirmed.
            self._base = before if self._base is None else max(before, self._base)
            self._anew()
            self._waits = before != self._base
            self._answered, self._pause = ts, 0
            return
        if self._waits and self._pause >= LONGER * max(ts - self._asked, 1):
            self._rounds += 1
            self._longest = max(self._longest, self._pause)
            self._shortest = min(self._shortest or self._pause, self._pause)
        self._waits = False
        self._answered = ts


class Consumers:
    """Of deliveries: which consumers acknowledge them."""

    __slots__ = ("_seen", "_told")

    def __init__(self) -> None:
        self._told: dict[str, bool | list[int]] = {}
        """By tag: whether it is automatic, or how many came, and when the first did."""
        self._seen: dict[int, str] = {}
        """By delivery, whose it was."""

    def delivered(self, consumer: str, number: int, ts: int) -> bool | None:
        """Whether this one needs no acknowledgement; None: that is not certain."""
        if len(self._seen) >= MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[number] = consumer
        known = self._told.get(consumer)
        if isinstance(known, bool):
            return known
        if known is None:
            if len(self._told) >= MAX_SEEN:
                return None
            known = self._told[consumer] = [0, ts]
        known[0] += 1
        if known[0] > MANY and ts - known[1] > LONG:
            self._told[consumer] = True
            return True
        return None

    def settled(self, number: int) -> None:
        """The consumer of this delivery has acknowledged it."""
        consumer = self._seen.pop(number, None)
        if consumer is not None:
            self._told[consumer] = False
