"""For whom threads work that serve nobody themselves (rule 6).

The kernel half cuts each thread's work into segments, which end where it writes a response, and
tells who wakes whom (bpf/pools.h). A segment means the request that the response is for; so
a client's request is held until the response of one of these segments is written:

own     the thread that wrote the request answers itself;
out     its response led to the waking of a thread, in that segment;
in      a thread in that segment had woken the one that wrote it;
held    that thread waits, and holds the future of the job in which it was written (CPython).

A thread that waits for a result always sleeps, so "out" tells. A worker that is woken may find
that another has taken what it was woken for, and take somebody else's work: "in" says
something only beside "out". "Held" needs no wake, and is about one object. Where two segments are
named there is no parent. These are rules that a program may break, so each is believed as long as
what it claims is seen to lie within the exchange, which what is claimed by mistake often does not.
"""

from __future__ import annotations

from collections import OrderedDict

from otel_ebpf.correlation.belief import Belief
from otel_ebpf.correlation.chains import Chains
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.turns import SEGMENT

OWN = "pool.segment"
OUT = "pool.wake"
BOTH = "pool.wake+woken"
HELD = "pool.future"
FAR = "far"
"""As ``OUT``, through threads between; only counted."""

LATE = 128
NO_WAKE = 64
"""It waits for the job, as memory tells: nobody was woken."""
MAX_CAME = 1024
"""Segments of one process of which it is known which replies they ended."""
MAX_ASKED = 16_384
"""Requests of one process of which it is known what was told."""


class _Asked:
    """A request that is held, and the segments that it may be for (0: none)."""

    __slots__ = ("held", "late", "outs", "own", "serves", "woken", "x")

    def __init__(self, x: Live, own: int, woken: int, serves: bool) -> None:
        self.x = x
        self.serves = serves
        self.own = own
        self.woken = woken
        self.outs: dict[int, tuple[int, int]] = {}
        """Segment -> how many threads were between, and when its thread was woken."""
        self.late: set[int] = set()
        self.held = 0

    @property
    def far(self) -> bool:
        """Its response has woken a thread through others."""
        return any(hops for hops, _ in self.outs.values())

    @property
    def disagrees(self) -> bool:
        """It may be for several."""
        named = {*self.outs, self.own} if self.serves else {*self.outs}
        if self.held:
            named = {self.held, *named} - self.late
        return len(named) > 1


