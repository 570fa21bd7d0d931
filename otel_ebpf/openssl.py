"""Uprobes on OpenSSL: put on each copy once, however many processes use it.

A library may be loaded at any time, so a process is looked at again a few times after its
start, and once more when it is seen to speak TLS though nobody knows how.
"""

from __future__ import annotations

import heapq
import logging
from typing import Protocol

from otel_ebpf.discovery.openssl import Key, mapped, places_of, usual
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.discovery.tls_libraries import UNKNOWN_LIBRARY, not_readable
from otel_ebpf.errors import OtelEbpfError

_log = logging.getLogger(__name__)

FIRST_LOOK, LAST_LOOK = 0.05, 30.0
"""Seconds after a look before the next one; each wait is three times the one before."""
MAX_SAID = 100
"""Programs that cannot be read of which the log has a line."""
LINGER = 30.0
"""Seconds for which the uprobes stay after the last process."""


class KernelSide(Protocol):
    """What is needed of the kernel half."""

    def attach_uprobe(
        self, path: str, offset: int, program: str, *, returns: bool = False, pid: int = 0
    ) -> int: ...

    def detach_uprobe(self, *handles: int) -> None: ...


class _Copy:
    __slots__ = ("empty_since", "handles", "pids")

    def __init__(self) -> None:
        self.handles: list[int] = []
        self.pids: set[int] = set()
        self.empty_since: float | None = None


class OpenSsl:
    """Follows the processes that use it. Not thread-safe; ``now`` is in seconds.

    Args:
        kernel: puts uprobes there and takes them away.
        always: put them on the host's own copies at once, and leave them there: even the
            shortest program is then seen. For agents that trace everything.
    """

    def __init__(self, kernel: KernelSide, proc: ProcFs | None = None, always: bool = False):
        self._kernel = kernel
        self._proc = proc or ProcFs()
        self._copies: dict[Key, _Copy] = {}
        self._of: dict[int, set[Key]] = {}
        self._again: list[tuple[float, float, int]] = []
        self._opaque: dict[int, str] = {}
        self._said: set[str] = set()
        self._ever_opaque = 0
        self.refused = 0
        if always:
            for key, path, name in usual():
                self._attach(key, path, name, 0)

    @property
    def uprobes(self) -> int:
        """Uprobes that are there now."""
        return sum(len(copy.handles) for copy in self._copies.values())

    @property
    def processes(self) -> int:
        """Processes with a copy that is probed."""
        return len(self._of)

    @property
    def opaque(self) -> int:
        """Processes so far that spoke TLS of a kind that cannot be read."""
        return self._ever_opaque

    def opaque_now(self) -> dict[int, str]:
        """Those that run: process -> the libraries it may be, or an empty text."""
        return dict(self._opaque)

    def runs(self, pid: int, now: float) -> None:
        """A process runs a program from now on."""
        self.ended(pid, now)
        self._look(pid, now, FIRST_LOOK)

    def speaks_tls(self, pid: int, now: float) -> None:
        """A process was seen to send or get TLS, and no probe has told of it."""
        if self._find(pid) or pid in self._of or pid in self._opaque:
            return
        self._ever_opaque += 1
        library = self._opaque[pid] = not_readable(pid, self._proc)
        exe = self._proc.exe(pid) or "a program that has ended"
        if exe not in self._said and len(self._said) < MAX_SAID:
            self._said.add(exe)
            _log.warning(
                "TLS of %s (process %d) cannot be read: %s, neither OpenSSL nor Go's; "
                "its encrypted calls are missing",
                exe, pid, library or UNKNOWN_LIBRARY,
            )  # fmt: skip

    def forked(self, parent: int, child: int) -> None:
        """A process runs a copy of its parent's program."""
        for key in self._of.get(parent, ()):
            self._copies[key].pids.add(child)
            self._of.setdefault(child, set()).add(key)

    def ended(self, pid: int, now: float) -> None:
        """A process has ended, or runs another program."""
        self._opaque.pop(pid, None)
        for key in self._of.pop(pid, ()):
            copy = self._copies[key]
            copy.pids.discard(pid)
            if not copy.pids:
                copy.empty_since = now
        if any(waiting == pid for _, _, waiting in self._again):
            self._again = [entry for entry in self._again if entry[2] != pid]
            heapq.heapify(self._again)

    def next_look(self) -> float | None:
        """When ``tick`` has something to do; None: not at all."""
        times = [self._again[0][0]] if self._again else []
        times += [c.empty_since + LINGER for c in self._copies.values() if c.empty_since]
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Looks again at those whose time has come; takes away what nobody uses."""
        while self._again and self._again[0][0] <= now:
            _, wait, pid = heapq.heappop(self._again)
            self._look(pid, now, wait * 3)
        for key, copy in list(self._copies.items()):
            if copy.empty_since is not None and copy.empty_since + LINGER <= now:
                del self._copies[key]
                if copy.handles:
                    self._kernel.detach_uprobe(*copy.handles)

    def _look(self, pid: int, now: float, wait: float) -> None:
        self._find(pid)  # whatever was found: a program may bring a copy of its own beside
        if wait <= LAST_LOOK:
            heapq.heappush(self._again, (now + wait, wait, pid))

    def _find(self, pid: int) -> bool:
        found = mapped(pid, self._proc)
        for key, path, name in found:
            self._attach(key, path, name, pid)
        return bool(found)

    def _attach(self, key: Key, path: str, name: str, pid: int) -> None:
        copy = self._copies.get(key)
        if copy is None:
            copy = self._copies[key] = _Copy()
            try:
                for offset, program, returns in places_of(key, path):
                    handle = self._kernel.attach_uprobe(path, offset, program, returns=returns)
                    copy.handles.append(handle)
            except (OtelEbpfError, OSError) as error:
                self.refused += 1
                _log.warning("OpenSSL in %s is not seen: %s", name, error)
        copy.pids.add(pid)
        copy.empty_since = None
        if pid:
            self._of.setdefault(pid, set()).add(key)
            if self._opaque.pop(pid, None) is not None:
                self._ever_opaque -= 1  # it can be read after all
