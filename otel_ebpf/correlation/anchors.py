"""Requests of event loops, held until a response names whose they are (rule 6).

A loop serves many requests on one thread. What ran when it wrote a request is known (the
context of the task, and of those that wait for it), but not for which of its requests. The
response to one of them tells: its connection names the request for certain, and what runs
then has that request's identity. So a client's request is held until a response of its
process is written under one of its identities, within that response's exchange.

Identities are addresses and are used again, so the interval is always looked at: a request
belongs to an exchange that had been read before it, and whose response came after it, or had
begun and was still going on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from otel_ebpf.correlation.copies import Copies
from otel_ebpf.correlation.frames import RULE as FRAME
from otel_ebpf.correlation.frames import Frames
from otel_ebpf.correlation.identities import CONTEXT_BITS, numbered, own_rule
from otel_ebpf.correlation.late import Late
from otel_ebpf.correlation.live import Live, own_number
from otel_ebpf.correlation.model import Endpoints
from otel_ebpf.correlation.threads import Threads
from otel_ebpf.correlation.turns import TURN, Turns
from otel_ebpf.correlation.watched import Watched, stats_of
from otel_ebpf.correlation.workers import Workers

MAX_HELD = 65_536
"""Requests held at once; above it the oldest is let go without a parent."""
MAX_OPEN = 65_536
"""Exchanges of one process that are looked at as open; above it the oldest is not."""
SOLE = "sole_in_flight"
AWAITED = "python.awaited"
COPIED = "python.copied"


class Anchors:
    """Holds and binds.

    Args:
        bind: (request, exchange, rule) makes the exchange the parent; bind_late: the same by
            the number of an exchange that may have left.
        abstain: (request, reason) leaves it without.
        counts: told what is dropped for want of room.
        threads: whether threads' segments say anything.
    """

    def __init__(
        self,
        bind: Callable[[Live, Live, str], None],
        abstain: Callable[[Live, str], None],
        counts: Counter[str],
        threads: Threads,
        bind_late: Callable[[Live, int, str], None],
    ) -> None:
        self._bind = bind
        self._bind_late = bind_late
        self._abstain = abstain
        self._counts = counts
        self.processes: dict[int, Watched] = {}
        """Those that have shown an identity."""
        self._by_identity: dict[tuple[int, int], list[Live]] = {}
        self.held = 0
        self._threads = threads
        self.hold_at_most = MAX_HELD
        self.copies = Copies()
        self.wanted_frames: set[int] = set()
        """Processes of Node with requests in frames, which are to be followed when they move."""

    def watch(self, pid: int, open_now: list[Live]) -> None:
        """This process shows identities; ``open_now`` are its exchanges, as they were read."""
        process = self.processes[pid] = Watched()
        for x in open_now:
            process.open[id(x)] = x
        if len(open_now) > 1:
            process.crowded = max(x.start for x in open_now)

    def opened(self, x: Live) -> None:
        """A server exchange of a watched process begins."""
        process = self.processes[x.pid]
        if process.open:
            process.crowded = x.start
        process.open[id(x)] = x
        if process.turns is not None:
            process.turns.read(x)
        if len(process.open) > MAX_OPEN:
            self._counts["open_requests_not_looked_at"] += 1
            del process.open[next(iter(process.open))]

    def hold(self, x: Live, identities: tuple[int, ...], born: tuple[int, ...]) -> None:
        """A client's request was written under ``identities``, its own first. Each but the
        first waits for the one before it, or that was copied from it at ``born``."""
        process = self.processes[x.pid]
        if self._keep(process, x):
            if numbered(identities[0]):
                process.virtual = True
            else:
                self.copies.called(x.pid)
            x.identities = identities
            x.born = born
            for identity in identities:
                self._by_identity.setdefault((x.pid, identity), []).append(x)

    def hold_turn(
        self, x: Live, cause: int, opened: bool, timer_due: bool, proxy: bool, frame: int = 0
    ) -> None:
        """A client's request was written after message ``cause`` was read in the same turn of
        the loop. ``opened``: before its connection was asked for, of which it is the first.
        ``timer_due``: a timer may have written it instead. ``frame``: Node's async context."""
        process = self.processes[x.pid]
        turns = process.turns_of(proxy)
        idle = process.pools.taken(x, turns.request(cause))
        kept = self._keep(process, x)
        if frame and kept and not own_number(x.uid):
            frames = process.frames
            if frames is None:
                frames = process.frames = Frames()
                self.wanted_frames.add(x.pid)
            frames.wrote(x, frame, opened or idle, turns.request(cause))
        certain = not timer_due and (opened or idle or len(process.open) == 1)
        turns.wrote(x, cause, certain, len(process.open) == 1)

    def came(self, pid: int, ts: int, answered: list[Live | None]) -> None:
        """A watched process has read a segment at ``ts`` that ended the replies to these
        requests (None: of no interest)."""
        process = self.processes[pid]
        if process.turns is not None:
            process.turns.came(ts, answered)
        if process.workers is not None:
            process.workers.came(ts, answered)

    def hold_worker(self, x: Live, own: int, woken: int, serves: bool) -> None:
        """A client's request was written by a thread that carries none: in its segment
        ``own``, after one in segment ``woken`` (0: not known) had woken it. ``serves``: it
        has served requests."""
        process = self.processes[x.pid]
        process.workers = process.workers or Workers()
        if self._keep(process, x):
            process.workers.wrote(x, own, woken, serves)

    def woke(self, pid: int, uid: int, segment: int, how: int, ts: int) -> None:
        """The response to request ``uid`` has led, at ``ts``, to the waking of a thread in
        ``segment``;
        ``how``: through how many others, and whether it came to wait too late (LATE)."""
        process = self.processes.get(pid)
        if process is not None and process.workers is not None:
            process.workers.woke(uid, segment, how, ts)

    def responded_by_worker(self, server: Live, segment: int, reached: int, ts: int) -> None:
        """Its response begins, which ends ``segment`` of the thread that writes it; what had
        reached that one last is the response to request ``reached`` (0: none)."""
        process = self.processes[server.pid]
        if process.workers is not None:
            process.workers.woke(reached, segment, 0, ts)
            for x, rule in process.workers.answered(server, segment):
                self._threads.claimed(x, server, rule, ts)

    def call_ended(self, x: Live) -> None:
        """A client's request of a watched process is over."""
        process = self.processes[x.pid]
        if process.turns is not None:
            process.pools.released(x)
        if process.workers is not None:
            process.workers.ended(x)

    def closed(self, pid: int, ends: Endpoints) -> None:
        """A connection of a watched process is there no more."""
        self.processes[pid].pools.closed(ends)

    def responded(self, server: Live, identity: int, born: int, ts: int) -> None:
        """Its response begins, under this identity (0: not known), which has been there since
        ``born`` (0: not known)."""
        process = self.processes[server.pid]
        if not identity:
            return
        if not numbered(identity):
            self.copies.answered(server.pid)
        process.sharing.compare(server, identity, born, ts)
        process.answering[id(server)] = identity, born
        self._claim_all(process, server, identity, max(born, server.start), ts)

    def responded_in_turn(
        self, server: Live, cause: int, timer_due: bool, proxy: bool, ts: int, frame: int = 0
    ) -> None:
        """Its response begins, after message ``cause`` was read in the same turn."""
        process = self.processes[server.pid]
        turns = process.turns_of(proxy)
        alone = len(process.open) == 1
        turns.answered(server, cause, timer_due, alone)
        frames = process.frames
        if frame and frames is not None:
            followed = 0 if timer_due else cause
            for x in frames.answered(server, frame, followed, turns, alone, ts):
                self._bind(x, server, FRAME)
        self._claim_turns(process, turns, server, ts)

    def tick(self, now: int) -> None:
        """Looks again at requests whose rule was not believed."""
        for process in self.processes.values():
            if process.late is not None and process.turns is not None:
                process.late.tick(process.turns, process.frames, now)

    def unanswered(self, pid: int) -> None:
        """A request of a thread or task with a context was nobody's."""
        if pid in self.processes:
            self.copies.unanswered(pid)

    def finished(self, server: Live) -> None:
        """A server exchange of a watched process is over."""
        process = self.processes[server.pid]
        if process.turns is not None:
            self._claim_turns(process, process.turns, server, server.end)
        follows = process.turns or process.workers or process.virtual
        if follows and process.crowded < server.start and not process.own_account:
            for x in process.sole_claims(server):  # no other was open during all of it
                self._bind(x, server, SOLE)
        identity, born = process.answering.pop(id(server), (0, 0))
        if identity:  # what was asked for while the response was on its way
            self._claim_all(process, server, identity, max(born, server.start), server.end)
        process.open.pop(id(server), None)
        self._abandon(process)

    def ended(self, pid: int) -> None:
        """The process has ended."""
        process = self.processes.pop(pid, None)
        if process is not None:
            self._end(process)
        self.copies.ended(pid)

    def flush(self) -> None:
        """The end: no more responses will come."""
        for process in self.processes.values():
            self._end(process)

    def stats(self) -> dict[str, int]:
        """Counters for the ledger."""
        return {"requests_held": self.held, **stats_of(self.processes.values())}

    def checks(self, pid: int) -> dict[str, int | str]:
        """The same for one process: whether it is believed, and the tests behind that."""
        process = self.processes.get(pid)
        return process.checks() if process is not None else {}

    # -- inside ----------------------------------------------------------------------

    def _keep(self, process: Watched, x: Live) -> bool:
        if not process.open:
            process.own_account = True
            self._abstain(x, "no_request_was_open")
            return False
        x.on_trial = True
        process.held.append(x)
        self.held += 1
        if self.held > self.hold_at_most:
            self._let_go_of_oldest()
        return True

    def _claim_turns(self, process: Watched, turns: Turns, server: Live, until: int) -> None:
        frames, alone = process.frames, len(process.open) == 1
        for x in turns.claimed(server):
            if not x.settled and server.start <= x.start <= until:
                self._bind(x, server, TURN)
                if frames is not None:
                    for other in frames.shared(x, server, turns, alone, until):
                        self._bind(other, server, FRAME)

    def _claim_all(
        self, process: Watched, server: Live, identity: int, since: int, until: int
    ) -> None:
        """What was written by this task; what was copied from its context."""
        self._claim(process, server, identity, since, until)
        context = identity & CONTEXT_BITS
        if context != identity:
            self._claim(process, server, context, since, until)

    def _claim(self, process: Watched, server: Live, identity: int, since: int, until: int) -> None:
        held = self._by_identity.pop((server.pid, identity), None)
        if held is None:
            return
        earlier = []
        for x in held:
            if x.settled:
                continue
            if not since <= x.start <= until:
                earlier.append(x)
                continue
            at = x.identities.index(identity)
            copied = [born for born in x.born[: at + 1] if born]
            if copied and min(copied) < server.start:
                earlier.append(x)  # begun for an earlier exchange
            elif not process.sharing.alone:
                self._abstain(x, "identity_is_shared")
            else:
                own = own_rule(identity)
                self._bind(x, server, COPIED if copied else AWAITED if at else own)
                self.copies.decided(x.pid, bool(copied))
        if earlier:
            self._by_identity[server.pid, identity] = earlier

    def _end(self, process: Watched) -> None:
        process.open.clear()
        self._abandon(process)
        if process.late is not None:
            process.late.end()

    def _abandon(self, process: Watched) -> None:
        """Lets go of requests that no exchange can claim any more."""
        first = next(iter(process.open.values())).start if process.open else 1 << 63
        held = process.held
        while held and (held[0].settled or held[0].start < first):
            self._forget(held.popleft())

    def _let_go_of_oldest(self) -> None:
        process = min((p for p in self.processes.values() if p.held), key=lambda p: p.held[0].start)
        self._counts["requests_held_given_up"] += 1
        self._forget(process.held.popleft())

    def _forget(self, x: Live) -> None:
        self.held -= 1
        for identity in x.identities:
            key = (x.pid, identity)
            waiting = self._by_identity.get(key)
            if waiting is not None:
                waiting = [other for other in waiting if other is not x and not other.settled]
                if waiting:
                    self._by_identity[key] = waiting
                else:
                    del self._by_identity[key]
        process = self.processes.get(x.pid)
        workers = process.workers if process is not None else None
        disagree = workers is not None and workers.disagree(x)
        told = workers is not None and workers.told(x)
        if workers is not None:
            workers.forget(x)
        if x.settled or x.claimed:
            return
        if x.identities:
            self._abstain(x, "no_response_of_its_task")
            self.unanswered(x.pid)
            return
        if workers is not None:
            reason = "wakes_disagree" if disagree else "wakes_not_certain"
            self._abstain(x, reason if told else "no_wake_told")
            return
        turns = process.turns if process is not None else None
        if process is not None and turns is not None:
            late = process.late = process.late or Late(self._bind_late, self._abstain)
            if late.take(x, turns, process.frames):
                return
        contradicted = turns is not None and turns.contradicted(x.uid)
        self._abstain(x, "turns_disagree" if contradicted else "turn_not_certain")
