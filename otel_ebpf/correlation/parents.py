"""The correlation rules: which exchange caused which. docs/correlation.md tells them."""

from __future__ import annotations

import struct
from collections import Counter, deque
from typing import NamedTuple

from cachetools import LRUCache

from otel_ebpf.correlation.anchors import Anchors
from otel_ebpf.correlation.assembly import Assembly
from otel_ebpf.correlation.evidence import Evidence
from otel_ebpf.correlation.links import Links
from otel_ebpf.correlation.live import Done, Live
from otel_ebpf.correlation.model import SERVER
from otel_ebpf.correlation.needs import Needs
from otel_ebpf.correlation.sites import Sites
from otel_ebpf.correlation.threads import Threads
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import (
    FLAG_CALLER_PARENT,
    FLAG_DUE,
    FLAG_GO,
    FLAG_GO_POOLED,
    FLAG_OPENED,
    FLAG_RESPONDED,
    FLAG_TASK,
    FLAG_TURN,
    RULE_AMBIGUOUS,
    RULE_ANCESTOR,
    RULE_GOROUTINE,
    RULE_NONE,
    RULE_SERVER,
    RULE_SOLE,
    RULE_THREAD,
    RULE_WORKER,
    TURNS_PROXY,
)

RULES = {
    RULE_THREAD: "thread",
    RULE_SOLE: "sole_in_flight",
    RULE_GOROUTINE: "goroutine",
    RULE_ANCESTOR: "ancestor",
}
CALLER = "go.caller"
CALLER_PARENT = "go.caller_ancestor"
CONTEXT = "go.context"
BOTH = "go.caller+context"
SAME_HOST = "same_host"
SAME_QUESTION = "same_question"

KEEP_DONE = 10_000_000_000
"""Nanoseconds for which an exchange that has left can still become a parent."""
MAX_DONE = 50_000
TRIAL = 8_000_000_000
"""Nanoseconds for which a parent waits until the kind of its goroutine is known."""
MAX_TRIAL = 4096
MAX_LINES = 4096
MAX_WITHIN = 1024
"""Calls of which it is remembered that they may have been made for one delivery."""
WORKERS = 8
"""Requests of threads that carry nothing, before it is followed who wakes whom."""
_PAIR = struct.Struct("<QQ")
_UNKNOWN_SITE = -1
_NOT_READY = -1


class _Trial(NamedTuple):
    until: int
    exchange: Live
    uid: int
    rule: str
    sites: tuple[int, ...]


