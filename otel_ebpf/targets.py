"""Processes, as they come: which are traced, and what the kernel half must know of them."""

from __future__ import annotations

import fnmatch
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from cachetools import LRUCache

from otel_ebpf.discovery.processes import ProcessImage, classify, list_pids
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.discovery.tls_libraries import UNKNOWN_LIBRARY
from otel_ebpf.discovery.ways import PASSIVE
from otel_ebpf.go_processes import GoProcesses, ProcessSide
from otel_ebpf.not_read import NotRead
from otel_ebpf.openssl import OpenSsl
from otel_ebpf.runtimes import Runtimes
from otel_ebpf.uprobes import Uprobes, UprobeSide

_log = logging.getLogger(__name__)

MAX_IMAGES = 4096
_TICK = 5.0
"""Seconds between two looks for programs that nobody runs any more."""


class KernelSide(UprobeSide, ProcessSide, Protocol):
    """What is needed of the kernel half."""

    def follow_turns(self) -> None: ...

    def follow_pools(self) -> None: ...

    def attach_uprobe(
        self, path: str, offset: int, program: str, *, returns: bool = False, pid: int = 0
    ) -> int: ...

    def believe_copies(self, pid: int, told: bool) -> None: ...

    def choose(self, pids: Sequence[int]) -> None: ...

    def forget(self, pid: int) -> None: ...

    def traces(self, pid: int) -> bool: ...


