"""What became of each process's links, counted: which rule named the parent, or why none did."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange

MAX_PROCESSES = 4096
"""Processes that are counted apart; above it the one that was seen first is forgotten."""
PROVED = frozenset(
    {
        *("traceparent", "b3", "same_host", "thread", "goroutine", "upgrade"),
        *("go.caller", "go.context", "go.caller+context", "python.context", "java.virtual_thread"),
    }
)
"""Rules by which the message itself, or what the kernel saw run, names the parent. All others
are believed because, and as long as, they are seen to be right in that process."""


class _Counts:
    __slots__ = ("absent", "calls", "served")

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.absent: Counter[str] = Counter()


class Links:
    """Counts per process. Exchanges of one that ended stay until its number is used again."""

    def __init__(self) -> None:
        self._processes: OrderedDict[int, _Counts] = OrderedDict()

    def left(self, exchanges: list[Exchange]) -> None:
        """These have left, with the parents that they have."""
        processes = self._processes
        for x in exchanges:
            counts = processes.get(x.pid)
            if counts is None:
                counts = self._of(x.pid)
            (counts.served if x.kind == SERVER else counts.calls)[x.rule] += 1

    def absent(self, pid: int, reason: str) -> None:
        """A call of this process has no parent, although something pointed to one."""
        self._of(pid).absent[reason] += 1

    def begun(self, pid: int) -> None:
        """A new process has this number."""
        self._processes.pop(pid, None)

    def report(self) -> dict[int, dict[str, Any]]:
        """pid -> ``served`` and ``calls`` (numbers), ``served_by`` and ``calls_by`` (rule ->
        number), ``absent`` (reason -> number), and of the calls how many have a parent that is
        ``proved`` or ``inferred``, ``lack`` one, or are the program's ``own``."""
        return {pid: _report(counts) for pid, counts in list(self._processes.items())}

    def _of(self, pid: int) -> _Counts:
        counts = self._processes.get(pid)
        if counts is None:
            counts = self._processes[pid] = _Counts()
            if len(self._processes) > MAX_PROCESSES:
                self._processes.popitem(last=False)
        return counts


def _report(counts: _Counts) -> dict[str, Any]:
    named = {rule: number for rule, number in counts.calls.items() if rule}
    calls = sum(counts.calls.values())
    proved = sum(number for rule, number in named.items() if rule in PROVED)
    # What is given up now may leave a little later.
    lack = min(sum(counts.absent.values()), counts.calls[""])
    return {
        "served": sum(counts.served.values()),
        "calls": calls,
        "proved": proved,
        "inferred": sum(named.values()) - proved,
        "lack": lack,
        "own": counts.calls[""] - lack,
        "served_by": {rule: number for rule, number in counts.served.items() if rule},
        "calls_by": named,
        "absent": dict(counts.absent),
    }
