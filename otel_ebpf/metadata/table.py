"""The processes that spans come from, each described once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from cachetools import LRUCache

from otel_ebpf.metadata.describe import Describer
from otel_ebpf.metadata.process import Process

MAX_PROCESSES = 8192
MAX_ENDED = 512
"""Ended processes that stay known: some KB each, and their last exchanges come soon."""


class ProcessTable:
    """pid -> Process, bounded. Tell it of execs and exits; nothing is polled.

    A process that ended stays known until its pid is seen again or many others have ended,
    for its last exchanges finish after it. ``get`` gives the same object for as long
    as the program runs, so exporters may group by identity.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        describer: Describer | None = None,
        limit: int = MAX_PROCESSES,
    ) -> None:
        self._describer = describer or Describer(env)
        self._known: LRUCache[int, Process] = LRUCache(limit)
        self._stale: set[int] = set()
        self._ended: deque[int] = deque()
        self.described = 0
        """Processes read from /proc."""
        self.gone = 0
        """Processes that were asked for and could not be read any more."""
        self.on_new: Callable[[Process], None] | None = None

    @property
    def refused_attributes(self) -> int:
        """Pairs of OTEL_RESOURCE_ATTRIBUTES that could not be used."""
        return self._describer.refused_attributes

    def __len__(self) -> int:
        return len(self._known)

    def get(self, pid: int) -> Process | None:
        """The process, described when it is first asked for. None: gone before that."""
        known = self._known.get(pid)
        if known is not None and pid not in self._stale:
            return known
        self._stale.discard(pid)
        fresh = self._describer.describe(pid)
        if fresh is None:
            self.gone += known is None
            # It ended: what was known of it holds until the pid is used again.
            if known is not None:
                self._stale.add(pid)
            return known
        self.described += 1
        self._known[pid] = fresh
        self._trim()
        if self.on_new is not None:
            self.on_new(fresh)
        return fresh

    def exec(self, pid: int) -> None:
        """The process now runs another program: describe it afresh when next asked for."""
        if pid in self._known:
            self._stale.add(pid)

    def exit(self, pid: int) -> None:
        """The process ended. Its description stays until the pid is used again, or until
        ``MAX_ENDED`` others have ended."""
        if pid not in self._known:
            return
        self._stale.add(pid)
        self._ended.append(pid)
        if len(self._ended) > MAX_ENDED:
            first = self._ended.popleft()
            # Unless that number is another process's by now.
            if first in self._stale:
                self._stale.discard(first)
                self._known.pop(first, None)

    def _trim(self) -> None:
        # Marks of processes that the cache has let go; amortised over many calls.
        if len(self._stale) > 2 * self._known.maxsize:
            self._stale.intersection_update(self._known)
