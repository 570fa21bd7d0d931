"""Pairing by order: the n-th reply answers the n-th request.

One miscounted would give each of the following ones another's reply. Where the count may be wrong
(a connection joined midway, bytes that were not seen) nothing is told of until it is right again
for certain: see ``sync``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import Any, Generic, Protocol, TypeVar

from .base import REQUEST, RESPONSE, Message
from .database import DONE
from .half import BAD, UNIT, Half
from .pairing import Pairing
from .sync import JOINED, SYNCED, Sync

MAX_OUTSTANDING = 4096
"""Most requests that wait for their replies; above it counting is given up."""


class Place(Protocol):
    """Where something begins: a ``Half`` tells it of a unit, and a ``Message`` of itself."""

    start: int
    token: Any
    offset: int


Call = TypeVar("Call", bound=Message)


class InOrder(Pairing, Generic[Call]):
    """One connection. Never raises on any bytes.

    A reply may be longer than what was captured, so that no framing shows its end: then
    ``_replies`` is ``lost``, and the end is looked for in what follows. Memory is bounded by
    the halves and ``MAX_OUTSTANDING`` requests.
    """

    __slots__ = ("_began", "_guard_replies", "_guard_requests", "_last", "_outstanding", "_sync")

    def __init__(self, requests: Half, replies: Half) -> None:
        super().__init__(requests, replies)
        self._sync = Sync()
        self._guard_requests = self._guard_replies = False
        """``_may_ask``, or ``_may_answer``, is asked about each segment, not only while the count
        is in doubt or a half is lost."""
        self._outstanding: deque[Call] = deque()
        self._began: tuple[int, Any, int] | None = None
        """Nanoseconds, token and offset at which the reply to the first of them began, if so."""
        self._last: tuple[int, Any] = (0, None)
        """End and token of the server's latest segment."""

    @property
    def in_step(self) -> bool:
        """Which reply is whose is known, and so is where requests begin."""
        return self._sync.state == SYNCED and not self._requests.lost

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return self._replies.lost and bool(self._outstanding)

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        self._sync.begin(fresh)

    def feed(
        self,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
        tail: bytes = b"",
    ) -> list[Message]:
        """See ``base.Parser.feed``."""
        out: list[Message] = []
        if self.upgraded is not None or not length:
            return out
        self._out = out
        sync, requests, replies = self._sync, self._requests, self._replies
        usual = sync.state == SYNCED and not (requests.lost or replies.lost)
        if direction == self.client:
            if (
                (usual and not self._guard_requests)
                or (requests.inside and not requests.lost)
                or self._may_ask(data, ts)
            ):
                self._read(requests, data, length, ts, token, tail)
            for message in out:
                if message.kind == REQUEST:
                    message.end = end_ts
                    message.last_token = token
        else:
            self._last = (end_ts, token)
            if (usual and not self._guard_replies) or self._may_answer(data, length, tail):
                self._read(replies, data, length, ts, token, tail)
        sync.last = end_ts
        return out

    def _read(self, half: Half, data: bytes, length: int, ts: int, token: Any, tail: bytes) -> None:
        """The units of a segment."""
        take = self._request if half is self._requests else self._reply
        sync = self._sync
        at, size = 0, len(data)
        while at < size:
            at, outcome = half.feed(data, at, ts, token)
            if outcome == UNIT:
                take()
                if self.upgraded is not None or sync.state == JOINED:
                    return
            elif outcome == BAD:
                self._lose(half)
                return
        if length > size:
            outcome = half.skip(length - size)
            if outcome == UNIT:
                take()
            elif outcome == BAD:
                self._torn(half, length - size, tail)

    # What a protocol says of its own

    @abstractmethod
    def _request(self) -> None:
        """A unit of the client's is whole: what is in ``_requests`` now."""

    @abstractmethod
    def _reply(self) -> None:
        """A unit of the server's is whole: what is in ``_replies`` now."""

    @abstractmethod
    def _begins(self, data: bytes) -> bool:
        """Whether a segment of the client's begins with a request, as far as it can be told."""

    def _torn(self, half: Half, missing: int, tail: bytes) -> None:
        """The last ``missing`` bytes of a segment, of which at most ``tail`` is known, hold more
        than the rest of one unit."""
        self._lose(half, desync=False)

    def _follow(self, data: bytes, length: int, tail: bytes) -> None:
        """A segment of replies that are ``lost``: whether it shows their end."""

    def _end(self, call: Call) -> None:
        """A reply that was lost is over, and its call, the only one, with it."""
        self._answer(call, DONE, truncated=True)

    def _forget(self) -> None:
        """What was under way tells nothing of what follows."""
        self._outstanding.clear()
        self._began = None
        self._requests.reset()
        self._replies.reset()

    # Segments

    def _may_ask(self, data: bytes, ts: int) -> bool:
        """A segment of the client's comes where a request may begin: whether to read it."""
        begins = self._begins(data)
        if self._sync.state == SYNCED:
            self._next_turn(begins)
        elif self._sync.asks(begins, ts, bool(self._outstanding)):
            self._requests.lost = self._replies.lost = False
            self._restart()
        return self._sync.state != JOINED and not self._requests.lost

    def _next_turn(self, begins: bool) -> None:
        """What a request, if the segment begins with one, tells of halves that were lost."""
        if begins:
            if self._replies.lost:
                self._settle_lost()
            if self._requests.lost and not self._outstanding:
                self._requests.lost = False

    def _restart(self) -> None:
        """Counting begins anew, with the request that is read next."""
        self._forget()

    def _may_answer(self, data: bytes, length: int, tail: bytes) -> bool:
        """Whether to read a segment of the server's."""
        if self._sync.state == JOINED:
            return False
        if self._replies.lost:
            self._follow(data, length, tail)
            return False
        return True

    # Calls

    def _ask(self, call: Call) -> None:
        """A request is whole, and waits for its reply unless it is ``oneway``. Without a head it
        is never told of."""
        if self._sync.state == SYNCED and call.head is not None:
            self._serial += 1
            call.stream = self._serial
            self._out.append(call)
        if not call.oneway:
            self._outstanding.append(call)
            if len(self._outstanding) > MAX_OUTSTANDING:
                self._lose(self._replies)

    def _note_start(self) -> None:
        """A unit of a reply is there; the first one is where it began."""
        if self._began is None:
            half = self._replies
            self._began = half.start, half.token, half.offset

    def _answer(self, call: Call, head: Any, truncated: bool = False) -> Message | None:
        """The reply to ``call`` has ended with the server's latest segment; None: nothing is
        told of that call."""
        began, self._began = self._began, None
        if not call.stream:
            return None
        end, token = self._last
        start, first, offset = began or (end, token, 0)
        message = Message(RESPONSE, 1 - self.client, start, first, offset, head)
        message.stream = call.stream
        message.end = end
        message.last_token = token
        message.complete = True
        message.truncated = truncated
        self._out.append(message)
        return message

    def _settle_lost(self) -> None:
        """The reply whose end no framing showed has ended."""
        outstanding = self._outstanding
        if len(outstanding) > 1:
            self._lose(self._replies, desync=False)
            return
        if outstanding:
            self._end(outstanding.popleft())
        self._replies.reset()
        self._replies.lost = False

    def _extra(self) -> None:
        """A reply came that nobody waits for."""
        if self._sync.state == SYNCED:
            self.desyncs += 1
        self._sync.extra()

    def _lose(self, half: Half, desync: bool = True) -> None:
        """From here on it is not known which reply is whose."""
        if desync and self._sync.state == SYNCED:
            self.desyncs += 1
        half.lost = True
        told = set(map(id, self._out))
        for call in self._outstanding:
            if call.stream:
                call.error = "response_lost"
                if id(call) not in told:
                    self._out.append(call)
        self._sync.lose()
        self._forget()

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out = self._out = []
        if self._replies.lost and not error:
            self._settle_lost()
        self._forget()
        return out
