"""Go processes whose calls lack a witness that a probe for each request could give."""

from __future__ import annotations

from collections import Counter

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


class Needs:
    """Counts absences, and says once when there were enough.

    Attributes:
        wanted: (pid, what) that became clear since the agent last took them.
    """

    def __init__(self) -> None:
        self.wanted: set[tuple[int, str]] = set()
        self._lacking: Counter[tuple[int, str]] = Counter()
        self._serving: set[int] = set()
        self._told: Counter[int] = Counter()

    def serves_streams(self, pid: int) -> None:
        """This process answers requests of HTTP/2 or gRPC."""
        self._serving.add(pid)

    def lacks_caller(self, pid: int, stream: bool) -> None:
        """A call of this process had neither a caller nor a context that tells of a request;
        ``stream``: over a connection of many streams."""
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

    def lacks_context(self, pid: int) -> None:
        """A goroutine of this process that carries nothing wrote a request itself."""
        self._lacks(pid, CONTEXTS)
        if pid in self._serving:
            self._lacks(pid, HANDLERS)

    def process_ended(self, pid: int) -> None:
        """Forgets what is known of a process."""
        self._serving.discard(pid)
        self._told.pop(pid, None)
        for what in (HANDLERS, STREAMS, CONTEXTS, CALLERS):
            self._lacking.pop((pid, what), None)
            self.wanted.discard((pid, what))

    def _lacks(self, pid: int, what: str) -> None:
        self._lacking[pid, what] += 1
        if self._lacking[pid, what] == ENOUGH:
            self.wanted.add((pid, what))
