"""The correlation rules: which exchange caused which. docs/correlation.md tells them."""

from __future__ import annotations

from collections import Counter

from otel_ebpf.correlation.anchors import Anchors
from otel_ebpf.correlation.assembly import Assembly
from otel_ebpf.correlation.deliveries import Deliveries
from otel_ebpf.correlation.go_witnesses import GoWitnesses
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.threads import Threads
from otel_ebpf.correlation.verdicts import Verdicts
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import (
    FLAG_DUE,
    FLAG_GO,
    FLAG_OPENED,
    FLAG_RESPONDED,
    FLAG_TASK,
    FLAG_TURN,
    RULE_AMBIGUOUS,
    RULE_NONE,
    RULE_SERVER,
    RULE_SOLE,
    RULE_THREAD,
    RULE_WORKER,
    TURNS_PROXY,
)

RULES = {RULE_THREAD: "thread", RULE_SOLE: "sole_in_flight"}
SAME_QUESTION = "same_question"

WORKERS = 8
"""Requests of threads that carry nothing, before it is followed who wakes whom."""


class Parents:
    """Hands what is seen of an exchange to the rules that may tell its parent.

    Args:
        assembly: is told when an exchange's parent is final.
        counts: reasons why a parent is absent.
    """

    def __init__(self, assembly: Assembly, counts: Counter[str]) -> None:
        verdicts = self._verdicts = Verdicts(assembly, counts)
        self._requests = verdicts.requests
        self._callers = verdicts.callers
        self._bind = verdicts.bind
        self._abstain = verdicts.abstain
        self._settle = verdicts.settle
        self._bind_to = verdicts.bind_to
        self.links = verdicts.links
        self.withdraw = verdicts.withdraw
        self.left = verdicts.left
        self.joined = verdicts.joined
        self.alone = verdicts.alone
        go = self._witnesses = GoWitnesses(verdicts, counts)
        self.go = go.processes
        self.sites = go.sites
        self.needs = go.needs
        self.evidence = go.evidence
        self.wanted_births = go.wanted_births
        self.answered = go.answered
        self.line = go.line
        self.threads = Threads(verdicts.bind_to, verdicts.abstain)
        self.anchors = Anchors(
            verdicts.bind_to, verdicts.abstain, counts, self.threads, verdicts.bind
        )
        self._deliveries = Deliveries(verdicts)
        self.acknowledged = self._deliveries.acknowledged
        self._workers: Counter[int] = Counter()
        self.wanted_workers: set[int] = set()
        """Processes that serve, and whose other threads made requests of which nothing tells."""

    # -- requests that can be parents --------------------------------------------

    def opened(self, x: Live) -> None:
        """A server exchange begins."""
        if x.pid not in self.go and not x.pushed:
            self.threads.opened(x)
        if x.uid:
            self._verdicts.opened(x)
            if x.uid >> 63:
                self.needs.serves_streams(x.pid)
        if x.pid in self.anchors.processes and not x.pushed:
            self.anchors.opened(x)

    def tick(self, now: int) -> None:
        """Forgets what is too old or too much."""
        self._verdicts.tick(now)
        self._witnesses.tick(now)
        self.threads.tick(now)
        self.anchors.tick(now)

    def flush(self) -> None:
        """The end: nothing more will speak for anything that waits."""
        self.anchors.flush()
        self.threads.flush()
        self._witnesses.flush()

    def process_ended(self, pid: int) -> None:
        """Forgets what is known of a process."""
        self._witnesses.process_ended(pid)
        self._callers.discard(pid)
        self.threads.ended(pid)
        self._deliveries.process_ended(pid)
        self._workers.pop(pid, None)
        self.wanted_workers.discard(pid)
        self.anchors.ended(pid)

    def checks(self, pid: int) -> dict[str, int | str]:
        """The live tests of what is inferred in this process, in words and numbers."""
        return {**self.anchors.checks(pid), **self.threads.checks(pid), **self.sites.checks(pid)}

    # -- client requests -----------------------------------------------------------

    def written(self, x: Live, record: Record) -> None:
        """A client request was written: what the writing unit tells (rules 2 to 4, 6)."""
        rule = record.rule
        self._callers.add(x.pid)
        x.writer = record.goid
        if record.flags & FLAG_GO:
            self._witnesses.written(x, record)
            return
        if x.pid in self.go:
            # Not recognised as Go yet when this was recorded: the thread says nothing.
            self._abstain(x, "go_not_ready")
        elif record.flags & (FLAG_TASK | FLAG_TURN) or (
            not x.relayed
            and record.caller_site
            and _made(record)
            and rule in (RULE_NONE, RULE_WORKER, RULE_SERVER)
        ):
            self._hold(x, record)
        elif x.relayed and rule in (RULE_WORKER, RULE_SERVER, RULE_SOLE):
            self._abstain(x, "sent_for_others")
        elif rule in (RULE_WORKER, RULE_SERVER):
            self._watch(x.pid)
            self.anchors.hold_worker(x, record.goid, record.parent_uid, rule == RULE_SERVER)
            if record.caller_goid and self.anchors.processes[x.pid].open:
                self.anchors.unanswered(x.pid)
        elif rule == RULE_SOLE and record.flags & FLAG_RESPONDED:
            # A loop that has answered may be at anything now.
            self._abstain(x, "loop_has_answered")
        elif rule in (RULE_THREAD, RULE_SOLE):
            parent = self._requests.get(record.parent_uid)
            if isinstance(parent, Live) and parent.pushed:
                self._deliveries.within(x, parent, RULES[rule], rule == RULE_THREAD)
                return
            carrier = parent if isinstance(parent, Live) and parent.pid == x.pid else None
            if not self.threads.claims(x, carrier, RULES[rule]):
                self._bind(x, record.parent_uid, RULES[rule])
        elif rule == RULE_AMBIGUOUS:
            self._abstain(x, "ambiguous_thread")
        else:
            if self.threads.serves(x.pid) and not x.relayed:
                self._worker(x.pid)
            if record.caller_goid:  # a thread of Python's with a context, but no request
                self._watch(x.pid)
                if self.anchors.processes[x.pid].open:
                    self.anchors.unanswered(x.pid)
            self._settle(x)

    def delivered(self, x: Live) -> None:
        """A broker hands a message on. Whoever writes it may have read any other message: only
        what the message itself carries tells."""
        self._settle(x)

    def _watch(self, pid: int) -> None:
        """From now on responses of this process tell what ran when they were written."""
        if pid not in self.anchors.processes:
            requests = self._requests.values()
            mine = [r for r in requests if r.pid == pid and isinstance(r, Live) and not r.pushed]
            self.anchors.watch(pid, [r for r in mine if not r.finished])

    def _worker(self, pid: int) -> None:
        """A thread that carries nothing made a request, in a process that serves."""
        self._workers[pid] += 1
        if self._workers[pid] == WORKERS:
            self.wanted_workers.add(pid)

    def _hold(self, x: Live, record: Record) -> None:
        """An event loop wrote it: a response will tell whose it is."""
        if record.flags & FLAG_TURN and x.endpoints.datagram:
            # c-ares keeps queries for later; what it writes follows from what it read before.
            self._abstain(x, "turn_of_a_datagram")
            return
        self._watch(x.pid)
        if record.flags & FLAG_TURN:
            opened, due = bool(record.flags & FLAG_OPENED), bool(record.flags & FLAG_DUE)
            proxy = record.caller_goid == TURNS_PROXY
            frame = record.context_uid
            self.anchors.hold_turn(x, record.caller_uid, opened, due, proxy, frame)
            return
        chain = (record.caller_goid, record.caller_site, record.context_uid)
        born = (0, _made(record), record.caller_uid)
        # Who sends for others runs in a copy of the context of whoever started that.
        known = 1 if x.relayed else 1 + bool(chain[1]) + bool(chain[2])
        self.anchors.hold(x, chain[:known], born[:known])

    def responded(self, x: Live, record: Record) -> None:
        """The response to a server exchange of a process with an event loop begins."""
        if record.flags & FLAG_TURN and not record.flags & FLAG_GO:
            due = bool(record.flags & FLAG_DUE)
            proxy = record.caller_goid == TURNS_PROXY
            frame = record.context_uid
            self.anchors.responded_in_turn(x, record.caller_uid, due, proxy, record.ts, frame)
            return
        # A task's response: the thread runs an event loop, and is at many requests at once.
        if record.goid and not record.flags & (FLAG_GO | FLAG_TASK):
            self.anchors.responded_by_worker(x, record.goid, record.parent_uid, record.ts)
        identity = 0 if record.flags & FLAG_GO else record.caller_goid
        self.anchors.responded(x, identity, _made(record), record.ts)

    def same_question(self, x: Live, cause: Live) -> None:
        """The process asks another what it has been asked itself, by ``cause`` alone."""
        self._callers.add(x.pid)
        self._bind_to(x, cause, SAME_QUESTION)

    def same_questions(self, x: Live) -> None:
        """It has been asked that by several."""
        self._abstain(x, "same_question_of_several")

    def stream(self, x: Live, record: Record, now: int) -> None:
        """A client request was written on a connection of many streams."""
        self._callers.add(x.pid)
        self._witnesses.stream(x, record, now)

    def ended(self, x: Live, now: int) -> None:
        """A client request is over, with a response or without."""
        if x.pid in self.anchors.processes:
            self.anchors.call_ended(x)
        if x.stream:
            self.evidence.finished(x, now)
        elif not x.settled and not x.on_trial:
            self._abstain(x, "unanswered")


def _made(record: Record) -> int:
    """When the context that ``record`` tells of was made from another, in ns; 0: it is not
    told, or that member tells of a place in a TLS stream."""
    return 0 if record.ref_ts >> 63 else record.ref_ts