class Parents:
    """Finds, checks and settles parents.

    Args:
        assembly: is told when an exchange's parent is final.
        counts: reasons why a parent is absent.
    """

    def __init__(self, assembly: Assembly, counts: Counter[str]) -> None:
        self._assembly = assembly
        self._counts = counts
        assembly.decide = self.decide
        self._requests: dict[int, Live | Done] = {}
        self._done: deque[tuple[int, int]] = deque()
        self.sites = Sites(self._ended)
        self.needs = Needs()
        self.links = Links()
        self.evidence = Evidence(self._by_witnesses, self._no_witness, counts)
        self.threads = Threads(self._bind_to, self._abstain)
        self.anchors = Anchors(self._bind_to, self._abstain, counts, self.threads, self.bind)
        self._trial: deque[_Trial] = deque()
        self._callers: set[int] = set()
        self._lines: LRUCache[tuple[int, int], tuple[int, ...]] = LRUCache(MAX_LINES)
        """(pid, goid) of a caller -> sites of those between it and whom it inherits from."""
        self._asked: set[int] = set()
        self.wanted_births: set[int] = set()
        """Go processes that made a request for whose parent only ancestry could speak."""
        self._movers: set[int] = set()
        """Processes that acknowledged a delivery from another thread than had read it."""
        self._workers: Counter[int] = Counter()
        self.wanted_workers: set[int] = set()
        """Processes that serve, and whose other threads made requests of which nothing tells."""
        self.go: set[int] = set()
        """Processes known to be Go programs."""

    # -- requests that can be parents --------------------------------------------

    def opened(self, x: Live) -> None:
        """A server exchange begins."""
        if x.pid not in self.go and not x.pushed:
            self.threads.opened(x)
        if x.uid:
            self._requests[x.uid] = x
            if x.uid >> 63:
                self.needs.serves_streams(x.pid)
        if x.pid in self.anchors.processes and not x.pushed:
            self.anchors.opened(x)

    def withdraw(self, x: Live) -> None:
        """A server exchange can be nobody's parent from here on."""
        if x.uid and self._requests.get(x.uid) is x:
            del self._requests[x.uid]
        x.uid = 0

    def left(self, x: Live, now: int) -> None:
        """A server exchange has been handed on; a short memory of it stays."""
        if not x.uid or self._requests.get(x.uid) is not x:
            return
        if x.pid in self._callers:
            self._requests[x.uid] = Done(x)
            self._done.append((now + KEEP_DONE, x.uid))
        else:  # nothing it causes is ever seen
            del self._requests[x.uid]

    def tick(self, now: int) -> None:
        """Forgets what is too old or too much."""
        done = self._done
        while done and (done[0][0] <= now or len(done) > MAX_DONE):
            _, uid = done.popleft()
            self._requests.pop(uid, None)
        self.evidence.tick(now)
        self.sites.tick(now)
        self.threads.tick(now)
        self.anchors.tick(now)
        trial = self._trial
        if trial and (self.sites.changed or trial[0].until <= now):
            self.sites.changed = False
            self._trial = deque()
            for waiting in trial:
                self._judge(waiting, now)

    def flush(self) -> None:
        """The end: nothing more will speak for streams, or goroutines on trial."""
        self.evidence.flush()
        self.anchors.flush()
        self.threads.flush()
        trial, self._trial = self._trial, deque()
        for waiting in trial:
            self._judge(waiting, waiting.until)

    def process_ended(self, pid: int) -> None:
        """Forgets what is known of a process."""
        self.go.discard(pid)
        self._callers.discard(pid)
        self.threads.ended(pid)
        self._movers.discard(pid)
        self._workers.pop(pid, None)
        self.wanted_workers.discard(pid)
        self.anchors.ended(pid)
        self._asked.discard(pid)
        self.wanted_births.discard(pid)
        self.needs.process_ended(pid)

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
            if record.context_uid:
                self._by_call(x, record)
            elif rule == RULE_GOROUTINE:
                self.bind(x, record.parent_uid, RULES[rule])
            elif rule == RULE_ANCESTOR and x.relayed:
                self._abstain(x, "sent_for_others")
            elif rule == RULE_ANCESTOR:
                # A connection dialled for one request may serve another: who reads the
                # response will tell.
                x.candidate = (record.parent_uid, rule, record.caller_site)
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
                self._within(x, parent, rule)
                return
            carrier = parent if isinstance(parent, Live) and parent.pid == x.pid else None
            if not self.threads.claims(x, carrier, RULES[rule]):
                self.bind(x, record.parent_uid, RULES[rule])
        elif rule == RULE_AMBIGUOUS:
            self._abstain(x, "ambiguous_thread")
        else:
            if self.threads.serves(x.pid) and not x.relayed:
                self._worker(x.pid)
            if record.caller_goid:  # a thread of Python's with a context, but no request
                self._watch(x.pid)
                if self.anchors.processes[x.pid].open:
                    self.anchors.unanswered(x.pid)
            self._assembly_settle(x)

    def _within(self, x: Live, delivery: Live, rule: int) -> None:
        """A thread wrote it that has read a delivery: who acknowledges that will tell."""
        calls = delivery.carried_calls = delivery.carried_calls or []
        if delivery.finished and delivery.end < x.start:
            self._abstain(x, "parent_was_over")
        elif delivery.pid != x.pid or rule != RULE_THREAD or len(calls) >= MAX_WITHIN:
            self._abstain(x, "ambiguous_thread")
        else:
            x.on_trial = True
            calls.append((x, RULES[rule]))

    def acknowledged(self, delivery: Live) -> None:
        """A delivery is over. What the thread that read it has called meanwhile was called for
        it, if that thread has acknowledged it, as with all deliveries of its process."""
        reply = delivery.response_message
        if reply is not None and reply.last_token.tid != delivery.tid:
            self._movers.add(delivery.pid)
        calls, delivery.carried_calls = delivery.carried_calls, None
        for x, rule in calls or ():
            if x.settled:
                continue
            if reply is None or delivery.pid in self._movers:
                self._abstain(x, "threads_change_requests" if reply else "not_acknowledged")
            else:
                self._bind_to(x, delivery, rule)

    def delivered(self, x: Live) -> None:
        """A broker hands a message on. Whoever writes it may have read any other message: only
        what the message itself carries tells."""
        self._assembly_settle(x)

    def _by_call(self, x: Live, record: Record) -> None:
        """The writing goroutine is in a call that was given a context: a second witness
        beside what it carries, or inherits."""
        context, rule = record.context_uid, record.rule
        if rule == RULE_GOROUTINE and record.parent_uid != context:
            self._abstain(x, "witnesses_disagree")
            return
        if rule == RULE_ANCESTOR and record.parent_uid != context:
            self.sites.close(x.pid, record.caller_site)
        self.bind(x, context, BOTH if rule == RULE_GOROUTINE else CONTEXT)

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
        """A client request was written on a connection of many streams. Whoever writes
        there writes for others too, so only a Go program's own statement tells."""
        self._callers.add(x.pid)
        x.writer = record.goid if record.flags & FLAG_GO else _NOT_READY
        if not self.evidence.asked(x, now, wait=x.pid in self.go):
            self._assembly_settle(x)

    def answered(self, x: Live, record: Record) -> None:
        """The response began to arrive: Go's witnesses (rule 5), or the end of waiting."""
        if x.settled or x.stream or x.on_trial:
            return
        if record.flags & FLAG_GO_POOLED:
            self._by_witnesses(x, record)
        elif x.candidate and record.goid == x.writer:
            # Written and read by one goroutine: no pool of connections in between.
            uid, rule, site = x.candidate
            verdict = self.sites.saw(x.pid, site, x.writer, uid)
            self._believe(x, uid, RULES[rule], (site,), verdict)
        elif x.candidate:
            self._abstain(x, "unconfirmed_ancestor")
        else:
            if record.flags & FLAG_GO:
                self._ask_births(x.pid)
                self.needs.lacks_context(x.pid, x.start)
            self._assembly_settle(x)

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
                self.bind(x, context, CONTEXT)
        elif context:
            self.needs.witnessed(x.pid)
            self.bind(x, context, BOTH if caller else CONTEXT)
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
            self.bind(x, uid, rule)
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
            self.bind(x, waiting.uid, waiting.rule)
        elif verdict is False:
            self._abstain(x, "goroutine_of_a_pool")
        elif waiting.until <= now:
            self._abstain(x, "untried_go_statement")
        else:
            self._trial.append(waiting)

    def _ended(self, uid: int) -> int:
        request = self._requests.get(uid)
        if request is None:
            return -1
        return request.end if request.finished else 0

    def ended(self, x: Live, now: int) -> None:
        """A client request is over, with a response or without."""
        if x.pid in self.anchors.processes:
            self.anchors.call_ended(x)
        if x.stream:
            self.evidence.finished(x, now)
        elif not x.settled and not x.on_trial:
            self._abstain(x, "unanswered")

    def bind(self, x: Live, uid: int, rule: str) -> None:
        """Makes the request ``uid`` the parent, if it can be."""
        parent = self._requests.get(uid)
        if parent is None:
            self._abstain(x, "parent_not_seen")
        elif parent.pid != x.pid:
            self._abstain(x, "parent_of_other_process")
        elif parent.finished and parent.end < x.start:
            self._abstain(x, "parent_was_over")
        else:
            self._bind_to(x, parent, rule)

    def _bind_to(self, x: Live, parent: Live | Done, rule: str) -> None:
        x.parent = parent
        x.parent_span_id = parent.span_id
        x.rule = rule
        self._assembly_settle(x)

    def _no_witness(self, x: Live) -> None:
        if x.writer == _NOT_READY:
            self._abstain(x, "go_not_ready")
            return
        self.needs.lacks_caller(x.pid, bool(x.uid >> 63), x.start)
        self._abstain(x, "no_witness")

    def _abstain(self, x: Live, reason: str) -> None:
        self._counts["no_parent." + reason] += 1
        self.links.absent(x.pid, reason)
        self._assembly_settle(x)

    # -- carried contexts, and the verdict -------------------------------------------

    def carried(self, x: Live) -> None:
        """Gives ``x`` the parent that its message names (rule 1)."""
        c = x.carried
        x.sampled = c.sampled
        if not c.trace_id:  # only a decision not to sample
            return
        x.parent = None
        x.parent_span_id = c.span_id
        x.trace_id = c.trace_id
        x.trace_state = c.trace_state
        x.parent_remote = True
        x.rule = c.source

    def _assembly_settle(self, x: Live) -> None:
        if x.carried is not None and x.kind != SERVER:
            parent = x.parent
            before = parent.carried if parent is not None else None
            if before is not None and before.span_id == x.carried.span_id and before.span_id:
                x.passed_on = True  # the program only forwards the header it was sent
            else:
                self.carried(x)
        followers, x.followers = x.followers, None
        self._assembly.settle(x)
        for server in followers or ():
            self.joined(server, x)

    def joined(self, server: Live, client: Live) -> None:
        """Two views of one request (rule 7): ``client``'s record names ``server``'s parent."""
        if server.settled:
            return
        if server.carried is not None and server.carried.trace_id:
            if not client.settled:
                if client.followers is None:
                    client.followers = []
                client.followers.append(server)
                return
            if not client.passed_on:
                self.carried(server)
                self._assembly.settle(server)
                return
        server.parent = client
        server.parent_span_id = client.span_id
        server.rule = SAME_HOST
        self._assembly.settle(server)

    def decide(self, x: Live) -> None:
        """The wait for ``x``'s parent is over: what it carries, or a root."""
        if x.kind == SERVER:
            self.alone(x)
        else:
            self._assembly_settle(x)

    def alone(self, server: Live) -> None:
        """No client's view of this request exists here: what it carries, or a root."""
        if server.settled:
            return
        if server.carried is not None:
            self.carried(server)
        self._assembly.settle(server)


def _made(record: Record) -> int:
    """When the context that ``record`` tells of was made from another, in ns; 0: it is not
    told, or that member tells of a place in a TLS stream."""
    return 0 if record.ref_ts >> 63 else record.ref_ts