class Targets:
    """Looks at processes in a thread of its own and prepares the kernel half for them.

    Args:
        kernel: set once it is loaded; looking at programs goes on before that.
        globs: ``--exe`` patterns; a program whose path or name matches is chosen.
        identity: how goroutines are told apart, one of ``ways.IDENTITY_WAYS``.
        go_http2: where HTTP/2 headers come from, one of ``ways.HEADER_WAYS``.
        everything: no process was chosen by number or name.
        openssl: put uprobes on OpenSSL.
        told: called from this thread with each Go process that is ready.
    """

    def __init__(
        self,
        globs: Sequence[str],
        identity: str = "auto",
        go_http2: str = PASSIVE,
        proc: ProcFs | None = None,
        everything: bool = False,
        openssl: bool = True,
    ) -> None:
        self._everything = everything
        self._with_openssl = openssl
        self._globs = tuple(globs)
        self._proc = proc or ProcFs()
        self._work: queue.SimpleQueue[tuple[Callable[[int], None], int] | None] = (
            queue.SimpleQueue()
        )
        self._images: LRUCache[int, ProcessImage] = LRUCache(MAX_IMAGES)
        self._go = GoProcesses(self._images, identity, go_http2, self._proc)
        self._kernel: KernelSide | None = None
        self._uprobes: Uprobes | None = None
        self._runtimes: Runtimes | None = None
        self._openssl: OpenSsl | None = None
        self._quic = NotRead("QUIC", "its calls over HTTP/3", self._proc)
        self._kernel_tls = NotRead("TLS by the kernel", "its encrypted calls", self._proc)
        self.found: deque[tuple[int, str]] = deque()
        """(pid, language) of processes that were looked at; the agent takes them."""
        self.unreadable = 0
        self._thread = threading.Thread(target=self._run, name="otel-ebpf-targets", daemon=True)

    def prepare(self) -> list[ProcessImage]:
        """Looks at every running process. May run before the kernel half is loaded."""
        images = []
        for pid in list_pids(self._proc):
            image = classify(pid, self._proc)
            if image is not None:
                images.append(image)
        return images

    def start(self, kernel: KernelSide, images: Sequence[ProcessImage]) -> None:
        """The kernel half is there: tells it of ``images`` and begins to follow others."""
        self._kernel = kernel
        self._uprobes = Uprobes(kernel)
        self._go.start(kernel, self._uprobes)
        self._runtimes = Runtimes(kernel)
        if self._with_openssl:
            self._openssl = OpenSsl(kernel, self._proc, self._everything)
        for image in images:
            self._apply(image)
        self._thread.start()

    def look(self, pid: int) -> None:
        """A process runs a new program."""
        self._work.put((self._look, pid))

    def forked(self, parent: int, child: int) -> None:
        """A process runs a copy of its parent's program."""
        self._work.put((lambda pid: self._forked(pid, child), parent))

    def speaks_tls(self, pid: int) -> None:
        """A process speaks TLS of which no probe tells."""
        self._work.put((self._speaks_tls, pid))

    def speaks_quic(self, pid: int) -> None:
        """A process speaks QUIC."""
        self._work.put((self._quic.speaks, pid))

    def has_kernel_tls(self, pid: int) -> None:
        """A process has the kernel encrypt what it says."""
        self._work.put((self._kernel_tls.speaks, pid))

    def writes_unclearly(self, pid: int) -> None:
        """A Go process writes TLS, and its stack does not tell what."""
        self._work.put((self._go.probe_writes, pid))

    def ended(self, pid: int) -> None:
        """A process has ended."""
        self._work.put((self._ended, pid))

    def need_copies(self, pid: int) -> None:
        """Requests of this Python process would have parents if it were known which context
        was copied from which."""
        self._work.put((self._need_copies, pid))

    def drop_copies(self, pid: int) -> None:
        """That was of no use."""
        self._work.put((self._drop_copies, pid))

    def need_frames(self, pid: int) -> None:
        """This process of Node runs requests in frames of AsyncLocalStorage."""
        self._work.put((self._need_frames, pid))

    def need_workers(self, pid: int) -> None:
        """Requests of this process's threads would have parents if it were known who wakes
        whom."""
        self._work.put((self._need_workers, pid))

    def want_births(self, pid: int) -> None:
        """A request of this Go process would have a parent if it were known who bears whom."""
        self._work.put((self._go.want_births, pid))

    def need(self, pid: int, what: str) -> None:
        """Requests of this Go process lack what a probe for each of them would tell; see
        ``correlation.needs``."""
        self._work.put((lambda pid: self._go.need(pid, what), pid))

    def need_statement(self, pid: int, start: int) -> None:
        """Requests of this Go process would have parents if it were known who bears the
        goroutines that start others with the function at address ``start``."""
        self._work.put((lambda pid: self._go.need_statement(pid, start), pid))

    def drop_statement(self, pid: int, start: int) -> None:
        """That was of no use."""
        self._work.put((lambda pid: self._go.drop_statement(pid, start), pid))

    def stop(self) -> None:
        """Ends the thread."""
        self._work.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def tls_not_readable(self) -> dict[int, str]:
        """Processes whose TLS is not read, with the libraries it may be (see ``OpenSsl``), and
        those whose QUIC, or what the kernel encrypts for them, is not."""
        told = self._openssl.opaque_now() if self._openssl else {}
        for unread in (self._kernel_tls, self._quic):
            for pid in list(unread.now):
                other = told.get(pid)
                more = (
                    unread.name if other is None else f"{other or UNKNOWN_LIBRARY}, {unread.name}"
                )
                told[pid] = more
        return told

    def stats(self) -> dict[str, int]:
        """Counters for the ledger."""
        return {
            **self._go.stats(),
            "programs_unreadable": self.unreadable,
            "uprobes": (self._uprobes.count if self._uprobes else 0)
            + (self._openssl.uprobes if self._openssl else 0),
            "uprobes_refused": (self._uprobes.refused if self._uprobes else 0)
            + (self._openssl.refused if self._openssl else 0),
            "processes_with_openssl": self._openssl.processes if self._openssl else 0,
            "processes_with_tls_not_readable": self._openssl.opaque if self._openssl else 0,
            "processes_with_quic": self._quic.ever,
            "processes_with_kernel_tls": self._kernel_tls.ever,
            "python_processes": len(self._runtimes.python) if self._runtimes else 0,
            "python_processes_with_copies_told": self._runtimes.copies if self._runtimes else 0,
            "node_processes_with_frames_followed": self._runtimes.frames if self._runtimes else 0,
            "processes_with_workers_followed": len(self._runtimes.pools) if self._runtimes else 0,
            "processes_with_turns": len(self._runtimes.turns) if self._runtimes else 0,
            "java_processes_with_virtual_threads": (
                sum(map(bool, self._runtimes.java.values())) if self._runtimes else 0
            ),
            "python_processes_with_tasks": len(self._runtimes.tasks) if self._runtimes else 0,
        }

    def _run(self) -> None:
        next_tick = time.monotonic() + _TICK
        while True:
            try:
                job = self._work.get(timeout=max(0.0, self._due(next_tick) - time.monotonic()))
            except queue.Empty:
                self._guard(self._look_again, 0)
                if next_tick <= time.monotonic():
                    next_tick = time.monotonic() + _TICK
                    self._guard(self._tick, 0)
                continue
            if job is None:
                return
            self._guard(*job)

    def _due(self, next_tick: float) -> float:
        looks = [next_tick]
        for follower in (self._runtimes, self._openssl):
            look = follower.next_look() if follower is not None else None
            if look is not None:
                looks.append(look)
        return min(looks)

    def _look_again(self, _: int) -> None:
        assert self._runtimes is not None
        self._runtimes.tick(time.monotonic())
        if self._openssl is not None:
            self._openssl.tick(time.monotonic())

    def _tick(self, _: int) -> None:
        assert self._uprobes is not None
        self._uprobes.tick(time.monotonic(), lambda pid: self._alive(pid, None))
        for pid in self._go.take_unproved():
            if pid in self._images:
                self._guard(self._look, pid)

    def _alive(self, pid: int, start_ticks: int | None) -> bool:
        """Whether it still runs; one on its way out has ended, and so has one whose number is
        used again."""
        status = self._proc.stat(pid)
        if status is None or status.exiting:
            return False
        return start_ticks is None or status.start_ticks == start_ticks

    def _guard(self, act: Callable[[int], None], pid: int) -> None:
        try:
            act(pid)
        except Exception as error:  # one strange program must not end the watching
            self.unreadable += 1
            _log.warning("process %d is traced without its details: %s", pid, error)

    def _look(self, pid: int) -> None:
        self._forget(pid)
        image = classify(pid, self._proc)
        if image is not None:
            self._apply(image)

    def _ended(self, pid: int) -> None:
        image = self._images.get(pid)
        # Its number may be in use again before its end is told.
        if image is None or not self._alive(pid, image.start_ticks):
            self._forget(pid)

    def _forget(self, pid: int) -> None:
        assert self._uprobes is not None
        self._images.pop(pid, None)
        self._uprobes.ended(pid, time.monotonic())
        self._quic.ended(pid)
        self._kernel_tls.ended(pid)
        if self._runtimes is not None:
            self._runtimes.ended(pid)
        if self._openssl is not None:
            self._openssl.ended(pid, time.monotonic())

    def _forked(self, parent: int, child: int) -> None:
        if self._runtimes is not None:
            self._runtimes.forked(parent, child, time.monotonic())
        if self._openssl is not None:
            self._openssl.forked(parent, child)
        image = self._images.get(parent)
        if image is not None and image.go is not None and self._uprobes is not None:
            self._images[child] = replace(image, pid=child)
            self._uprobes.runs(child, image.go.identity, image.exe)

    def _speaks_tls(self, pid: int) -> None:
        image = self._images.get(pid)
        if self._openssl is not None and (image is None or image.go is None):
            self._openssl.speaks_tls(pid, time.monotonic())

    def _need_copies(self, pid: int) -> None:
        assert self._runtimes is not None
        self._runtimes.need_copies(pid)

    def _drop_copies(self, pid: int) -> None:
        assert self._runtimes is not None
        self._runtimes.drop_copies(pid)

    def _need_frames(self, pid: int) -> None:
        assert self._runtimes is not None
        self._runtimes.need_frames(pid)

    def _need_workers(self, pid: int) -> None:
        image = self._images.get(pid)
        if self._runtimes is not None and (image is None or image.go is None):
            self._runtimes.need_workers(pid)

    def _apply(self, image: ProcessImage) -> None:
        assert self._kernel is not None
        if image.problem:
            self.unreadable += 1
        if self._chosen(image.exe):
            self._kernel.choose([image.pid])
        if not self._kernel.traces(image.pid):
            return
        image = self._go.proved(image)
        if image.go is not None:
            self._go.apply(image, image.go)
        else:
            assert self._runtimes is not None
            self._runtimes.runs(image, time.monotonic())
            if self._openssl is not None:
                self._openssl.runs(image.pid, time.monotonic())
        # The kernel half forgets a process at its end, which may have come before it was told.
        if not self._alive(image.pid, image.start_ticks):
            self._kernel.forget(image.pid)
            self._forget(image.pid)
        self.found.append((image.pid, image.language))

    def _chosen(self, exe: str) -> bool:
        name = exe.rpartition("/")[2]
        return any(fnmatch.fnmatchcase(exe if "/" in glob else name, glob) for glob in self._globs)
