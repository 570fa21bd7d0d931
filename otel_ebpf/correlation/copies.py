"""In which CPython processes a uprobe tells what contexts are copied from.

A task that nobody waits for, or a thread of a framework's pool, runs in a copy of a context, and
only who copies it knows of what. That takes a hit for each copy, so it is tried: from the first
moment on, to miss nothing, and for as long as calls may show whether it tells anything.
"""

from __future__ import annotations

TRIAL = 64
"""Calls of a process in a row of which none had its parent by a copy: it does without."""
TRIALS = 2
"""Such rows in which one had: the process needs it. In the first, jobs of the standard library's
pools are told by copies too, as long as nobody has looked for how else."""
ANSWERS = 512
"""Requests that it answers meanwhile, at the most."""
UNANSWERED = 20
"""Calls that were nobody's, before it is tried again; twice as many each time."""
MOST = 1 << 20


class _Process:
    __slots__ = ("answers", "calls", "lacking", "on", "silent", "threshold", "told", "useful")

    def __init__(self) -> None:
        self.on = False
        self.silent = False
        """It was tried, and made no call."""
        self.calls = 0
        self.answers = 0
        self.told = False
        self.useful = 0
        self.lacking = 0
        self.threshold = UNANSWERED


class Copies:
    """Counts calls, and says where the uprobe is to be.

    Attributes:
        wanted: processes of which copies are to be told, since the agent last took them.
        unwanted: those of which it was of no use.
    """

    def __init__(self) -> None:
        self.wanted: set[int] = set()
        self.unwanted: set[int] = set()
        self._processes: dict[int, _Process] = {}

    def called(self, pid: int) -> None:
        """A task of this process makes a request."""
        process = self._processes.get(pid)
        if process is None or process.silent:
            self._begin(pid, self._processes.setdefault(pid, _Process()))

    def answered(self, pid: int) -> None:
        """A task of this process answers a request."""
        process = self._processes.get(pid)
        if process is None:
            self._begin(pid, self._processes.setdefault(pid, _Process()))
        elif process.on and process.useful < TRIALS:
            process.answers += 1
            if process.answers >= ANSWERS:
                self._end_of_row(pid, process)

    def decided(self, pid: int, copied: bool) -> None:
        """A call of a task or a thread has its parent; ``copied``: only a copy told."""
        process = self._processes.get(pid)
        if process is None or not process.on or process.useful >= TRIALS:
            return
        process.calls += 1
        if copied and not process.told:
            process.told = True
            self.wanted.add(pid)  # what jobs are at may tell it as well, and costs nothing
        if process.calls >= TRIAL:
            self._end_of_row(pid, process)

    def unanswered(self, pid: int) -> None:
        """A call of a task, or of a thread with a context, was nobody's."""
        process = self._processes.setdefault(pid, _Process())
        if process.silent:
            self._begin(pid, process)
        elif process.on:
            self.decided(pid, False)
        else:
            process.lacking += 1
            if process.lacking >= process.threshold:
                process.threshold = min(process.threshold * 2, MOST)
                self._begin(pid, process)

    def ended(self, pid: int) -> None:
        """The process has ended."""
        self._processes.pop(pid, None)
        self.wanted.discard(pid)
        self.unwanted.discard(pid)

    def _begin(self, pid: int, process: _Process) -> None:
        process.on, process.silent, process.told = True, False, False
        process.calls = process.answers = process.useful = 0
        self.unwanted.discard(pid)
        self.wanted.add(pid)

    def _end_of_row(self, pid: int, process: _Process) -> None:
        process.silent = not process.calls
        process.calls = process.answers = 0
        if process.told:
            process.useful += 1
            process.told = False
            return
        process.on, process.lacking = False, 0
        self.wanted.discard(pid)
        self.unwanted.add(pid)
