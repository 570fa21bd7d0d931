"""Processes, as they come: which are traced, and what the kernel half must know of them."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from cachetools import LRUCache

from otel_ebpf.discovery.elf import identity
from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_callers import (
    NEEDS,
    loop_members,
    needed_probes,
    probe_places,
    stream_members,
    stream_probes,
)
from otel_ebpf.discovery.go_headers import PASSIVE, HeaderPlan, header_plan
from otel_ebpf.discovery.go_identity import (
    BOTH,
    TLS,
    UPROBE,
    births_needed,
    births_seen,
    chosen_way,
    identity_members,
    identity_places,
)
from otel_ebpf.discovery.go_proof import memory_of, prove
from otel_ebpf.discovery.go_statements import statement_places, statements
from otel_ebpf.discovery.go_tls_calls import TlsPlan, tls_members, tls_plan
from otel_ebpf.discovery.load_address import load_bias
from otel_ebpf.discovery.processes import ProcessImage, classify, list_pids
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.openssl import OpenSsl
from otel_ebpf.runtimes import Runtimes
from otel_ebpf.uprobes import Key, Place, Uprobes, UprobeSide

_log = logging.getLogger(__name__)

# member of struct proc_info_t -> name in go_fields.FIELDS
_RUNTIME = {
    "g_goid": "runtime.g.goid",
    "p_goidcache": "runtime.p.goidcache",
    "p_goidcacheend": "runtime.p.goidcacheend",
}
_HTTP1_SERVER = {
    "conn_rwc": "net/http.conn.rwc",
    "conn_cancel_ctx": "net/http.conn.cancelCtx",
    "conn_cur_req": "net/http.conn.curReq",
    "response_req": "net/http.response.req",
    "request_ctx": "net/http.Request.ctx",
    "fd_sysfd": "net.netFD.pfd.Sysfd",
}
_HTTP1_CLIENT = {
    "sudog_g": "runtime.sudog.g",
    "hchan_qcount": "runtime.hchan.qcount",
    "hchan_buf": "runtime.hchan.buf",
    "hchan_elemsize": "runtime.hchan.elemsize",
    "hchan_recvx": "runtime.hchan.recvx",
    "hchan_recvq": "runtime.hchan.recvq.first",
    "pc_conn": "net/http.persistConn.conn",
    "pc_reqch": "net/http.persistConn.reqch",
    "rc_ch": "net/http.requestAndChan.ch",
    "request_ctx": "net/http.Request.ctx",
    "fd_sysfd": "net.netFD.pfd.Sysfd",
}
_HTTP1 = {**_HTTP1_SERVER, **_HTTP1_CLIENT}
READ_LOOP = "net/http.(*persistConn).readLoop"
SERVE = "net/http.(*conn).serve"
_CLIENT = (READ_LOOP, "go_persist_conn_read_loop")
_CUR_REQ_POINTER = (1, 20, 0)
MAX_IMAGES = 4096
MAX_FOLLOWED = 32
"""`go` statements of one program that are followed."""
_TICK = 5.0
"""Seconds between two looks for programs that nobody runs any more."""


class KernelSide(UprobeSide, Protocol):
    """What is needed of the kernel half."""

    def set_process(
        self, pid: int, members: dict[str, int], name_of_map: str = "proc_info_map"
    ) -> None: ...

    def follow_turns(self) -> None: ...

    def follow_pools(self) -> None: ...

    def attach_uprobe(
        self, path: str, offset: int, program: str, *, returns: bool = False, pid: int = 0
    ) -> int: ...

    def choose(self, pids: Sequence[int]) -> None: ...

    def forget(self, pid: int) -> None: ...

    def traces(self, pid: int) -> bool: ...


def process_members(
    go: GoBinary, load_bias: int, way: int | None = TLS, births: bool = False
) -> dict[str, int]:
    """Members of ``struct proc_info_t`` for a Go process.

    ``go`` is 1 where goroutines can be told apart, ``http1`` where net/http's client
    and server connections can be read as well. ``way`` and ``births`` are those of
    ``go_identity``.
    """
    offsets = go.offsets
    absent = -1
    members: dict[str, int] = {
        "g_parent_goid": offsets.get("runtime.g.parentGoid", absent),
        "g_startpc": offsets.get("runtime.g.startpc", absent),
        "rc_treq": absent,
        "rc_req": absent,
        "treq_ctx": absent,
        "go": 0,
        "http1": 0,
        "allp": 0,
        "goidgen": 0,
        "tls_g": go.g_tls_offset or 0,
        **tls_members(go),
        "tls_conn": offsets.get("crypto/tls.Conn.conn", absent),
    }
    for member, name in {**_RUNTIME, **_HTTP1}.items():
        members[member] = offsets.get(name, absent)
    members["go"] = 1
    members.update(identity_members(go, way, births))
    if way is None or members["g_goid"] < 0:
        # Its goroutines cannot be told apart: nothing carries anything, no thread either.
        members["g_goid"] = absent
        return members
    generation = offsets.get("runtime.schedt.goidgen", absent)
    known = "runtime.sched" in go.addresses and "runtime.allp" in go.addresses
    together = members["p_goidcacheend"] == members["p_goidcache"] + 8
    if known and generation >= 0 and members["p_goidcache"] >= 0 and together:
        members["goidgen"] = go.addresses["runtime.sched"] + load_bias + generation
        members["allp"] = go.addresses["runtime.allp"] + load_bias
    members.update(stream_members(go))
    members.update(loop_members(go, members, load_bias))
    members["rc_treq"] = offsets.get("net/http.requestAndChan.treq", absent)
    members["treq_ctx"] = offsets.get("net/http.transportRequest.ctx", absent)
    members["rc_req"] = offsets.get("net/http.requestAndChan.req", absent)
    if members["treq_ctx"] < 0:
        members["rc_treq"] = absent
    if go.version < _CUR_REQ_POINTER and members["conn_cur_req"] >= 0:
        members["conn_cur_req"] += 8  # an atomic.Value: a type, then the pointer
    # A program without a client lacks the client's structures, and the other way round.
    members["http1"] = int(bool(_http1_probes(members)))
    return members


def _http1_probes(members: Mapping[str, int]) -> list[tuple[str, str]]:
    """(function, BPF program) for each side of net/http's HTTP/1 that is known."""
    probes = []
    request = max(members["rc_treq"], members["rc_req"])
    if request >= 0 and all(members[member] >= 0 for member in _HTTP1_CLIENT):
        probes.append(_CLIENT)
    if all(members[member] >= 0 for member in _HTTP1_SERVER):
        probes.append((SERVE, "go_conn_serve"))
    return probes


