"""Go processes whose calls lack a witness that a probe for each request could give."""

from __future__ import annotations

from collections import Counter

from cachetools import LRUCache

HANDLERS = "handlers"
"""Which goroutine serves which stream: calls without a context come out of its handlers."""
STREAMS = "streams"
"""Who asks for a gRPC client's streams: nothing else tells, without a context."""
CONTEXTS = "contexts"
"""With which context a database is called: by goroutines that carry nothing."""
CALLERS = "callers"
"""Who asks for net/http's requests: what is read of its connections makes no sense."""
ENOUGH = 8
"""Calls that must have lacked it: such a probe costs the process something."""
SHARE = 50
"""And of the process's calls so far one in so many: connections that were joined midway, and
more streams at once than are looked at, leave some without a witness that no probe would give."""

GRACE = 500_000_000
"""Nanoseconds after a process's first call without a witness in which such calls do not count, at
the least: when the agent comes, they are made for requests that began before it."""
LONGEST = 4
"""It also takes so many times the longest of the requests that the process has begun and answered
since then: on a host that is busy, those from before the agent last as long."""
MOST_GRACE = 10_000_000_000
"""And so long at the most."""

MAX_LINES = 4096
USELESS = 2048
"""Calls after which no more is asked about goroutines of which none has inherited anything."""


class Needs:
    """Counts absences, and says once when there were enough.

    Attributes:
        new: processes whose calls have begun to lack something, and do not count yet.
        wanted: (pid, what) that became clear since the agent last took them.
        wanted_statements: (pid, address of a function) likewise: who bears the goroutines that
            start others with this function is not known. unwanted_statements: knowing it was of
            no use.
    """

    def __init__(self) -> None:
        self.new: set[int] = set()
        self.wanted: set[tuple[int, str]] = set()
        self.wanted_statements: set[tuple[int, int]] = set()
        self.unwanted_statements: set[tuple[int, int]] = set()
        self._lines: LRUCache[tuple[int, int], int] = LRUCache(MAX_LINES)
        """(pid, function) -> calls that lacked it; below 0: given up."""
        self._useful: LRUCache[tuple[int, int], bool] = LRUCache(MAX_LINES)
        self._lacking: Counter[tuple[int, str]] = Counter()
        self._serving: set[int] = set()
        self._told: Counter[int] = Counter()
        self._witnessed: Counter[int] = Counter()
        self._grace: dict[int, tuple[int, int]] = {}
        """Since when a process's calls have lacked something, and until when they do not count."""
        self._said: set[tuple[int, str]] = set()

    def serves_streams(self, pid: int) -> None:
        """This process answers requests of HTTP/2 or gRPC."""
        self._serving.add(pid)

    def witnessed(self, pid: int) -> None:
        """A call of this process had a caller or a context that tells of a request."""
        self._witnessed[pid] += 1

    def served(self, pid: int, start: int, end: int) -> None:
        """A request that one of the ``new`` processes was asked has been answered; its times in
        ns."""
        since, until = self._grace[pid]
        if end > until:
            self.new.discard(pid)
        elif start >= since:
            longest = min(LONGEST * (end - start), MOST_GRACE)
            self._grace[pid] = since, max(until, since + longest)

    def lacks_caller(self, pid: int, stream: bool, ts: int) -> None:
        """A call of this process at ``ts`` had neither a caller nor a context that tells of a
        request; ``stream``: over a connection of many streams."""
        if self._too_early(pid, ts):
            return
        if stream:
            self._lacks(pid, STREAMS)
        if pid in self._serving:
            self._lacks(pid, HANDLERS)

    def caller(self, pid: int, found: bool) -> None:
        """A response came on a pool's connection, and its caller was found or was not.

        Nearly all are; where the most are not, the connection's memory is read wrongly.
        """
        if found:
            self._told[pid] += 1
        elif self._lacking[pid, CALLERS] >= self._told[pid]:
            self._lacks(pid, CALLERS)
        else:
            self._told[pid] -= 1

    def lacks_context(self, pid: int, ts: int) -> None:
        """A goroutine of this process that carries nothing wrote a request itself, at ``ts``."""
        if self._too_early(pid, ts):
            return
        self._lacks(pid, CONTEXTS)
        if pid in self._serving:
            self._lacks(pid, HANDLERS)

    def lacks_birth(self, pid: int, sites: tuple[int, ...], ts: int) -> None:
        """A call at ``ts`` by a goroutine that inherits nothing, as far as is known who bore whom.

        Args:
            sites: addresses of the functions that it was started with, and those that are known
                to have borne it, the youngest first. Who bore the one that started the last of
                them is what is not known.

        Asked for again when it lacks twice as often: the goroutines that show where that
        statement is may have been gone.
        """
        if self._too_early(pid, ts):
            return
        for site in sites:
            lacking = self._lines.get((pid, site), 0) + 1
            if site <= 0 or lacking <= 0:
                continue
            self._lines[pid, site] = lacking
            if lacking >= USELESS and (pid, site) not in self._useful:
                self._lines[pid, site] = -1
                self.unwanted_statements.add((pid, site))
            elif site == sites[-1] and lacking >= ENOUGH and not lacking & lacking - 1:
                self.wanted_statements.add((pid, site))

    def birth_told(self, pid: int, sites: tuple[int, ...]) -> None:
        """A goroutine inherits through others whose births are known; ``sites`` as above."""
        for site in sites:
            self._useful[pid, site] = True

    def process_ended(self, pid: int) -> None:
        """Forgets what is known of a process."""
        self._serving.discard(pid)
        self._told.pop(pid, None)
        self._witnessed.pop(pid, None)
        self._grace.pop(pid, None)
        self.new.discard(pid)
        for lines in (self._lines, self._useful):
            for line in [line for line in lines if line[0] == pid]:
                del lines[line]
        for what in (HANDLERS, STREAMS, CONTEXTS, CALLERS):
            self._lacking.pop((pid, what), None)
            self._said.discard((pid, what))
            self.wanted.discard((pid, what))

    def _too_early(self, pid: int, ts: int) -> bool:
        grace = self._grace.get(pid)
        if grace is None:
            grace = self._grace[pid] = ts, ts + GRACE
            self.new.add(pid)
        return ts < grace[1]

    def _lacks(self, pid: int, what: str) -> None:
        need = (pid, what)
        self._lacking[need] += 1
        lacking = self._lacking[need]
        if lacking < ENOUGH or need in self._said:
            return
        if what in (CALLERS, CONTEXTS) or lacking * SHARE >= self._witnessed[pid]:
            self._said.add(need)
            self.wanted.add(need)
