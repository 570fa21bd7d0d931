"""Go processes: what the kernel half must know of each, and which probes its program gets."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Protocol

from cachetools import LRUCache

from otel_ebpf.discovery.elf import identity
from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_callers import NEEDS, needed_probes, probe_places, stream_probes
from otel_ebpf.discovery.go_headers import HeaderPlan, header_plan
from otel_ebpf.discovery.go_identity import (
    BOTH,
    UPROBE,
    births_needed,
    births_seen,
    chosen_way,
    identity_places,
)
from otel_ebpf.discovery.go_members import CLIENT, http1_probes, process_members
from otel_ebpf.discovery.go_proof import memory_of, prove
from otel_ebpf.discovery.go_statements import statement_places, statements
from otel_ebpf.discovery.go_tls_calls import TlsPlan, tls_plan
from otel_ebpf.discovery.load_address import load_bias
from otel_ebpf.discovery.processes import ProcessImage
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.discovery.ways import PASSIVE
from otel_ebpf.uprobes import Key, Place, Uprobes

_log = logging.getLogger(__name__)

MAX_PROGRAMS = 4096
MAX_FOLLOWED = 32
"""`go` statements of one program that are followed."""


class ProcessSide(Protocol):
    """What is needed of the kernel half."""

    def set_process(
        self, pid: int, members: dict[str, int], name_of_map: str = "proc_info_map"
    ) -> None: ...


class GoProcesses:
    """Tells the kernel half of Go processes, and puts uprobes on their programs.

    Args:
        images: every process that is followed, by number.
        way: how goroutines are told apart, one of ``ways.IDENTITY_WAYS``.
        go_http2: where HTTP/2 headers come from, one of ``ways.HEADER_WAYS``.
    """

    def __init__(
        self,
        images: MutableMapping[int, ProcessImage],
        way: str,
        go_http2: str,
        proc: ProcFs,
    ) -> None:
        self._images = images
        self._identity = way
        self._go_http2 = go_http2
        self._proc = proc
        self._births: set[Key] = set()
        """Programs whose goroutines' births are followed because somebody asked."""
        self._tls: LRUCache[Key, TlsPlan | None] = LRUCache(MAX_PROGRAMS)
        self._probed_writes: set[Key] = set()
        """Programs whose Writes of TLS their stacks do not tell."""
        self._headers: LRUCache[GoBinary, HeaderPlan] = LRUCache(MAX_PROGRAMS)
        self._statements: LRUCache[Key, dict[int, set[Place]]] = LRUCache(MAX_PROGRAMS)
        """`go` statements that are followed, by program and by the function that they start."""
        self._needs: set[tuple[Key, str]] = set()
        """Programs with probes that fire once a request, and what for."""
        self._proofs: LRUCache[Key, GoBinary] = LRUCache(MAX_PROGRAMS)
        self._unproved: set[int] = set()
        """Processes whose offsets are guesses that could not be proved yet."""
        self._kernel: ProcessSide | None = None
        self._uprobes: Uprobes | None = None
        self._processes = 0
        self._without_identity = 0
        self._not_proved = 0
        self._headers_missing = 0

    def start(self, kernel: ProcessSide, uprobes: Uprobes) -> None:
        """The kernel half is there."""
        self._kernel = kernel
        self._uprobes = uprobes

    def stats(self) -> dict[str, int]:
        """Counters for the ledger."""
        return {
            "go_processes": self._processes,
            "go_processes_without_goroutines": self._without_identity,
            "go_processes_with_offsets_not_proved": self._not_proved,
            "programs_with_births_followed": len(self._births),
            "go_header_functions_not_probed": self._headers_missing,
            "go_statements_followed": sum(
                len(set().union(*starts.values())) for starts in self._statements.values()
            ),
            "programs_with_tls_writes_probed": len(self._probed_writes),
            "programs_probed_for_each_request": len({program for program, _ in self._needs}),
        }

    def take_unproved(self) -> set[int]:
        """Processes that are to be looked at again, for what is guessed of them."""
        unproved, self._unproved = self._unproved, set()
        return unproved

    def want_births(self, pid: int) -> None:
        """A request would have a parent if it were known who bears whom."""
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
                self.apply(other, go)

    def need(self, pid: int, what: str) -> None:
        """Requests lack what a probe for each of them would tell; see ``correlation.needs``."""
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
                    self.apply(other, go)
        _log.warning("%s is probed for each request from now on: %s", image.exe, NEEDS[what])

    def probe_writes(self, pid: int) -> None:
        """This process writes TLS, and its stack does not tell what."""
        image = self._images.get(pid)
        if image is None or image.go is None or image.go.identity in self._probed_writes:
            return
        go = image.go
        plan = self._tls_plan(image, go)
        if plan is None or self._uprobes is None:
            return
        # Probes first: what begins without them is told by the stack.
        with self._open(image, go) as descriptor:
            if descriptor is None:
                return
            self._uprobes.attach(go.identity, f"/proc/self/fd/{descriptor}", plan.write_places)
        self._probed_writes.add(go.identity)
        for other in list(self._images.values()):
            if other.go is go:
                self.apply(other, go)
        _log.info("%s: Writes of TLS are probed, for its stack does not tell of them", image.exe)

    def need_statement(self, pid: int, start: int) -> None:
        """Requests would have parents if it were known who bears those that start ``start``."""
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

    def drop_statement(self, pid: int, start: int) -> None:
        """That was of no use."""
        image = self._images.get(pid)
        if image is None or image.go is None or self._uprobes is None:
            return
        bias = load_bias(pid, image.go.entry, self._proc) if image.go.pie else 0
        followed = self._statements.get(image.go.identity, {})
        places = followed.pop(start - (bias or 0), set())
        places -= set().union(*followed.values())
        self._uprobes.detach(image.go.identity, places)

    def proved(self, image: ProcessImage) -> ProcessImage:
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

    def apply(self, image: ProcessImage, go: GoBinary) -> None:
        """A process runs the program ``go``, or more is known of it now."""
        assert self._kernel is not None
        way = chosen_way(go, self._identity)
        births = births_seen(go) and (way in (UPROBE, BOTH) or go.identity in self._births)
        bias = load_bias(image.pid, go.entry, self._proc) if go.pie else 0
        members = process_members(go, bias or 0, way, births)
        if go.pie and bias is None:
            members["allp"] = members["goidgen"] = 0
        plan = self._tls_plan(image, go) if members["g_goid"] >= 0 else None
        unknown = members["g_goid"] >= 0 and CLIENT not in http1_probes(members)
        if unknown and needed_probes(go, members, "callers"):
            # Offsets that the way without a hit needs are not known: as if it had failed.
            self._needs.add((go.identity, "callers"))
        members["round_trip"] = int((go.identity, "callers") in self._needs)
        # Where it is loaded must be known for its frames to be.
        probed = go.identity in self._probed_writes or (go.pie and bias is None)
        armed = plan is not None and self._tls_armed(go, plan, probed)
        if plan is not None and armed:
            members.update(plan.members(probed, bias or 0))
        headers = self._header_plan(image, go) if members["g_goid"] >= 0 else None
        if headers is not None and (bias is not None or not go.pie):
            members.update(headers.for_process(bias or 0, self._go_http2))
        self._kernel.set_process(image.pid, members)
        if image.pid not in self._images:
            self._processes += 1
            if members["g_goid"] < 0:
                self._without_identity += 1
                self._not_proved += bool(go.guesses)
        self._images[image.pid] = image
        # A program that nobody chose is left as it is.
        if members["g_goid"] >= 0:
            probes = http1_probes(members) + stream_probes(members)
            places = [(go.symbols[n], program) for n, program in probes if n in go.symbols]
            if plan is not None:
                places += plan.attached(probed)
            places += set().union(*self._statements.get(go.identity, {}).values())
            if headers is not None:
                places += [(go.symbols[name], program) for name, program in headers.probes]
            self._attach(image, go, places, way, births)
            if plan is not None and not armed and self._tls_armed(go, plan, probed):
                members.update(plan.members(probed, bias or 0))
                self._kernel.set_process(image.pid, members)
            for what in NEEDS:
                if (go.identity, what) in self._needs:
                    self._attach_needed(image, go, members, what)

    def _tls_armed(self, go: GoBinary, plan: TlsPlan, probed: bool) -> bool:
        """Whether all is there that tells of its TLS. Told by halves, a conversation would have
        requests without responses, or with those of others."""
        assert self._uprobes is not None
        return self._uprobes.all_there(go.identity, plan.attached(probed))

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
            self._headers_missing += len(plan.missing)
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
