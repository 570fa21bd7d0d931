"""The uprobes that tell of CPython processes what their contexts are copied from.

Each costs the process a hit for a copy. Where one is of use, correlation/copies.py finds out; until
anything was seen of a process that has asyncio's tasks, it has one for a while.
"""

from __future__ import annotations

from typing import Protocol

from otel_ebpf.discovery.python_runtime import place_of_copies

IDLE = 30.0
"""Seconds for which copies of a process's contexts are told although none of its tasks has made
or answered a request."""
MAX_IDLE = 256


class KernelSide(Protocol):
    """What is needed of the kernel half."""

    def attach_uprobe(
        self, path: str, offset: int, program: str, *, returns: bool = False, pid: int = 0
    ) -> int: ...

    def detach_uprobe(self, *handles: int) -> None: ...

    def believe_copies(self, pid: int, told: bool) -> None: ...


class CopyProbes:
    """Puts them there and takes them away. ``now`` is in seconds."""

    def __init__(self, kernel: KernelSide) -> None:
        self._kernel = kernel
        self._handles: dict[int, int] = {}
        """Process -> handle of its uprobe; 0: refused."""
        self._idle: dict[int, float] = {}
        """Processes that have theirs before anything was seen of them, and until when."""

    def __len__(self) -> int:
        return sum(handle != 0 for handle in self._handles.values())

    def expect(self, pid: int, now: float) -> None:
        """The process has tasks: its first requests may be such already."""
        if pid not in self._handles and len(self._idle) < MAX_IDLE:
            self._follow(pid)
            if self._handles[pid]:
                self._idle[pid] = now + IDLE

    def need(self, pid: int) -> None:
        """They are to be told until ``drop``."""
        self._idle.pop(pid, None)
        if pid not in self._handles:
            self._follow(pid)

    def drop(self, *pids: int) -> None:
        """They told nothing, or the process has ended."""
        handles = []
        for pid in pids:
            self._idle.pop(pid, None)
            handle = self._handles.pop(pid, 0)
            if handle:
                self._kernel.believe_copies(pid, False)  # first: from here on some are missed
                handles.append(handle)
        if handles:
            self._kernel.detach_uprobe(*handles)  # takes as long for all as for one

    def tick(self, now: float) -> None:
        """Takes away those of which nothing was seen."""
        if self._idle:
            self.drop(*[pid for pid, until in self._idle.items() if until <= now])

    def next_tick(self) -> list[float]:
        """When ``tick`` has something to do."""
        return [min(self._idle.values())] if self._idle else []

    def _follow(self, pid: int) -> None:
        self._handles[pid] = 0
        place = place_of_copies(pid)
        if place is not None:
            path, offset = place
            self._handles[pid] = self._kernel.attach_uprobe(
                path, offset, "python_copied", returns=True, pid=pid
            )
            self._kernel.believe_copies(pid, True)
