"""Uprobes in programs' files: put there once, taken away when nobody runs the program.

A uprobe belongs to a file and fires in every process that runs it. It costs a page of
the file's own in each of those, so none stays behind a program that has ended.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from otel_ebpf.discovery.go_prologue import MOST, cheapest
from otel_ebpf.errors import OtelEbpfError

_log = logging.getLogger(__name__)

LINGER = 30.0
"""Seconds for which a program's uprobes stay after its last process: it may come back."""

TRIES = 3
"""How often a place is tried, once for each of the program's processes."""
Key = tuple[int, int, int, int]
"""(device, inode, mtime in ns, size): one program's file."""
Place = tuple[int, str]
"""(offset in the file, program of the kernel half)."""


class UprobeSide(Protocol):
    """What is needed of the kernel half."""

    def attach_uprobe(self, path: str, offset: int, program: str) -> int: ...

    def detach_uprobe(self, *handles: int) -> None: ...


def _code(path: str, offset: int) -> bytes:
    """A file's bytes from ``offset`` on; none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(MOST)
    except OSError:
        return b""


class _File:
    __slots__ = ("empty_since", "exe", "handles", "pids", "refused")

    def __init__(self, exe: str) -> None:
        self.exe = exe
        self.handles: dict[Place, int] = {}
        self.refused: Counter[Place] = Counter()
        self.pids: set[int] = set()
        self.empty_since: float | None = None


class Uprobes:
    """Which uprobes are where. Not for several threads.

    Args:
        kernel: puts them there and takes them away.

    Attributes:
        count: uprobes that are attached now.
        refused: those that the kernel refused.
    """

    def __init__(self, kernel: UprobeSide) -> None:
        self._kernel = kernel
        self._files: dict[Key, _File] = {}
        self._of: dict[int, Key] = {}
        self.count = 0
        self.refused = 0

    def runs(self, pid: int, key: Key, exe: str) -> None:
        """``pid`` runs the program ``key`` from now on."""
        self.ended(pid, None)
        file = self._files.setdefault(key, _File(exe))
        file.pids.add(pid)
        file.empty_since = None
        self._of[pid] = key

    def missing(self, key: Key, places: Iterable[Place]) -> list[Place]:
        """Those places that have no uprobe and have not been refused one too often."""
        file = self._files[key]
        return [p for p in places if p not in file.handles and file.refused[p] < TRIES]

    def all_there(self, key: Key, places: Iterable[Place]) -> bool:
        """Whether each of ``places`` has its uprobe."""
        file = self._files.get(key)
        return file is not None and all(place in file.handles for place in places)

    def attach(self, key: Key, path: str, places: Iterable[Place]) -> bool:
        """Puts uprobes to the missing ones of ``places``; ``path`` leads to that very file.

        A refusal is logged once a place. Returns whether all are there.
        """
        file = self._files[key]
        wanted = list(places)
        for place in self.missing(key, wanted):
            try:
                offset, program = place
                where = offset + cheapest(_code(path, offset))
                file.handles[place] = self._kernel.attach_uprobe(path, where, program)
                self.count += 1
            except OtelEbpfError as error:
                file.refused[place] += 1
                if file.refused[place] == 1:
                    self.refused += 1
                    _log.warning("%s: %s", file.exe, error)
        return all(place in file.handles for place in wanted)

    def detach(self, key: Key, places: Iterable[Place]) -> None:
        """Takes some of a program's uprobes away."""
        file = self._files.get(key)
        handles = [file.handles.pop(p) for p in places if p in file.handles] if file else []
        self._remove(file, handles)

    def ended(self, pid: int, now: float | None) -> None:
        """``pid`` has ended, or runs something else. ``now``: seconds, any clock."""
        key = self._of.pop(pid, None)
        file = self._files.get(key) if key is not None else None
        if file is None:
            return
        file.pids.discard(pid)
        if not file.pids:
            file.empty_since = now

    def tick(self, now: float, alive: Callable[[int], bool] = lambda _: True) -> None:
        """Takes away what nobody has run for ``LINGER`` seconds.

        ``alive`` says whether a process is there: an end may have gone unseen.
        """
        for key, file in list(self._files.items()):
            for pid in [p for p in file.pids if not alive(p)]:
                self.ended(pid, now)
            if file.pids:
                continue
            if file.empty_since is None:
                file.empty_since = now
            elif now - file.empty_since >= LINGER:
                del self._files[key]
                self._take_away(file)

    def _take_away(self, file: _File) -> None:
        self._remove(file, list(file.handles.values()))

    def _remove(self, file: _File | None, handles: list[int]) -> None:
        if file is None or not handles:
            return
        self.count -= len(handles)
        try:
            self._kernel.detach_uprobe(*handles)
        except (OSError, KeyError) as error:
            _log.warning("%s: its uprobes could not be taken away: %s", file.exe, error)
