"""Processes that speak QUIC, of which nothing can be read: they are named and counted."""

from __future__ import annotations

import logging

from otel_ebpf.discovery.procfs import ProcFs

_log = logging.getLogger(__name__)

MAX_SAID = 100
"""Programs of which the log has a line."""


class QuicSpeakers:
    """Not thread-safe."""

    def __init__(self, proc: ProcFs | None = None) -> None:
        self._proc = proc or ProcFs()
        self._said: set[str] = set()
        self.now: set[int] = set()
        """Those that run."""
        self.ever = 0
        """How many there were."""

    def speaks(self, pid: int) -> None:
        """A process was seen to begin or accept a connection."""
        if pid in self.now:
            return
        self.now.add(pid)
        self.ever += 1
        exe = self._proc.exe(pid) or "a program that has ended"
        if exe not in self._said and len(self._said) < MAX_SAID:
            self._said.add(exe)
            _log.warning(
                "QUIC of %s (process %d) cannot be read: its calls over HTTP/3 are missing",
                exe, pid,
            )  # fmt: skip

    def ended(self, pid: int) -> None:
        """A process has ended, or runs another program."""
        self.now.discard(pid)
