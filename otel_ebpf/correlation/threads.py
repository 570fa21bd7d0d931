"""Whether a process's threads keep to the requests that they read (rules 2 and 6).

A thread that reads a request carries it. Runtimes that move tasks between threads (tokio,
Java's virtual threads) break that: a thread waits in one request and goes on with another that
was read elsewhere. It shows when responses are written: by a thread that reads
requests too, but did not read this one. So where several threads read, what a thread carries
is believed when the response comes, and as long as no such thing is seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from otel_ebpf.correlation.belief import Belief
from otel_ebpf.correlation.live import Live

ENOUGH = 16
"""Responses, written while other exchanges were open, that must have come from the thread that
had read their request."""
TRIAL = 8_000_000_000
"""Nanoseconds after its response for which a parent waits for that."""
CONTRADICTION = 50_000_000
"""Nanoseconds for which another segment may claim the same request."""
MAX_TRIAL = 4096
MAX_READERS = 4096
"""Threads of one process of which it is known that they read requests."""


class _Process:
    __slots__ = ("belief", "crowded", "open", "readers")

    def __init__(self) -> None:
        self.readers: dict[int, None] = {}
        self.open = 0
        self.crowded = 0
        """Nanoseconds when an exchange began while another was open."""
        self.belief = Belief(grace=0)


class Threads:
    """Decides about what threads carry.

    Args:
        bind: (request, exchange, rule) makes the exchange the parent.
        abstain: (request, reason) leaves it without.

    Attributes:
        several: processes of which several threads read requests.
    """

    def __init__(
        self, bind: Callable[[Live, Live, str], None], abstain: Callable[[Live, str], None]
    ) -> None:
        self._bind = bind
        self._abstain = abstain
        self._processes: dict[int, _Process] = {}
        self._claimed: deque[tuple[int, Live, Live, str]] = deque()
        self._trial: deque[tuple[int, Live, Live, str]] = deque()
        self.several: dict[int, _Process] = {}

    def opened(self, server: Live) -> None:
        """A request was read."""
        process = self._processes.get(server.pid)
        if process is None:
            process = self._processes[server.pid] = _Process()
        process.open += 1
        if process.open > 1:
            process.crowded = server.start
        readers = process.readers
        if server.tid not in readers:
            readers[server.tid] = None
            if len(readers) == 2:
                self.several[server.pid] = process
            elif len(readers) > MAX_READERS:
                del readers[next(iter(readers))]

    def serves(self, pid: int) -> bool:
        """This process has read requests."""
        return pid in self._processes

    def claims(self, x: Live, server: Live | None, rule: str) -> bool:
        """Request ``x`` was written by a thread that carries ``server``. False: there is no
        reason to wait."""
        if server is None or server.finished or x.pid not in self.several:
            return False
        x.on_trial = True
        if server.carried_calls is None:
            server.carried_calls = []
        server.carried_calls.append((x, rule))
        return True

    def responded(self, server: Live, tid: int) -> None:
        """Its response is written by this thread; of a process in ``several``."""
        process = self.several[server.pid]
        moved = tid != server.tid and tid in process.readers
        if process.open > 1 and (moved or tid == server.tid):
            process.belief.test(not moved)
        self._decide_all(process, server)

    def finished(self, server: Live) -> None:
        """It is over."""
        process = self._processes.get(server.pid)
        if process is not None:
            self._decide_all(process, server)
            process.open -= process.open > 0

    def believed(self, pid: int) -> bool:
        """What the segments of this process's threads say may be true."""
        process = self.several.get(pid)
        return process is None or process.belief.open

    def claimed(self, x: Live, server: Live, rule: str, now: int) -> None:
        """Segments of threads name ``server`` as the cause of ``x``. It becomes the parent when
        nothing contradicts for a moment, and its process's threads are believed."""
        x.claimed = True
        self._claimed.append((now + CONTRADICTION, x, server, rule))
        if len(self._claimed) > MAX_TRIAL:
            self._confirm(*self._claimed.popleft()[1:])

    def tick(self, now: int) -> None:
        """Decides what has been tried long enough."""
        claimed = self._claimed
        while claimed and claimed[0][0] <= now:
            self._confirm(*claimed.popleft()[1:])
        trial = self._trial
        while trial:
            until, x, server, rule = trial[0]
            process = self.several.get(server.pid)
            if process is not None and until > now and _in_doubt(process):
                break
            trial.popleft()
            self._end(process, x, server, rule)

    def flush(self) -> None:
        """The end."""
        self.tick(1 << 63)

    def ended(self, pid: int) -> None:
        """The process has ended."""
        self._processes.pop(pid, None)
        self.several.pop(pid, None)

    def stats(self) -> dict[str, int]:
        """Counters for the ledger."""
        beliefs = [process.belief for process in self.several.values()]
        return {
            "threads_tested": sum(b.tested for b in beliefs),
            "threads_right": sum(b.right for b in beliefs),
            "processes_whose_threads_change_requests": sum(not b.open for b in beliefs),
        }

    def checks(self, pid: int) -> dict[str, int | str]:
        """Whether one process's threads are believed, and the tests behind that."""
        process = self.several.get(pid)
        if process is None or not process.belief.tested:
            return {}
        belief = process.belief
        return {
            "threads": "believed" if belief.open else "not believed",
            "threads_right": f"{belief.right} of {belief.tested}",
        }

    def _confirm(self, x: Live, server: Live, rule: str) -> None:
        process = self.several.get(server.pid)
        if x.settled:
            return
        if x.disputed:
            self._abstain(x, "wakes_disagree")
        elif process is None:
            self._bind(x, server, rule)
        else:
            self._decide(process, x, server, rule)

    def _decide_all(self, process: _Process, server: Live) -> None:
        calls, server.carried_calls = server.carried_calls, None
        for x, rule in calls or ():
            self._decide(process, x, server, rule)

    def _decide(self, process: _Process, x: Live, server: Live, rule: str) -> None:
        alone = process.crowded < server.start
        if alone or process.belief.tested >= ENOUGH or not process.belief.open:
            self._end(None if alone else process, x, server, rule)
            return
        self._trial.append((server.end + TRIAL, x, server, rule))
        if len(self._trial) > MAX_TRIAL:
            _, x, server, rule = self._trial.popleft()
            self._end(process, x, server, rule)

    def _end(self, process: _Process | None, x: Live, server: Live, rule: str) -> None:
        if x.settled:
            return
        if process is None or process.belief.open:
            self._bind(x, server, rule)
        else:
            self._abstain(x, "threads_change_requests")


def _in_doubt(process: _Process) -> bool:
    return process.belief.open and process.belief.tested < ENOUGH