class Targets:
    """Looks at processes in a thread of its own and prepares the kernel half for them.

    Args:
        kernel: set once it is loaded; looking at programs goes on before that.
        globs: ``--exe`` patterns; a program whose path or name matches is chosen.
        identity: how goroutines are told apart, one of ``go_identity.WAYS``.
        go_http2: where HTTP/2 headers come from, one of ``go_headers.WAYS``.
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
        self._identity = identity
        self._go_http2 = go_http2
        self._work: queue.SimpleQueue[tuple[Callable[[int], None], int] | None] = (
            queue.SimpleQueue()
        )
        self._images: LRUCache[int, ProcessImage] = LRUCache(MAX_IMAGES)
        self._births: set[Key] = set()
        """Programs whose goroutines' births are followed because somebody asked."""
        self._tls: LRUCache[Key, TlsPlan | None] = LRUCache(MAX_IMAGES)
        self._headers: LRUCache[GoBinary, HeaderPlan] = LRUCache(MAX_IMAGES)
        self._statements: LRUCache[Key, dict[int, set[Place]]] = LRUCache(MAX_IMAGES)
        """`go` statements that are followed, by program and by the function that they start."""
        self._needs: set[tuple[Key, str]] = set()
        """Programs with probes that fire once a request, and what for."""
        self._proofs: LRUCache[Key, GoBinary] = LRUCache(MAX_IMAGES)
        self._unproved: set[int] = set()
        """Processes whose offsets are guesses that could not be proved yet."""
        self._kernel: KernelSide | None = None
        self._uprobes: Uprobes | None = None
        self._runtimes: Runtimes | None = None
        self._openssl: OpenSsl | None = None
        self.found: deque[tuple[int, str]] = deque()
        """(pid, language) of processes that were looked at; the agent takes them."""
        self.go_processes = 0
        self.go_without_identity = 0
        self.go_unproved = 0
        self.unreadable = 0
        self.headers_missing = 0
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

    def ended(self, pid: int) -> None:
        """A process has ended."""
        self._work.put((self._ended, pid))

    def need_copies(self, pid: int) -> None:
        """Requests of this Python process would have parents if it were known which context
        was copied from which."""
        self._work.put((self._need_copies, pid))

    def need_workers(self, pid: int) -> None:
        """Requests of this process's threads would have parents if it were known who wakes
        whom."""
        self._work.put((self._need_workers, pid))

    def want_births(self, pid: int) -> None:
        """A request of this Go process would have a parent if it were known who bears whom."""
        self._work.put((self._want_births, pid))

    def need(self, pid: int, what: str) -> None:
        """Requests of this Go process lack what a probe for each of them would tell; see
        ``correlation.needs``."""
        self._work.put((lambda pid: self._need(pid, what), pid))

    def need_statement(self, pid: int, start: int) -> None:
        """Requests of this Go process would have parents if it were known who bears the
        goroutines that start others with the function at address ``start``."""
        self._work.put((lambda pid: self._need_statement(pid, start), pid))

    def drop_statement(self, pid: int, start: int) -> None:
        """That was of no use."""
        self._work.put((lambda pid: self._drop_statement(pid, start), pid))

    def stop(self) -> None:
        """Ends the thread."""
        self._work.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def tls_not_readable(self) -> dict[int, str]:
        """Processes whose TLS is not read, with the libraries it may be; see ``OpenSsl``."""
        return self._openssl.opaque_now() if self._openssl else {}

    def stats(self) -> dict[str, int]:
        """Counters for the ledger."""
        return {
            "go_processes": self.go_processes,
            "go_processes_without_goroutines": self.go_without_identity,
            "go_processes_with_offsets_not_proved": self.go_unproved,
            "programs_unreadable": self.unreadable,
            "uprobes": (self._uprobes.count if self._uprobes else 0)
            + (self._openssl.uprobes if self._openssl else 0),
            "uprobes_refused": (self._uprobes.refused if self._uprobes else 0)
            + (self._openssl.refused if self._openssl else 0),
            "processes_with_openssl": self._openssl.processes if self._openssl else 0,
            "processes_with_tls_not_readable": self._openssl.opaque if self._openssl else 0,
            "programs_with_births_followed": len(self._births),
            "go_header_functions_not_probed": self.headers_missing,
            "go_statements_followed": sum(
                len(set().union(*starts.values())) for starts in self._statements.values()
            ),
            "programs_probed_for_each_request": len({program for program, _ in self._needs}),
            "python_processes": len(self._runtimes.python) if self._runtimes else 0,
            "python_processes_with_copies_told": self._runtimes.copies if self._runtimes else 0,
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
        unproved, self._unproved = self._unproved, set()
        for pid in unproved:
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

    def _need_workers(self, pid: int) -> None:
        image = self._images.get(pid)
        if self._runtimes is not None and (image is None or image.go is None):
            self._runtimes.need_workers(pid)

    def _want_births(self, pid: int) -> None:
        image = self._images.get(pid)
        if image is None or image.go is None or self._kernel is None:
            return
        go = image.go
        if go.identity in self._births or not births_seen(go):
            return
        if not births_needed(go, chosen_way(go, self._identity)):
            return
        self._births.add(go.identity)
        for other in list(self._images.values()):
            if other.go is go:
                self._apply_go(self._kernel, other, go)

    def _need(self, pid: int, what: str) -> None:
        image = self._images.get(pid)
        if image is None or image.go is None or (image.go.identity, what) in self._needs:
            return
        go = image.go
        members = process_members(go, 0, chosen_way(go, self._identity))
        if members["g_goid"] < 0 or not needed_probes(go, members, what):
            return
        self._needs.add((go.identity, what))
        if self._kernel is not None:
            for other in list(self._images.values()):
                if other.go is go:
                    self._apply_go(self._kernel, other, go)
        _log.warning("%s is probed for each request from now on: %s", image.exe, NEEDS[what])

    def _need_statement(self, pid: int, start: int) -> None:
        image = self._images.get(pid)
        if image is None or image.go is None or self._uprobes is None:
            return
        go = image.go
        if self._identity != "auto" or go.identity in self._births:
            return  # nothing is to be probed for that, or all births are followed
        bias = load_bias(pid, go.entry, self._proc) if go.pie else 0
        if bias is None:
            return
        pcs = statements(go, memory_of(pid, self._proc), bias, start)
        with self._open(image, go) as descriptor:
            if descriptor is None or not pcs:
                return
            followed = self._statements.setdefault(go.identity, {})
            before = set().union(*followed.values())
            places = statement_places(descriptor, go, pcs)[: max(0, MAX_FOLLOWED - len(before))]
            if not places:
                return
            followed.setdefault(start - bias, set()).update(places)
            self._uprobes.attach(go.identity, f"/proc/self/fd/{descriptor}", places)
        if not before:
            _log.warning(
                "%s is probed where it starts goroutines that start others: %s",
                image.exe,
                "those call without the request's context",
            )

    def _drop_statement(self, pid: int, start: int) -> None:
        image = self._images.get(pid)
        if image is None or image.go is None or self._uprobes is None:
            return
        bias = load_bias(pid, image.go.entry, self._proc) if image.go.pie else 0
        followed = self._statements.get(image.go.identity, {})
        places = followed.pop(start - (bias or 0), set())
        places -= set().union(*followed.values())
        self._uprobes.detach(image.go.identity, places)

    def _apply(self, image: ProcessImage) -> None:
        assert self._kernel is not None
        if image.problem:
            self.unreadable += 1
        if self._chosen(image.exe):
            self._kernel.choose([image.pid])
        if not self._kernel.traces(image.pid):
            return
        image = self._proved(image)
        if image.go is not None:
            self._apply_go(self._kernel, image, image.go)
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

    def _proved(self, image: ProcessImage) -> ProcessImage:
        """With those guessed offsets that the running process bears out, if it needs any."""
        go = image.go
        if go is None or not go.guesses or "runtime.g.goid" in go.offsets:
            return image
        proved = self._proofs.get(go.identity)
        if proved is None:
            bias = load_bias(image.pid, go.entry, self._proc) if go.pie else 0
            proved = prove(go, memory_of(image.pid, self._proc), bias or 0)
            if proved is None:  # it has only just begun
                self._unproved.add(image.pid)
                return image
            self._proofs[go.identity] = proved
        return replace(image, go=proved)

    def _chosen(self, exe: str) -> bool:
        name = exe.rpartition("/")[2]
        return any(fnmatch.fnmatchcase(exe if "/" in glob else name, glob) for glob in self._globs)

    def _apply_go(self, kernel: KernelSide, image: ProcessImage, go: GoBinary) -> None:
        way = chosen_way(go, self._identity)
        births = births_seen(go) and (way in (UPROBE, BOTH) or go.identity in self._births)
        bias = load_bias(image.pid, go.entry, self._proc) if go.pie else 0
        members = process_members(go, bias or 0, way, births)
        if go.pie and bias is None:
            members["allp"] = members["goidgen"] = 0
        plan = self._tls_plan(image, go) if members["g_goid"] >= 0 else None
        unknown = members["g_goid"] >= 0 and _CLIENT not in _http1_probes(members)
        if unknown and needed_probes(go, members, "callers"):
            # Offsets that the way without a hit needs are not known: as if it had failed.
            self._needs.add((go.identity, "callers"))
        members["round_trip"] = int((go.identity, "callers") in self._needs)
        members["tls_kept"] = int(plan is not None and plan.kept)
        headers = self._header_plan(image, go) if members["g_goid"] >= 0 else None
        if headers is not None and (bias is not None or not go.pie):
            members.update(headers.for_process(bias or 0, self._go_http2))
        kernel.set_process(image.pid, members)
        if image.pid not in self._images:
            self.go_processes += 1
            if members["g_goid"] < 0:
                self.go_without_identity += 1
                self.go_unproved += bool(go.guesses)
        self._images[image.pid] = image
        # A program that nobody chose is left as it is.
        if members["g_goid"] >= 0:
            probes = _http1_probes(members) + stream_probes(members)
            places = [(go.symbols[n], program) for n, program in probes if n in go.symbols]
            if plan is not None:
                places += plan.places
            places += set().union(*self._statements.get(go.identity, {}).values())
            if headers is not None:
                places += [(go.symbols[name], program) for name, program in headers.probes]
            self._attach(image, go, places, way, births)
            for what in NEEDS:
                if (go.identity, what) in self._needs:
                    self._attach_needed(image, go, members, what)

    def _attach_needed(
        self, image: ProcessImage, go: GoBinary, members: Mapping[str, int], what: str
    ) -> None:
        assert self._uprobes is not None
        with self._open(image, go) as descriptor:
            if descriptor is not None:
                places = probe_places(descriptor, go, needed_probes(go, members, what))
                self._uprobes.attach(go.identity, f"/proc/self/fd/{descriptor}", places)

    def _header_plan(self, image: ProcessImage, go: GoBinary) -> HeaderPlan | None:
        """How its HTTP/2 headers are told by uprobes, if they are to be."""
        if self._go_http2 == PASSIVE:
            return None
        plan = self._headers.get(go)
        if plan is None:
            plan = self._headers[go] = header_plan(go)
            self.headers_missing += len(plan.missing)
            for name, why in plan.missing.items():
                _log.warning("%s: no probe on %s: %s", image.exe, name, why)
        return plan

    def _tls_plan(self, image: ProcessImage, go: GoBinary) -> TlsPlan | None:
        """How the program's TLS is seen, looked for once a file."""
        if go.identity in self._tls:
            return self._tls[go.identity]
        with self._open(image, go) as descriptor:
            if descriptor is None:
                return None
            plan = self._tls[go.identity] = tls_plan(descriptor, go)
            return plan

    @contextlib.contextmanager
    def _open(self, image: ProcessImage, go: GoBinary) -> Iterator[int | None]:
        """The process's program, if it is still this one."""
        try:
            # Held open: the process may end, or its file be replaced, meanwhile.
            descriptor = os.open(self._proc.path(image.pid, "exe"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            yield None  # it has ended; the next process of this program will do
            return
        try:
            yield descriptor if identity(descriptor) == go.identity else None
        finally:
            os.close(descriptor)

    def _attach(
        self,
        image: ProcessImage,
        go: GoBinary,
        places: Sequence[tuple[int, str]],
        way: int | None,
        births: bool,
    ) -> None:
        assert self._uprobes is not None
        self._uprobes.runs(image.pid, go.identity, image.exe)
        with self._open(image, go) as descriptor:
            if descriptor is not None:
                all_places = [*identity_places(descriptor, go, way, births), *places]
                self._uprobes.attach(go.identity, f"/proc/self/fd/{descriptor}", all_places)
