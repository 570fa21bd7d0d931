"""Processes that speak what cannot be read at all: they are named and counted."""

from __future__ import annotations

import logging

from otel_ebpf.discovery.procfs import ProcFs

_log = logging.getLogger(__name__)

MAX_SAID = 100
"""Programs of which the log has a line."""


class NotRead:
    """One such thing, and who speaks it. Not thread-safe.

    Args:
        name: what it is.
        missing: what is not told of those processes, for the log.
    """

    def __init__(self, name: str, missing: str, proc: ProcFs | None = None) -> None:
        self.name = name
        self._missing = missing
        self._proc = proc or ProcFs()
        self._said: set[str] = set()
        self.now: set[int] = set()
        """Those that run."""
        self.ever = 0
        """How many there were."""

    def speaks(self, pid: int) -> None:
        """A process was seen to begin to."""
        if pid in self.now:
            return
        self.now.add(pid)
        self.ever += 1
        exe = self._proc.exe(pid) or "a program that has ended"
        if exe not in self._said and len(self._said) < MAX_SAID:
            self._said.add(exe)
            _log.warning(
                "%s of %s (process %d) cannot be read: %s are missing",
                self.name, exe, pid, self._missing,
            )  # fmt: skip

    def ended(self, pid: int) -> None:
        """A process has ended, or runs another program."""
        self.now.discard(pid)
