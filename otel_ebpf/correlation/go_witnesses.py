"""Go's witnesses: what a goroutine carries, whom it inherits from, who waits, whose context.

docs/correlation.md tells the rules.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from typing import NamedTuple

from cachetools import LRUCache

from otel_ebpf.correlation.evidence import Evidence
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.needs import Needs
from otel_ebpf.correlation.sites import Sites
from otel_ebpf.correlation.verdicts import Verdicts
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import (
    FLAG_CALLER_PARENT,
    FLAG_GO,
    FLAG_GO_POOLED,
    RULE_ANCESTOR,
    RULE_GOROUTINE,
)

GOROUTINE = "goroutine"
ANCESTOR = "ancestor"
CALLER = "go.caller"
CALLER_PARENT = "go.caller_ancestor"
CONTEXT = "go.context"
BOTH = "go.caller+context"

TRIAL = 8_000_000_000
"""Nanoseconds for which a parent waits until the kind of its goroutine is known."""
MAX_TRIAL = 4096
MAX_LINES = 4096
_PAIR = struct.Struct("<QQ")
_UNKNOWN_SITE = -1
_NOT_READY = -1


class _Trial(NamedTuple):
    until: int
    exchange: Live
    uid: int
    rule: str
    sites: tuple[int, ...]


class GoWitnesses:
    """Hears the witnesses of Go programs' requests, and believes them where they agree.

    Args:
        verdicts: where what they say is settled.
        counts: statements about streams that came in vain.
    """

    def __init__(self, verdicts: Verdicts, counts: Counter[str]) -> None:
        self._verdicts = verdicts
        self._bind = verdicts.bind
        self._abstain = verdicts.abstain
        self._settle = verdicts.settle
        self.sites = Sites(verdicts.end_of)
        self.needs = Needs()
        self.evidence = Evidence(self._by_witnesses, self._no_witness, counts)
        self._trial: deque[_Trial] = deque()
        self._lines: LRUCache[tuple[int, int], tuple[int, ...]] = LRUCache(MAX_LINES)
        """(pid, goid) of a caller -> sites of those between it and whom it inherits from."""
        self._asked: set[int] = set()
        self.wanted_births: set[int] = set()
        """Processes that made a request for whose parent only ancestry could speak."""
        self.processes: set[int] = set()
        """Processes known to be Go programs."""

    def tick(self, now: int) -> None:
        """Forgets what is too old, and judges what has waited for that."""
        self.evidence.tick(now)
        self.sites.tick(now)
        trial = self._trial
        if trial and (self.sites.changed or trial[0].until <= now):
            self.sites.changed = False
            self._trial = deque()
            for waiting in trial:
                self._judge(waiting, now)

    def flush(self) -> None:
        """The end: nothing more will speak for streams, or goroutines on trial."""
        self.evidence.flush()
        trial, self._trial = self._trial, deque()
        for waiting in trial:
            self._judge(waiting, waiting.until)

    def process_ended(self, pid: int) -> None:
        """Forgets what is known of a process."""
        self.processes.discard(pid)
        self._asked.discard(pid)
        self.wanted_births.discard(pid)
        self.needs.process_ended(pid)

    def written(self, x: Live, record: Record) -> None:
        """A goroutine wrote a client request (rules 2, 4 and 5)."""
        rule = record.rule
        if record.context_uid:
            self._by_call(x, record)
        elif rule == RULE_GOROUTINE:
            self._bind(x, record.parent_uid, GOROUTINE)
        elif rule == RULE_ANCESTOR and x.relayed:
            self._abstain(x, "sent_for_others")
        elif rule == RULE_ANCESTOR:
            # A connection dialled for one request may serve another: who reads the
            # response will tell.
            x.candidate = (record.parent_uid, rule, record.caller_site)

    def _by_call(self, x: Live, record: Record) -> None:
        """The writing goroutine is in a call that was given a context: a second witness
        beside what it carries, or inherits."""
        context, rule = record.context_uid, record.rule
        if rule == RULE_GOROUTINE and record.parent_uid != context:
            self._abstain(x, "witnesses_disagree")
            return
        if rule == RULE_ANCESTOR and record.parent_uid != context:
            self.sites.close(x.pid, record.caller_site)
        self._bind(x, context, BOTH if rule == RULE_GOROUTINE else CONTEXT)

    def stream(self, x: Live, record: Record, now: int) -> None:
        """A client request was written on a connection of many streams. Whoever writes
        there writes for others too, so only a Go program's own statement tells."""
        x.writer = record.goid if record.flags & FLAG_GO else _NOT_READY
        if not self.evidence.asked(x, now, wait=x.pid in self.processes):
            self._settle(x)

    def answered(self, x: Live, record: Record) -> None:
        """The response began to arrive: Go's witnesses (rule 5), or the end of waiting."""
        if x.settled or x.stream or x.on_trial:
            return
        if record.flags & FLAG_GO_POOLED:
            self._by_witnesses(x, record)
        elif x.candidate and record.goid == x.writer:
            # Written and read by one goroutine: no pool of connections in between.
            uid, _, site = x.candidate
            verdict = self.sites.saw(x.pid, site, x.writer, uid)
            self._believe(x, uid, ANCESTOR, (site,), verdict)
        elif x.candidate:
            self._abstain(x, "unconfirmed_ancestor")
        else:
            if record.flags & FLAG_GO:
                self._ask_births(x.pid)
                self.needs.lacks_context(x.pid, x.start)
            self._settle(x)

    def line(self, record: Record) -> None:
        """Goroutines through which ``record.caller_goid`` inherits ``record.uid``: they too
        must keep to that request."""
        whole = len(record.data) // _PAIR.size * _PAIR.size
        sites = []
        for goid, site in _PAIR.iter_unpack(record.data[:whole]):
            if site:
                self.sites.saw(record.tgid, site, goid, record.uid)
            else:  # of an unknown kind: not to be believed
                site = _UNKNOWN_SITE
                self.sites.close(record.tgid, site)
            sites.append(site)
        self._lines[record.tgid, record.caller_goid] = tuple(sites)

    def _ask_births(self, pid: int) -> None:
        if pid not in self._asked:
            self._asked.add(pid)
            self.wanted_births.add(pid)

    def _by_witnesses(self, x: Live, record: Record) -> None:
        """The parked caller and the context chain of a net/http client connection."""
        caller, context = record.caller_uid, record.context_uid
        if record.flags & FLAG_GO_POOLED:
            self.needs.caller(x.pid, record.caller_goid != 0)
        inherited = bool(record.flags & FLAG_CALLER_PARENT)
        believed: bool | None = True
        sites: tuple[int, ...] = (record.caller_site,)
        if record.caller_goid and (inherited or not caller):
            self.sites.saw(x.pid, record.caller_site, record.caller_goid, caller)
            sites += self._lines.pop((x.pid, record.caller_goid), ())
            believed = self.sites.verdict_of_all(x.pid, sites)
        if caller and context and caller != context:
            if inherited:
                # It works for a request other than the one it was born in: a pool.
                for site in sites:
                    self.sites.close(x.pid, site)
            if believed:
                self._abstain(x, "witnesses_disagree")
            else:
                self._bind(x, context, CONTEXT)
        elif context:
            self.needs.witnessed(x.pid)
            self._bind(x, context, BOTH if caller else CONTEXT)
        elif caller:
            self.needs.witnessed(x.pid)
            rule = CALLER_PARENT if inherited else CALLER
            if len(sites) > 1:
                self.needs.birth_told(x.pid, sites)
            self._believe(x, caller, rule, sites, believed)
        else:
            if record.caller_goid:
                self._ask_births(x.pid)
                if record.flags & FLAG_GO_POOLED:
                    self.needs.lacks_birth(x.pid, sites, x.start)
            self._no_witness(x)

    def _believe(
        self, x: Live, uid: int, rule: str, sites: tuple[int, ...], verdict: bool | None
    ) -> None:
        """Binds what a goroutine inherits, as far as its kind is known to keep to a request."""
        if verdict:
            self._bind(x, uid, rule)
        elif verdict is False:
            self._abstain(x, "goroutine_of_a_pool")
        else:
            x.on_trial = True
            self._trial.append(_Trial(x.end + TRIAL, x, uid, rule, sites))
            if len(self._trial) > MAX_TRIAL:
                oldest = self._trial.popleft()
                self._judge(oldest, oldest.until)

    def _judge(self, waiting: _Trial, now: int) -> None:
        x = waiting.exchange
        if x.settled:
            return
        verdict = self.sites.verdict_of_all(x.pid, waiting.sites)
        if verdict:
            self._bind(x, waiting.uid, waiting.rule)
        elif verdict is False:
            self._abstain(x, "goroutine_of_a_pool")
        elif waiting.until <= now:
            self._abstain(x, "untried_go_statement")
        else:
            self._trial.append(waiting)

    def _no_witness(self, x: Live) -> None:
        if x.writer == _NOT_READY:
            self._abstain(x, "go_not_ready")
            return
        self.needs.lacks_caller(x.pid, bool(x.uid >> 63), x.start)
        self._abstain(x, "no_witness")
