"""Pairing by key: a reply says which request it answers, by a number, a subject, a channel.

A unit that was not seen costs its own call and no other. What is needed is where units begin;
once that is lost, the next segment that begins with one shows it again.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from .base import REQUEST, RESPONSE, Message
from .half import BAD, UNIT, Half
from .pairing import Pairing


class ByKey(Pairing):
    """One connection. Never raises on any bytes.

    While a segment is read, its place is at hand for whatever is made of its units.
    """

    __slots__ = ("_end_ts", "_token")

    expires = False
    """Whether what waits for too long is looked for before each segment: ``_expire``."""

    def __init__(self, requests: Half, replies: Half) -> None:
        super().__init__(requests, replies)
        self._end_ts = 0
        self._token: Any = None

    @property
    def in_step(self) -> bool:
        """Where units begin is known, in both directions."""
        return not (self._requests.lost or self._replies.lost)

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return False

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        self._requests.lost = self._replies.lost = not fresh

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
        if self.expires:
            self._end_ts = ts
            self._expire(ts)
        self._end_ts = end_ts
        self._token = token
        half = self._requests if direction == self.client else self._replies
        if half.lost and not self._resumes(half, data, length, ts):
            return out
        at, size = 0, len(data)
        while at < size:
            at, outcome = half.feed(data, at, ts, token)
            if outcome == UNIT:
                self._unit(half)
                if half.lost:
                    return out
            elif outcome == BAD:
                self._lose(half)
                return out
        if length > size:
            self._torn(half, length - size, ts)
        return out

    # What a protocol says of its own

    @abstractmethod
    def _unit(self, half: Any) -> None:
        """A unit is whole: what is in ``half`` now."""

    @abstractmethod
    def _resumes(self, half: Any, data: bytes, length: int, ts: int) -> bool:
        """Whether a unit begins with this segment of a direction that was lost; then the half is
        reset and its ``lost`` is taken back."""

    def _expire(self, ts: int) -> None:
        """Gives up what has waited for too long by now; ``expires`` asks for it."""

    def _torn(self, half: Any, missing: int, ts: int) -> None:
        """The last ``missing`` bytes of a segment were not captured."""
        outcome = half.skip(missing)
        if outcome == UNIT:
            self._unit(half)
        elif outcome == BAD:
            self._lose(half, desync=False)

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        self._end_ts = ts
        return super().gap(direction, ts)

    def _lose(self, half: Half, desync: bool = True) -> None:
        """See ``Pairing``."""
        self.desyncs += desync
        half.lost = True
        half.reset()

    # Messages

    def _direction(self, half: Half) -> int:
        return self.client if half is self._requests else 1 - self.client

    def _asked(self, half: Half, length: int, head: Any) -> Message:
        """The unit of ``length`` bytes that ``half`` has completed, as a request with a number of
        its own. It is not told of yet."""
        direction = self.client if half is self._requests else 1 - self.client
        message = Message(REQUEST, direction, half.start, half.token, half.offset, head)
        self._serial += 1
        message.stream = self._serial
        message.length = length
        message.end = self._end_ts
        message.last_token = self._token
        message.complete = True
        return message

    def _answer_to(self, asked: Message, half: Half, length: int, head: Any) -> Message:
        """The same as the reply to ``asked``; it is neither complete nor told of yet."""
        message = Message(
            RESPONSE, self._direction(half), half.start, half.token, half.offset, head
        )
        message.stream = asked.stream
        message.length = length
        message.end = self._end_ts
        message.last_token = self._token
        return message

    def _give_up(self, message: Message, error: str) -> None:
        """Its reply, or the rest of it, will never be known."""
        message.error = error
        message.end = max(message.end, self._end_ts)
        self._tell(message)
