"""Which answer of Thrift is whose.

Every message has a number, which its answer repeats with the method's name. Some libraries count
calls; many always say 0, for they wait for each answer, or know that answers come in order. So
where numbers repeat, calls are counted, and the count is believed as :mod:`.sync` has it.

Go's library says of calls without an answer that they have one. They are told by that: none of the
method was ever answered here, but several later calls were.
"""

from __future__ import annotations

from collections import deque

from .base import Message
from .sync import JOINED, SYNCED, Sync

MAX_OUTSTANDING = 4096
PASSED = 4
"""Answers to later calls after which one is believed to have none."""
_MAX_NAMES = 256


class Call:
    """A request whose answer is waited for.

    Attributes:
        request: as it was returned; name: the method's, without a service's.
        told: it was returned. doubtful: answers were lost since.
        passed: answers that came to later calls.
    """

    __slots__ = ("doubtful", "name", "passed", "request", "told")

    def __init__(self, request: Message, name: str, told: bool) -> None:
        self.request = request
        self.name = name
        self.told = told
        self.doubtful = False
        self.passed = 0


class Calls:
    """One connection's. What is given up has ``oneway`` set where it had no answer to come."""

    __slots__ = ("_answered", "_by_number", "_doubts", "_in_order", "_latest", "_size", "sync")

    def __init__(self) -> None:
        self._by_number: dict[int, deque[Call]] = {}
        """The oldest first."""
        self._latest = -1
        self._doubts = False
        self._answered: set[str] = set()
        """Methods that were."""
        self._in_order = True
        """No answer came before that to an earlier call of a method that has answers."""
        self._size = 0
        self.sync = Sync()

    def __len__(self) -> int:
        return self._size

    def asks(self, number: int, ts: int, begins: bool) -> bool:
        """A request comes, with an answer to come or without; ``begins``: a segment begins with
        it. Whether it may be told of: its answer will be known to be its own."""
        repeats = not number or number == self._latest
        self._latest = number
        sync = self.sync
        if not repeats or sync.state == SYNCED:
            return True
        waiting = self._by_number.get(number)
        if sync.asks(begins, ts, bool(waiting)):
            self._size -= len(self._by_number.pop(number, ()))
        return sync.state == SYNCED

    def add(self, number: int, call: Call) -> Call | None:
        """It waits; returns the one that is given up for it, if any."""
        if not call.told and self.sync.state == JOINED:
            return None
        oldest = None
        if self._size >= MAX_OUTSTANDING:
            first = next(iter(self._by_number))
            oldest = self._by_number[first].popleft()
            self._size -= 1
            if not self._by_number[first]:
                del self._by_number[first]
        self._by_number.setdefault(number, deque()).append(call)
        self._size += 1
        return oldest

    def answered(self, number: int, name: str, lost: list[Call]) -> Call | None:
        """The call that an answer is to; into ``lost`` go those whose answers will not come."""
        waiting = self._by_number.get(number)
        if waiting is None:
            if not number or number == self._latest:
                self.sync.extra()
            return None
        place = next((n for n, c in enumerate(waiting) if c.name == name or not name), -1)
        if place < 0:
            self.sync.extra()
            return None
        for _ in range(place):
            passed = waiting.popleft()
            passed.request.oneway = not passed.doubtful and passed.name not in self._answered
            lost.append(passed)
        call = waiting.popleft()
        self._size -= place + 1
        if not waiting:
            del self._by_number[number]
        if len(self._answered) < _MAX_NAMES:
            self._answered.add(call.name)
        if self._size and self._in_order:
            self._pass(call, lost)
        if self._doubts and not call.doubtful:
            self._drop_doubtful(lost)
        return call

    def known(self, number: int, name: str) -> bool:
        """Such an answer is waited for."""
        return any(c.name == name or not name for c in self._by_number.get(number, ()))

    def lose(self, answers: bool, lost: list[Call]) -> None:
        """Messages were lost: ``answers``, or requests."""
        self.sync.lose()
        if not answers:
            return
        for number, waiting in list(self._by_number.items()):
            # Of several with one number the next answer may be anyone's.
            if not number or len(waiting) > 1:
                lost += waiting
                self._size -= len(waiting)
                del self._by_number[number]
                continue
            waiting[0].doubtful = True
            self._doubts = True

    def clear(self, lost: list[Call]) -> None:
        """The connection ended well: into ``lost`` go those that had no answer to come."""
        for waiting in self._by_number.values():
            for call in waiting:
                if call.passed and call.name not in self._answered and self._in_order:
                    call.request.oneway = True
                    lost.append(call)
        self._by_number.clear()
        self._size = 0

    def _pass(self, answered: Call, lost: list[Call]) -> None:
        """Earlier calls are not answered yet."""
        over = []
        for number, waiting in self._by_number.items():
            call = waiting[0]
            if call.request.stream > answered.request.stream:
                continue
            if call.name in self._answered:
                self._in_order = False
                return
            call.passed += 1
            if call.passed >= PASSED and not call.doubtful:
                over.append(number)
        for number in over:
            call = self._by_number[number].popleft()
            call.request.oneway = True
            lost.append(call)
            self._size -= 1
            if not self._by_number[number]:
                del self._by_number[number]

    def _drop_doubtful(self, lost: list[Call]) -> None:
        """An answer came to a call that is younger than a loss: those before had theirs."""
        self._doubts = False
        doubtful = [n for n, waiting in self._by_number.items() if waiting[0].doubtful]
        for number in doubtful:
            waiting = self._by_number[number]
            while waiting and waiting[0].doubtful:
                lost.append(waiting.popleft())
                self._size -= 1
            if not waiting:
                del self._by_number[number]
