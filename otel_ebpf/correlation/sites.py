"""Go statements whose goroutines live within one request, told from pools that do not.

A goroutine born while a request was served usually works for that request. A worker of
a pool that grows on demand is born just so, and then works for anybody. The place that
starts them tells the two apart: a pool's worker is seen again, after the request during
which it was born.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from cachetools import LRUCache

TRUST = 16
"""Goroutines of one place that must have kept to their request before it is believed."""
PATIENCE = 1_000_000_000
"""Nanoseconds after the request's end during which they must not have been seen again."""
MAX_SITES = 4096
MAX_GOROUTINES = 65536

Site = tuple[int, int]
"""(pid, address of the function the goroutine was started with)."""


class _Place:
    __slots__ = ("closed", "kept")

    def __init__(self) -> None:
        self.closed = False
        self.kept = 0


class Sites:
    """What was seen of goroutines that inherit.

    Args:
        ended: uid of a request -> ns (CLOCK_MONOTONIC) of its end, or 0 while it runs;
            -1 when it is no longer known.
    """

    def __init__(self, ended: Callable[[int], int]) -> None:
        self._ended = ended
        self._places: LRUCache[Site, _Place] = LRUCache(MAX_SITES)
        self._born: LRUCache[tuple[int, int], int] = LRUCache(MAX_GOROUTINES)
        """(pid, goid) -> uid of the request it was first seen to inherit; 0: of none."""
        self._trial: deque[tuple[Site, tuple[int, int], int]] = deque(maxlen=MAX_GOROUTINES)
        self.closed = 0
        self.changed = False
        """A verdict may be other than it was; whoever looks sets it back."""

    def saw(self, pid: int, site: int, goid: int, uid: int) -> bool | None:
        """A goroutine calls, and inherits ``uid`` (0: nothing). Whether to believe that;
        None: its kind is still on trial."""
        place = self._place((pid, site))
        key = (pid, goid)
        born = self._born.get(key)
        if born is None:
            if not uid:  # or it is not known yet who bore those that bore it
                return self.verdict(pid, site)
            self._born[key] = uid
            if not place.closed and place.kept < TRUST:
                self._trial.append(((pid, site), key, uid))
        elif born != uid:
            self.close(pid, site)
        return self.verdict(pid, site)

    def verdict(self, pid: int, site: int) -> bool | None:
        """Whether goroutines started with this function are believed; None: on trial."""
        place = self._place((pid, site))
        if place.closed:
            return False
        return True if place.kept >= TRUST else None

    def verdict_of_all(self, pid: int, sites: tuple[int, ...]) -> bool | None:
        """The same of several, each of which must be believed."""
        verdicts = [self.verdict(pid, site) for site in sites]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    def checks(self, pid: int) -> dict[str, int | str]:
        """How many functions that this process starts goroutines with are believed, on trial
        and closed, as far as they have called."""
        found = Counter(self.verdict(*site) for site in list(self._places) if site[0] == pid)
        named = ((True, "believed"), (None, "on_trial"), (False, "closed"))
        return {"go_statements_" + name: found[v] for v, name in named if found[v]}

    def close(self, pid: int, site: int) -> None:
        """Goroutines from there work for several requests: never believe them again."""
        place = self._place((pid, site))
        if not place.closed:
            place.closed = True
            self.closed += 1
            self.changed = True

    def tick(self, now: int) -> None:
        """Counts the goroutines that have kept to their request."""
        trial = self._trial
        while trial:
            site, key, uid = trial[0]
            end = self._ended(uid)
            if end == 0 or (end > 0 and now - end < PATIENCE):
                return  # they end roughly in the order of their birth
            trial.popleft()
            if end > 0 and self._born.get(key) == uid:
                self._place(site).kept += 1
                self.changed = True

    def _place(self, site: Site) -> _Place:
        place = self._places.get(site)
        if place is None:
            place = self._places[site] = _Place()
        return place
