"""What is known of one process whose requests are held, and what that comes to in numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

from otel_ebpf.correlation.frames import Frames
from otel_ebpf.correlation.identities import Sharing, numbered
from otel_ebpf.correlation.late import Late
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.turns import Pools, Turns
from otel_ebpf.correlation.workers import Workers


class Watched:
    """One process."""

    __slots__ = (
        "answering",
        "crowded",
        "frames",
        "held",
        "late",
        "open",
        "own_account",
        "pools",
        "sharing",
        "turns",
        "virtual",
        "workers",
    )

    def __init__(self) -> None:
        self.turns: Turns | None = None
        self.frames: Frames | None = None
        self.late: Late | None = None
        self.workers: Workers | None = None
        self.pools = Pools()
        self.crowded = 0
        """Nanoseconds when an exchange began while another was open."""
        self.virtual = False
        """Virtual threads have made requests; who bore them is not told."""
        self.own_account = False
        """It has made requests while no exchange was open."""
        self.open: dict[int, Live] = {}
        """Server exchanges by their id(), in the order in which they were read."""
        self.held: deque[Live] = deque()
        self.answering: dict[int, tuple[int, int]] = {}
        """id() of an exchange whose response has begun -> its identity, and when that came
        to be."""
        self.sharing = Sharing()

    def turns_of(self, proxy: bool) -> Turns:
        """Its loop's turns, followed from now on if they were not."""
        if self.turns is None:
            self.turns = Turns(proxy)
            for server in self.open.values():
                self.turns.read(server)
        return self.turns

    def sole_claims(self, server: Live) -> Iterator[Live]:
        """The requests of an exchange beside which no other was open."""
        turns, workers = self.turns, self.workers
        for x in self.held:
            if x.settled or x.claimed or x.relayed:
                continue
            if x.identities and not numbered(x.identities[0]):
                continue
            if not server.start <= x.start <= server.end:
                continue
            if turns is not None:
                owner = turns.owner(x.uid)
                if (owner is not None and owner is not server) or turns.contradicted(x.uid):
                    continue
            if workers is None or not workers.disagree(x):
                yield x

    def checks(self) -> dict[str, int | str]:
        """Whether what it shows of itself is believed, and the tests behind that."""
        told: dict[str, int | str] = {}
        turns = self.turns
        if turns is not None:
            guarded, against = turns.guarded, turns.against
            told["turns"] = "believed" if turns.believed(True) else "not believed"
            told["turns_right"] = f"{guarded.right} of {guarded.tested}"
            if against.tested:
                told["turns_against_guards_right"] = f"{against.right} of {against.tested}"
        frames = self.frames
        if frames is not None:
            told["async_contexts"] = "believed" if frames.believed(True) else "not believed"
            rules = (frames.guarded, frames.against)
            right, tested = sum(r.right for r in rules), sum(r.tested for r in rules)
            told["async_contexts_right"] = f"{right} of {tested}"
        if self.workers is not None:
            told.update(self.workers.checks())
        if self.sharing.answered:
            told["contexts"] = "believed" if self.sharing.alone else "not believed"
            told["contexts_shared"] = f"{self.sharing.shared} of {self.sharing.answered}"
        return told


def stats_of(processes: Collection[Watched]) -> dict[str, int]:
    """Counters for the ledger, over all of them."""
    beliefs = [b for p in processes if p.workers for b in p.workers.believed()]
    turns = [p.turns for p in processes if p.turns is not None]
    frames = [p.frames for p in processes if p.frames is not None]
    return {
        "workers_tested": sum(b.tested for b in beliefs),
        "workers_right": sum(b.right for b in beliefs),
        "workers_rules_closed": sum(not b.open for b in beliefs),
        "turns_tested": sum(t.guarded.tested for t in turns),
        "turns_right": sum(t.guarded.right for t in turns),
        "turns_against_guards_tested": sum(t.against.tested for t in turns),
        "turns_against_guards_right": sum(t.against.right for t in turns),
        "async_contexts_tested": sum(f.guarded.tested + f.against.tested for f in frames),
        "async_contexts_right": sum(f.guarded.right + f.against.right for f in frames),
        "identities_compared": sum(p.sharing.answered for p in processes),
        "identities_shared": sum(p.sharing.shared for p in processes),
        "processes_with_shared_identities": sum(not p.sharing.alone for p in processes),
    }
