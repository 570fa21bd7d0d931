"""What follows from what in loops that run each callback to its end (rule 6).

Between two waits such a loop reads something, and what it writes next follows from that: a
request that it read, or the response to one that it had sent, which is then for the same
exchange. So messages hang together, and one of them names the exchange: a request that was
read, or a response that was written (backwards from it, which is certain where forwards may
fail). Two exchanges that hang together are a contradiction, and nothing is said of either.

Backwards, from a response that was written, this is certain. Forwards it is a rule that a program
may break (it sleeps; it waits for a connection of a pool), so it is believed as long as it is seen
to be right: every response that is written while other exchanges are open tests it, as its exchange
is known without it. Where one of two guards speaks it is tested by itself: a timer was due that may
have written instead; no other connection was idle, so that somebody may have waited for this one.
"""

from __future__ import annotations

from collections import OrderedDict

from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.model import Endpoints

TURN = "turn"
SEGMENT = 1 << 62
"""With the time of a read: the kernel half's number of a segment from a server of which several
requests may wait (TURN_SEGMENT)."""
MAX_MESSAGES = 16_384
"""Messages of one process that are remembered."""
ENOUGH = 100
"""Responses that must have tested a rule before it is believed."""
ENOUGH_ALONE = 1000
"""The same for the rule with guards, in a program where the rule without fails."""
TRUST = 0.999
"""Share of them that it must have told right."""
FEW = 20
"""Tests that suffice to see that a rule fails."""
WINDOW = 20_000
"""Responses after which older ones count half."""


class _Group:
    """Messages that hang together; ``held`` are the requests of them that wait."""

    __slots__ = ("conflict", "held", "into", "owner")

    def __init__(self, owner: Live | None = None) -> None:
        self.owner = owner
        self.held: list[Live] = []
        self.conflict = False
        self.into: _Group | None = None


def _find(group: _Group) -> _Group:
    top = group
    while top.into is not None:
        top = top.into
    while group is not top:
        group.into, group = top, group.into
    return top


class Tested:
    """How often a rule was right; older tests count less.

    Attributes:
        tested, right: responses of which the rule told the exchange, and told it right.
    """

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self.tested = 0
        self.right = 0

    @property
    def trusted(self) -> bool:
        """It is believed."""
        return self.tested >= self._enough and self.right >= self.tested * TRUST

    @property
    def fails(self) -> bool:
        """It is far from being right."""
        return self.tested >= FEW and self.right < self.tested * 0.9

    @property
    def verdict(self) -> bool | None:
        """Whether it is believed; None: too few tests, and none that it failed."""
        if self.tested < self._enough:
            return None if self.right == self.tested else False
        return self.trusted

    def test(self, right: bool) -> None:
        """One response more."""
        self.tested += 1
        self.right += right
        if self.tested >= WINDOW:
            self.tested >>= 1
            self.right >>= 1


