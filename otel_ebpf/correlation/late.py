"""Requests of loops whose rule names an exchange, but is not believed yet in their process.

A rule earns belief by responses that it tells right. Requests from before that need not be
without a parent: they wait, at most as long as goroutines of an unknown kind do, until their
process's rules are believed, or seen to fail.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from otel_ebpf.correlation.frames import RULE as FRAME
from otel_ebpf.correlation.frames import Frames
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.turns import TURN, Turns

PATIENCE = 8_000_000_000
"""Nanoseconds that a request waits, from its end on."""
MAX_WAITING = 4096
"""Requests of one process that wait; above it the oldest is let go of."""


class _Waiting(NamedTuple):
    until: int
    x: Live
    turn: tuple[int, bool] | None
    frame: tuple[int, bool] | None
    """(number of the exchange, whether the rule's guards were silent) that each rule names."""


class Late:
    """The requests of one process that wait.

    Args:
        bind: (request, number of its exchange, rule); abstain: (request, reason).
    """

    def __init__(
        self, bind: Callable[[Live, int, str], None], abstain: Callable[[Live, str], None]
    ) -> None:
        self._bind = bind
        self._abstain = abstain
        self._waiting: deque[_Waiting] = deque()
        self._state: tuple[bool | None, ...] = ()

    def take(self, x: Live, turns: Turns, frames: Frames | None) -> bool:
        """Whether ``x``, which no response has claimed, is taken: some rule may come to be
        believed that names its exchange."""
        turn = turns.named(x.uid)
        frame = frames.named(x.uid) if frames is not None else None
        if turns.contradicted(x.uid) or (turn and frame and turn[0] != frame[0]):
            return False
        waiting = _Waiting(x.end + PATIENCE, x, turn, frame)
        if self._judge(waiting, turns, frames):
            return True
        if not self._may_come(waiting, turns, frames):
            return False
        self._waiting.append(waiting)
        if len(self._waiting) > MAX_WAITING:
            self._abstain(self._waiting.popleft().x, "turn_not_certain")
        return True

    def tick(self, turns: Turns, frames: Frames | None, now: int) -> None:
        """Looks again at those that wait, if there is something new to be known of them."""
        waiting = self._waiting
        if not waiting:
            return
        state = _state(turns, frames)
        if state == self._state and waiting[0].until > now:
            return
        self._state = state
        self._waiting = deque()
        for entry in waiting:
            if entry.x.settled or self._judge(entry, turns, frames):
                continue
            if entry.until > now and self._may_come(entry, turns, frames):
                self._waiting.append(entry)
            else:
                self._abstain(entry.x, "turn_not_certain")

    def end(self) -> None:
        """No more will be known."""
        while self._waiting:
            x = self._waiting.popleft().x
            if not x.settled:
                self._abstain(x, "turn_not_certain")

    def _judge(self, waiting: _Waiting, turns: Turns, frames: Frames | None) -> bool:
        for named, rule, believed in (
            (waiting.turn, TURN, turns.verdict),
            (waiting.frame, FRAME, frames.verdict if frames is not None else None),
        ):
            if named is not None and believed is not None and believed(named[1]):
                if turns.contradicted(waiting.x.uid):
                    return False
                self._bind(waiting.x, named[0], rule)
                return True
        return False

    @staticmethod
    def _may_come(waiting: _Waiting, turns: Turns, frames: Frames | None) -> bool:
        turn, frame = waiting.turn, waiting.frame
        if turn is not None and turns.verdict(turn[1]) is None:
            return True
        return frame is not None and frames is not None and frames.verdict(frame[1]) is None


def _state(turns: Turns, frames: Frames | None) -> tuple[bool | None, ...]:
    state = (turns.verdict(True), turns.verdict(False))
    return state if frames is None else (*state, frames.verdict(True), frames.verdict(False))
