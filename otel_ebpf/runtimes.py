"""Processes of interpreters and event loops: what the kernel half must know of them.

A Python program imports asyncio when it pleases, so a process is looked at again, at growing
intervals, until its table of running tasks is found. So is Node, until it waits in its loop.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol

from otel_ebpf.copy_probes import CopyProbes
from otel_ebpf.discovery.java_runtime import read_java
from otel_ebpf.discovery.libuv import read_loop
from otel_ebpf.discovery.node_runtime import place_of_collections, read_node
from otel_ebpf.discovery.processes import ProcessImage
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.discovery.python_runtime import place_of_runtime, read_python
from otel_ebpf.discovery.tokio_runtime import read_tokio

FIRST_LOOK = 0.1
"""Seconds after a look before the next one; each wait is twice as long as the one before."""
LAST_LOOK = 600.0
MAX_LOOKS = 4096
"""Processes that are looked at again; others keep what was found at first."""
PYTHON_MAP = "python_info_map"
POOL_MAP = "pool_map"
PROGRAM, PROXY, BATCHED = 1, 2, 3  # enum turns
IDENTITY_PYTHON, IDENTITY_JAVA, IDENTITY_TOKIO = 1, 2, 3  # enum identities
TURNS = {"nginx": PROXY, "openresty": PROXY, "angie": PROXY, "haproxy": BATCHED}
"""Programs whose loops run each callback to its end, beside Node, and whether they are
believed to before it is seen."""


class KernelSide(Protocol):
    """What is needed of the kernel half."""

    def set_process(
        self, pid: int, members: dict[str, int], name_of_map: str = "proc_info_map"
    ) -> None: ...

    def follow_turns(self) -> None: ...

    def follow_pools(self) -> None: ...

    def attach_uprobe(
        self, path: str, offset: int, program: str, *, returns: bool = False, pid: int = 0
    ) -> int: ...

    def detach_uprobe(self, *handles: int) -> None: ...

    def believe_copies(self, pid: int, told: bool) -> None: ...


class Runtimes:
    """Follows CPython processes. Not thread-safe: one thread calls everything.

    Args:
        read: pid -> members of ``struct python_info_t``, or None.

    Attributes:
        python: CPython processes whose contexts can be read; tasks: of them, those whose
            running tasks can be found; turns: processes whose loops' turns are followed.
    """

    def __init__(
        self,
        kernel: KernelSide,
        read: Callable[[int], dict[str, int] | None] | None = None,
        runtime: Callable[[int], tuple[int, int]] | None = None,
        node: Callable[[int], dict[str, int]] | None = None,
        loop: Callable[[int], dict[str, int] | None] | None = None,
        java: Callable[[int], dict[str, int] | None] | None = None,
        tokio: Callable[[int], int] | None = None,
    ) -> None:
        proc = ProcFs()
        self._kernel = kernel
        self._read = read or (lambda pid: read_python(pid, proc))
        self._runtime = runtime or (lambda pid: place_of_runtime(pid, proc))
        self._node = node or (lambda pid: read_node(pid, proc))
        self._loop = loop or (lambda pid: read_loop(pid, proc))
        self._java = java or (lambda pid: read_java(pid, proc))
        self._tokio = tokio or (lambda pid: read_tokio(pid, proc))
        self._again: list[tuple[float, float, int]] = []
        """(when, wait, pid), the next one first."""
        self.python: set[int] = set()
        self.tasks: set[int] = set()
        self.turns: set[int] = set()
        self._node_members: dict[int, dict[str, int]] = {}
        """Node's processes -> members of ``struct proc_info_t``, as far as they are known."""
        self.java: dict[int, dict[str, int]] = {}
        """Java's processes that are looked at -> members of ``struct proc_info_t`` by which virtual
        threads are known; none yet, or at all, where it is empty."""
        self.tokio: dict[int, int] = {}
        """Processes of tokio's -> where a thread names the task that runs."""
        self.pools: dict[int, dict[str, int]] = {}
        """Processes whose threads are followed -> members of ``struct pool_info_t``."""
        self._jobs: set[int] = set()
        """Python processes of which it is known what a worker of their pools is at."""
        self._copies = CopyProbes(kernel)
        self._frames: dict[int, int] = {}
        """Node's processes -> handle of the uprobe at the end of their collections; 0: refused."""

    @property
    def copies(self) -> int:
        """Processes of whose contexts' copies a uprobe tells."""
        return len(self._copies)

    @property
    def frames(self) -> int:
        """Processes of Node whose frames are followed when they move."""
        return sum(handle != 0 for handle in self._frames.values())

    def need_copies(self, pid: int) -> None:
        """This process's tasks may have parents that only its copies of contexts would tell."""
        if pid not in self.python:
            return
        self._finds_jobs(pid)
        self._copies.need(pid)

    def drop_copies(self, pid: int) -> None:
        """They told nothing."""
        self._copies.drop(pid)

    def need_frames(self, pid: int) -> None:
        """This process of Node runs requests in frames of AsyncLocalStorage."""
        if not self._node_members.get(pid, {}).get("node_data") or pid in self._frames:
            return
        self._frames[pid] = 0
        place = place_of_collections(pid)
        if place is not None:
            path, offset = place
            self._frames[pid] = self._kernel.attach_uprobe(path, offset, "node_collected", pid=pid)
        if self._frames[pid]:
            self._node_members[pid] = {**self._node_members[pid], "node_follows": 1}
            self._kernel.set_process(pid, self._node_members[pid])

    def _finds_jobs(self, pid: int) -> None:
        """Perhaps it is known by now what a worker of its pools is at: that tells most of them."""
        if pid in self._jobs:
            return
        members = self._read(pid)
        if members is not None and members.get("work_type"):
            self._kernel.set_process(pid, members, PYTHON_MAP)
            self._jobs.add(pid)

    def need_workers(self, pid: int) -> None:
        """Requests of this process's threads have parents that only wakes would tell."""
        if pid in self.pools or pid in self.turns:
            return
        if pid in self.python:
            self._finds_jobs(pid)
        self.pools[pid] = members = self._lock_of_all(pid)
        self._kernel.follow_pools()
        self._kernel.set_process(pid, members, POOL_MAP)
        self._tell(pid)

    def _lock_of_all(self, pid: int) -> dict[str, int]:
        start, end = self._runtime(pid)
        return {"ignore_from": start, "ignore_to": end}

    def _tell(self, pid: int) -> None:
        members = {"pools": 1} if pid in self.pools else {}
        if pid in self.python:
            members["python"] = IDENTITY_PYTHON
        elif self.java.get(pid):
            members |= {"python": IDENTITY_JAVA, **self.java[pid]}
        elif pid in self.tokio:
            members |= {"python": IDENTITY_TOKIO, "tokio_task": self.tokio[pid]}
        self._kernel.set_process(pid, members)

    def runs(self, image: ProcessImage, now: float) -> None:
        """A process was looked at. ``now`` in seconds, as of every method here."""
        if image.language == "python" and image.runtime_name != "pypy":
            self._look(image.pid, now, FIRST_LOOK)
        elif image.language == "java":
            self.java[image.pid] = {}
            self._look_at_java(image.pid, now, FIRST_LOOK)
        elif image.language == "nodejs" or image.exe.rpartition("/")[2] in TURNS:
            kind = TURNS.get(image.exe.rpartition("/")[2], PROGRAM)
            if not self.turns:
                self._kernel.follow_turns()
            self.turns.add(image.pid)
            self._node_members.pop(image.pid, None)
            if image.language == "nodejs":
                self._node_members[image.pid] = {"turns": kind, **self._node(image.pid)}
                self._look_at_node(image.pid, now, FIRST_LOOK)
            else:
                self._kernel.set_process(image.pid, {"turns": kind})
        elif not image.language:
            self.tokio.pop(image.pid, None)
            place = self._tokio(image.pid)
            if place:
                self.tokio[image.pid] = place
                self._tell(image.pid)

    def forked(self, parent: int, child: int, now: float) -> None:
        """A process runs a copy of its parent's program; the kernel half has copied the rest."""
        if parent in self.turns:
            self.turns.add(child)
            if parent in self._node_members:
                members = self._node_members[parent]
                self._node_members[child] = {**members, "node_follows": 0}
                self._later(child, now, FIRST_LOOK)
        if parent in self.java:
            self.java[child] = self.java[parent]
        if parent in self.tokio:
            self.tokio[child] = self.tokio[parent]
        if parent in self.pools:
            self.pools[child] = self.pools[parent]
        if parent in self.python:
            self.python.add(child)
            for known in (self.tasks, self._jobs):
                if parent in known:
                    known.add(child)
            if child in self.tasks:
                self._copies.expect(child, now)
            if child not in self.tasks or child not in self._jobs:
                self._later(child, now, FIRST_LOOK)

    def ended(self, pid: int) -> None:
        """A process has ended, or runs another program."""
        self.python.discard(pid)
        self.tasks.discard(pid)
        self._jobs.discard(pid)
        self._copies.drop(pid)
        self.turns.discard(pid)
        self._node_members.pop(pid, None)
        self.java.pop(pid, None)
        self.tokio.pop(pid, None)
        self.pools.pop(pid, None)
        handle = self._frames.pop(pid, 0)
        if handle:
            self._kernel.detach_uprobe(handle)
        if any(waiting == pid for _, _, waiting in self._again):
            self._again = [entry for entry in self._again if entry[2] != pid]
            heapq.heapify(self._again)

    def tick(self, now: float) -> None:
        """Looks again at those whose time has come."""
        self._copies.tick(now)
        while self._again and self._again[0][0] <= now:
            _, wait, pid = heapq.heappop(self._again)
            look = self._look
            if pid in self._node_members:
                look = self._look_at_node
            elif pid in self.java:
                look = self._look_at_java
            look(pid, now, wait * 2)

    def next_look(self) -> float | None:
        """When ``tick`` has something to do, None: not at all."""
        times = [self._again[0][0]] if self._again else []
        return min([*times, *self._copies.next_tick()], default=None)

    def _look(self, pid: int, now: float, wait: float) -> None:
        members = self._read(pid)
        if members is not None:
            self._kernel.set_process(pid, members, PYTHON_MAP)
            if pid not in self.python:
                self.python.add(pid)
                self._tell(pid)
            if members["tasks"] and pid not in self.tasks:
                self.tasks.add(pid)
                self._copies.expect(pid, now)
            if members.get("work_type"):
                self._jobs.add(pid)
            if pid in self.tasks and pid in self._jobs:
                return
        self._later(pid, now, wait)

    def _look_at_node(self, pid: int, now: float, wait: float) -> None:
        loop = self._loop(pid)
        self._node_members[pid] = {**self._node_members[pid], **(loop or {})}
        self._kernel.set_process(pid, self._node_members[pid])
        if loop is None:
            self._later(pid, now, wait)

    def _look_at_java(self, pid: int, now: float, wait: float) -> None:
        members = self._java(pid)
        if members is None:
            self._later(pid, now, wait)
        elif members:
            self.java[pid] = members
            self._tell(pid)

    def _later(self, pid: int, now: float, wait: float) -> None:
        if wait <= LAST_LOOK and len(self._again) < MAX_LOOKS:
            heapq.heappush(self._again, (now + wait, wait, pid))