class Turns:
    """The messages of one process, by the kernel's numbers.

    Args:
        proxy: it runs no code of its users'; believed until it fails.

    Attributes:
        guarded: the rule where its guards are silent; against: where one speaks.
    """

    def __init__(self, proxy: bool = False) -> None:
        self._groups: OrderedDict[int, _Group] = OrderedDict()
        self._told: OrderedDict[int, tuple[int, bool]] = OrderedDict()
        """Message -> (exchange that the rule tells, or 0; no guard spoke on the way)."""
        self._segment = 0, 0
        """When the latest segment was read, and how many replies it has ended."""
        self._only = 0, 0
        """The latest segment that has ended one reply, and whose that was."""
        self.guarded = Tested(0 if proxy else ENOUGH)
        self.against = Tested(0 if proxy else ENOUGH)

    def read(self, exchange: Live) -> None:
        """A request was read."""
        if exchange.uid:
            self._keep(exchange.uid, _Group(exchange))
            self._tell(exchange.uid, exchange.uid, True)

    def wrote(self, x: Live, cause: int, certain: bool, alone: bool) -> None:
        """Request ``x`` was written after ``cause`` was read (0: nothing known).
        ``certain``: no guard speaks against it; ``alone``: nor is there another exchange."""
        group = _Group()
        group.held.append(x)
        self._keep(x.uid, group)
        told, guarded = self._told.get(cause, (0, True))
        self._tell(x.uid, told, guarded and certain)
        before = self._groups.get(cause)
        if before is not None and (self.believed(certain) or (certain and alone)):
            self._join(group, before)

    def came(self, ts: int, answered: list[Live | None]) -> None:
        """A segment that was read at ``ts`` has ended the replies to these requests (None: of no
        interest). What follows from it follows from the one that was answered; of several
        nobody can tell which."""
        count = len(answered) + (self._segment[1] if self._segment[0] == ts else 0)
        self._segment = ts, count
        x = answered[0] if count == 1 else None
        key = SEGMENT | ts
        self._only = (key, x.uid) if x is not None else (0, 0)
        if x is None:
            self._groups.pop(key, None)
            self._told.pop(key, None)
            return
        group = self._groups.get(x.uid)
        if group is not None:
            self._keep(key, group)
            self._tell(key, *self._told.get(x.uid, (0, True)))

    def request(self, cause: int) -> int:
        """The message of which ``cause`` is the number, 0: one of several."""
        if cause & SEGMENT and not cause >> 63:
            return self._only[1] if cause == self._only[0] else 0
        return cause

    def believed(self, certain: bool) -> bool:
        """Whether the rule binds forwards now; ``certain``: where no guard speaks."""
        if not certain:
            return self.against.trusted
        guarded = self.guarded
        if not guarded.trusted:
            return False
        return not self.against.fails or guarded.tested >= ENOUGH_ALONE

    def named(self, uid: int) -> tuple[int, bool] | None:
        """The exchange that the rule names for request ``uid``, and whether its guards were
        silent; None: it names none, or what hangs together with it is another's."""
        told, guarded = self._told.get(uid, (0, True))
        owner = self.owner(uid)
        if not told or (owner is not None and owner.uid != told):
            return None
        return told, guarded

    def verdict(self, guarded: bool) -> bool | None:
        """Whether the rule is believed; None: not known yet."""
        verdict = self.guarded.verdict
        if verdict and not self.believed(True):
            verdict = None
        if verdict is False or guarded:
            return verdict
        against = self.against.verdict
        return against if not against else verdict

    def answered(self, exchange: Live, cause: int, timer_due: bool, alone: bool) -> None:
        """The response to an exchange begins, after ``cause`` was read. Where that one is
        ``alone`` it tests nothing."""
        told, guarded = self._told.get(cause, (0, True))
        if told and not alone:
            rule = self.guarded if guarded and not timer_due else self.against
            rule.test(told == exchange.uid)
        own, before = self._groups.get(exchange.uid), self._groups.get(cause)
        if own is not None and before is not None and not timer_due:
            self._join(own, before)

    def _tell(self, uid: int, exchange: int, guarded: bool) -> None:
        self._told[uid] = exchange, guarded
        if len(self._told) > MAX_MESSAGES:
            self._told.popitem(last=False)

    def claimed(self, exchange: Live) -> list[Live]:
        """Takes the held requests that hang together with this exchange, and no other."""
        group = self._groups.get(exchange.uid)
        if group is None:
            return []
        top = _find(group)
        if top.conflict:
            return []
        held, top.held = top.held, []
        return held

    def owner(self, uid: int) -> Live | None:
        """The exchange that request ``uid`` is for, as far as is known."""
        group = self._groups.get(uid)
        if group is None:
            return None
        top = _find(group)
        return None if top.conflict else top.owner

    def contradicted(self, uid: int) -> bool:
        """It hangs together with several exchanges."""
        group = self._groups.get(uid)
        return group is not None and _find(group).conflict

    def _join(self, one: _Group, other: _Group) -> None:
        one, other = _find(one), _find(other)
        if one is other:
            return
        if one.owner is not None and other.owner is not None and one.owner is not other.owner:
            one.conflict = True
        one.conflict = one.conflict or other.conflict
        one.owner = one.owner or other.owner
        one.held += other.held
        other.held = []
        other.into = one

    def _keep(self, uid: int, group: _Group) -> None:
        self._groups[uid] = group
        if len(self._groups) > MAX_MESSAGES:
            self._groups.popitem(last=False)


class Pools:
    """The connections of one process, by destination: whether one is idle."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], set[int]] = {}
        self._latest: dict[int, int] = {}
        """Connection -> the request that was answered there last."""
        self._busy: dict[int, int] = {}
        """Connection -> requests under way there."""

    def taken(self, x: Live, cause: int) -> bool:
        """A request was written on a connection, after message ``cause`` was read (0: it is not
        known what). Whether nobody can have waited for that connection: another one was
        idle; or it was itself, as that message did not set it free; or others' requests are
        under way there."""
        ends = x.endpoints
        if ends.datagram:
            return True
        idle = self._idle.setdefault((ends.peer_address, ends.peer_port), set())
        idle.discard(id(ends))
        busy = self._busy.get(id(ends), 0)
        self._busy[id(ends)] = busy + 1
        if idle or busy:
            return True
        return bool(cause) and self._latest.get(id(ends), cause) != cause

    def released(self, x: Live) -> None:
        """Its response has come."""
        ends = x.endpoints
        if ends.datagram:
            return
        idle = self._idle.get((ends.peer_address, ends.peer_port))
        if idle is not None and x.error is None:
            idle.add(id(ends))
        if id(ends) in self._busy:
            self._latest[id(ends)] = x.uid
            self._busy[id(ends)] = max(0, self._busy[id(ends)] - 1)

    def closed(self, ends: Endpoints) -> None:
        """The connection is there no more."""
        self._latest.pop(id(ends), None)
        self._busy.pop(id(ends), None)
        idle = self._idle.get((ends.peer_address, ends.peer_port))
        if idle is not None:
            idle.discard(id(ends))
