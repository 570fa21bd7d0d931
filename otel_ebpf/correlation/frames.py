"""Async contexts of Node: the frame of AsyncLocalStorage that runs (rule 6, beside turns).

A program that runs each request in a frame of its own (``AsyncLocalStorage.run``) writes the
request's response in it, and what it asks for meanwhile, however long it slept before. Frames
are told apart by their addresses, which move when memory is collected: then nothing is said.

Nothing makes a program do so, and a pool or a queue may write for one request in another's
frame: that of the one which has just made room. So what is written in the frame of the very call
whose response was read before says nothing by its frame, it is left to turns; a pool that cares
for contexts (Node's own) writes in another frame then. Nor is a call claimed that outlives the
exchange. What is left is believed as turns are: where it is seen to be right, by requests of which
their turns tell the exchange; with and without another idle connection apart.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.turns import Tested, Turns

RULE = "node.context"
ENOUGH = 50
"""Responses that must have tested a rule before it is believed."""
MAX_FRAMES = 16_384
"""Frames of one process that are remembered."""
MAX_IN_FRAME = 256
"""Requests of one frame that are remembered; above it the oldest is not."""


class _Asked(NamedTuple):
    x: Live
    guarded: bool
    inherited: bool
    """Written in the frame of the call whose response was read before: maybe for another one."""


class Frames:
    """The frames of one process, and what was written in them.

    Attributes:
        own: whether frames tell exchanges that overlap apart.
        guarded: the rule where a connection was idle; against: where none was.
    """

    def __init__(self) -> None:
        self._asked: OrderedDict[int, list[_Asked]] = OrderedDict()
        self._frame: OrderedDict[int, int] = OrderedDict()
        """Request -> its frame."""
        self._last: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """Frame -> (ns of its latest response, id of the connection)."""
        self._told: OrderedDict[int, tuple[int, bool]] = OrderedDict()
        """Request -> (exchange that its frame told, guarded), until its turn tells too."""
        self._named: OrderedDict[int, tuple[int, bool]] = OrderedDict()
        """The same of requests whose frame told it before it was believed."""
        self.own = Tested(ENOUGH)
        self.guarded = Tested(ENOUGH)
        self.against = Tested(ENOUGH)

    def wrote(self, x: Live, frame: int, guarded: bool, cause: int) -> None:
        """Request ``x`` was written in ``frame`` after message ``cause`` was read (0: not known);
        ``guarded``: on a connection that nobody else can have waited for."""
        asked = self._asked.setdefault(frame, [])
        asked.append(_Asked(x, guarded, self._frame.get(cause) == frame))
        if len(asked) > MAX_IN_FRAME:
            del asked[0]
        if len(self._asked) > MAX_FRAMES:
            self._asked.popitem(last=False)
        self._frame[x.uid] = frame
        if len(self._frame) > MAX_FRAMES:
            self._frame.popitem(last=False)

    def believed(self, guarded: bool) -> bool:
        """Whether the rule gives parents now."""
        return self.verdict(guarded) is True

    def named(self, uid: int) -> tuple[int, bool] | None:
        """The exchange that was answered in the frame of request ``uid``, and whether the
        rule's guard was silent; None: there was none."""
        return self._named.get(uid)

    def verdict(self, guarded: bool) -> bool | None:
        """Whether the rule is believed; None: not known yet."""
        own, rule = self.own.verdict, self._rule(guarded).verdict
        if guarded and rule is None:  # what holds where connections are waited for holds here
            rule = self.against.verdict or None
        return False if own is False or rule is False else own and rule

    def answered(
        self, server: Live, frame: int, cause: int, turns: Turns, alone: bool, until: int
    ) -> list[Live]:
        """The response to ``server`` is written in ``frame``, and follows from message ``cause``
        (0: nothing known). Returns the requests that are its exchange's. An exchange that is
        ``alone`` tests nothing."""
        told, guarded = self._told.pop(cause, (0, False))
        if told:
            self._rule(guarded).test(told == server.uid)
        connection = id(server.endpoints)
        before = self._last.get(frame)
        if not alone:
            shared = before is not None and before[0] > server.start and before[1] != connection
            self.own.test(not shared)
        self._last[frame] = (until, connection)
        if len(self._last) > MAX_FRAMES:
            self._last.popitem(last=False)
        return self._claimed(self._asked.pop(frame, []), server, turns, alone, until)

    def shared(self, x: Live, server: Live, turns: Turns, alone: bool, until: int) -> list[Live]:
        """Turns tell that request ``x`` is for ``server``: what was written in the same frame is
        too, also if that has moved since. Returns those requests."""
        asked = self._asked.get(self._frame.get(x.uid, 0))
        if asked is None or any(other.x is x and other.inherited for other in asked):
            return []
        found = self._claimed(asked, server, turns, alone, until)
        asked[:] = [other for other in asked if not other.x.settled and other.x not in found]
        return found

    def _claimed(
        self, asked: list[_Asked], server: Live, turns: Turns, alone: bool, until: int
    ) -> list[Live]:
        found = []
        for x, guarded, inherited in asked:
            if x.settled or inherited or not (server.start <= x.start and _over(x, until)):
                continue
            owner = turns.owner(x.uid)
            if owner is not None:
                if not alone:
                    self._rule(guarded).test(owner is server)
            elif not turns.contradicted(x.uid):
                if not alone:
                    self._tell(x.uid, server.uid, guarded)
                if self.believed(guarded):
                    found.append(x)
                else:
                    self._named[x.uid] = server.uid, guarded
                    if len(self._named) > MAX_FRAMES:
                        self._named.popitem(last=False)
        return found

    def _rule(self, guarded: bool) -> Tested:
        return self.guarded if guarded else self.against

    def _tell(self, uid: int, exchange: int, guarded: bool) -> None:
        self._told[uid] = exchange, guarded
        if len(self._told) > MAX_FRAMES:
            self._told.popitem(last=False)


def _over(x: Live, until: int) -> bool:
    """Whether its response has come by then."""
    return x.finished and x.end <= until