class Workers:
    """The requests and segments of one process.

    Attributes:
        rules: name -> what is thought of it.
    """

    def __init__(self) -> None:
        self._asked: OrderedDict[int, _Asked] = OrderedDict()
        self._of_segment: dict[int, list[_Asked]] = {}
        self._woken_by: OrderedDict[int, list[Live]] = OrderedDict()
        """Segment -> requests of threads that it had woken."""
        self._came: OrderedDict[int, tuple[list[int], int]] = OrderedDict()
        """Segments that were read -> requests whose replies ended with them, and LATE where a
        wake does not tell which of them it is about."""
        self.rules = {rule: Belief() for rule in (OWN, OUT, BOTH, HELD, FAR)}
        self._chains = Chains()

    def wrote(self, x: Live, own: int, woken: int, serves: bool) -> None:
        """A request was written in segment ``own`` of a thread that ``woken`` had woken;
        ``serves``: such a segment has meant a request before."""
        asked = self._asked[x.uid] = _Asked(x, own, woken, serves)
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)
        self._meant(own, asked)
        if woken:
            self._woken_by.setdefault(woken, []).append(x)
            if len(self._woken_by) > MAX_ASKED:
                self._woken_by.popitem(last=False)

    def came(self, ts: int, answered: list[Live | None]) -> None:
        """What was read at ``ts`` has ended the replies to these requests (None: no matter).

        Whoever waits for one of several is woken; others are not where they do not sleep yet.
        """
        uids = [x.uid for x in answered if x is not None]
        if uids:
            self._came[SEGMENT | ts] = uids, LATE if len(answered) > 1 else 0
            if len(self._came) > MAX_CAME:
                self._came.popitem(last=False)

    def ended(self, x: Live) -> None:
        """The response to a request is over."""
        self._chains.ended(x)

    def woke(self, uid: int, segment: int, how: int, ts: int) -> None:
        """The response to request ``uid`` has led to a wake of the thread of ``segment``; ``how``:
        how many threads were between the one that read it and this one, and LATE where this
        one began to wait after it had been read: that contradicts, but claims nothing; NO_WAKE
        where there was none, but the thread of ``segment`` waits for the job."""
        uids, unclear = self._came.get(uid, ((uid,), 0))
        for each in uids:
            self._woke(each, segment, how | unclear, ts)

    def _woke(self, uid: int, segment: int, how: int, ts: int) -> None:
        asked = self._asked.get(uid)
        if asked is None:
            return
        if how & NO_WAKE:
            self._held(asked, segment)
            return
        hops = how & ~LATE
        if hops:
            self._chains.woke(segment, hops, asked.outs)
        if segment in asked.outs:
            return
        asked.outs[segment] = hops, ts
        if how & LATE:
            asked.late.add(segment)
        asked.x.disputed = asked.disagrees
        if segment not in (asked.own, asked.held):
            self._meant(segment, asked)

    def _held(self, asked: _Asked, segment: int) -> None:
        if segment == asked.held:
            return
        if asked.held:
            asked.outs.setdefault(asked.held, (0, 0))  # two have waited for it
        if segment != asked.own and segment not in asked.outs:
            self._meant(segment, asked)
        asked.held = segment
        asked.x.disputed = asked.disagrees

    def answered(self, server: Live, segment: int) -> list[tuple[Live, str]]:
        """The response to ``server`` is written, which ends its thread's segment. Returns the
        requests of which that decides, with the rule."""
        decided = []
        woken = self._woken_by.pop(segment, ())
        clear = self._chains.tells_apart(segment)
        for asked in self._of_segment.pop(segment, ()):
            x = asked.x
            if not (x.settled or x.claimed):
                rule = self._judge(asked, segment, server.start <= x.start)
                # Which of several results woke it, threads between may have mixed up.
                several = asked.far and not asked.held and any(_overlap(x, y) for y in woken)
                if several and not (clear and self._alone(asked, segment, server)):
                    continue
                if rule and self.rules[rule].open:
                    decided.append((x, rule))
        return decided

    def believed(self) -> list[Belief]:
        """What is thought of the rules that give parents."""
        return [belief for rule, belief in self.rules.items() if rule != FAR]

    def checks(self) -> dict[str, int | str]:
        """Whether each rule is believed, and the tests behind that."""
        told: dict[str, int | str] = {}
        for rule, belief in self.rules.items():
            if rule != FAR and belief.tested:
                told[rule] = "believed" if belief.open else "not believed"
                told[rule + "_right"] = f"{belief.right} of {belief.tested}"
        return told

    def disagree(self, x: Live) -> bool:
        """It may be for several."""
        asked = self._asked.get(x.uid)
        return asked is not None and asked.disagrees

    def told(self, x: Live) -> bool:
        """Anything was said of it."""
        asked = self._asked.get(x.uid)
        return asked is not None and bool(asked.serves or asked.woken or asked.outs or asked.held)

    def forget(self, x: Live) -> None:
        """It is held no more. What contradicts may still come."""
        asked = self._asked.get(x.uid)
        if asked is None:
            return
        for segment in {asked.own, asked.held, *asked.outs}:
            waiting = self._of_segment.get(segment)
            if waiting is not None and asked in waiting:
                waiting.remove(asked)
                if not waiting:
                    del self._of_segment[segment]

    def _alone(self, asked: _Asked, segment: int, server: Live) -> bool:
        """No other result, of those that have woken nobody, may have woken the thread."""
        _, until = asked.outs.get(segment, (0, 0))
        for x in self._chains.around(asked.x, until):
            other = self._asked.get(x.uid)
            lost = other is not None and not (other.outs or other.held or other.serves)
            if lost and x.start >= server.start:
                return False
        return True

    def _meant(self, segment: int, asked: _Asked) -> None:
        if segment:
            self._of_segment.setdefault(segment, []).append(asked)

    def _judge(self, asked: _Asked, segment: int, within: bool) -> str:
        """The rule by which the request belongs to the segment's exchange, "" if it does not;
        ``within``: it was written after that exchange began."""
        own, out = asked.own == segment, segment in asked.outs
        if asked.held == segment:
            rule = HELD
        elif segment in asked.late or asked.held:
            return ""
        elif out:
            rule = BOTH if asked.woken == segment else FAR if asked.far else OUT
        elif own and not asked.outs:
            rule = OWN
        else:
            return ""
        self.rules[rule].test(within)
        return rule if within and rule != FAR and not asked.disagrees else ""


def _overlap(x: Live, other: Live) -> bool:
    """Two requests of one process were under way at the same time."""
    if x is other:
        return False
    before = x.finished and x.end <= other.start
    behind = other.finished and other.end <= x.start
    return not (before or behind)
