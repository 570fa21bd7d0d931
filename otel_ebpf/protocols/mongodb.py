"""MongoDB's protocol, seen from outside.

A request has a number, which its answer repeats; some have no answer, and one may have many
(exhaust cursors): then each names the answer before it, and the last says that it is the last.
"""

from __future__ import annotations

from typing import Any

from .base import REQUEST, RESPONSE, Message
from .database import DbResponse
from .descriptor import Descriptor
from .mongodb_commands import read_answer, read_request
from .mongodb_frames import BAD, FRAME, HEADER, REPLY, SIZE, Frames, fits

MAX_OUTSTANDING = 4096


class Call:
    """A request whose answer is waited for.

    Attributes:
        request: as it was returned; answer: the first one, where more come.
        doubtful: answers were lost since.
    """

    __slots__ = ("answer", "doubtful", "request")

    def __init__(self, request: Message) -> None:
        self.request = request
        self.answer: Message | None = None
        self.doubtful = False


class MongodbParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: ``MAX_OUTSTANDING`` calls, and 40 KiB of a message each way.
    """

    __slots__ = (
        "_answers",
        "_calls",
        "_prefix",
        "_requests",
        "_serial",
        "_step",
        "client",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._requests = Frames()
        self._answers = Frames()
        self._calls: dict[int, Call] = {}
        """By the number that the next answer names, the oldest first."""
        self._step = [False, False]
        """By direction: where messages begin is known."""
        self._prefix: list[tuple[bytes, int, Any] | None] = [None, None]
        """By direction: the beginning of a header, read alone while out of step."""
        self._serial = 0

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return False

    @property
    def in_step(self) -> bool:
        """Where messages begin is known."""
        return self._step[0] and self._step[1]

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        self._step = [fresh, fresh]

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
        if not length:
            return out
        asks = direction == self.client
        frames = self._requests if asks else self._answers
        if not self._step[direction] and not self._catch_up(direction, data, length, ts, token):
            return out
        at, size = 0, len(data)
        while at < size:
            at, outcome = frames.feed(data, at, ts, token)
            if outcome == FRAME:
                self._frame(asks, frames, token, end_ts, out)
            elif outcome == BAD:
                self._lose(direction)
                return out
        if length > size:
            outcome = frames.skip(length - size)
            if outcome == FRAME:
                self._frame(asks, frames, token, end_ts, out)
            elif outcome == BAD:
                self._lose(direction, desync=False)
        return out

    # Framing

    def _plausible(self, asks: bool, head: bytes) -> bool:
        """Whether a message of this direction can begin so."""
        if not fits(head):
            return False
        _, _, answers, kind = HEADER.unpack_from(head)
        return not answers and kind != REPLY if asks else answers in self._calls

    def _catch_up(self, direction: int, data: bytes, length: int, ts: int, token: Any) -> bool:
        """A segment out of step: whether a message begins with it."""
        asks = direction == self.client
        prefix, self._prefix[direction] = self._prefix[direction], None
        for before in (prefix, None):
            head = (before[0] if before else b"") + data[:SIZE]
            if len(head) >= SIZE and self._plausible(asks, head):
                frames = self._requests if asks else self._answers
                frames.reset()
                self._step[direction] = True
                if before:
                    frames.feed(before[0], 0, before[1], before[2])
                return True
        if len(data) == length < SIZE:
            self._prefix[direction] = data, ts, token
        return False

    def _lose(self, direction: int, desync: bool = True) -> None:
        """Where messages begin is not known any more."""
        self.desyncs += desync
        self._step[direction] = False
        if direction == self.client:
            self._requests.reset()
        else:
            self._answers.reset()
            for call in self._calls.values():
                call.doubtful = True

    def _frame(
        self, asks: bool, frames: Frames, token: Any, end_ts: int, out: list[Message]
    ) -> None:
        message = Message(
            REQUEST if asks else RESPONSE,
            self.client if asks else 1 - self.client,
            frames.start, frames.token, frames.offset, None,
        )  # fmt: skip
        message.length = frames.length
        message.end = end_ts
        message.last_token = token
        if asks:
            self._asked(message, frames, out)
        else:
            self._told(message, frames, out)

    def _asked(self, message: Message, frames: Frames, out: list[Message]) -> None:
        message.head, message.oneway, whole = read_request(frames.kind, frames.body, frames.whole)
        message.truncated = not whole
        message.complete = True
        self._serial += 1
        message.stream = self._serial
        out.append(message)
        if message.oneway:
            return
        before = self._calls.pop(frames.number, None)
        if before is not None:
            self._give_up(before, out)
        if len(self._calls) >= MAX_OUTSTANDING:
            self._give_up(self._calls.pop(next(iter(self._calls))), out)
        self._calls[frames.number] = Call(message)

    def _told(self, message: Message, frames: Frames, out: list[Message]) -> None:
        call = self._calls.pop(frames.answers, None)
        if call is None:  # of a request that nobody saw
            return
        for number, other in list(self._calls.items()) if call.doubtful else ():
            if not other.doubtful:
                break
            # A server answers in order, and this one's was lost: it came before.
            if other.request.stream < call.request.stream:
                del self._calls[number]
                self._give_up(other, out)
        head, more = read_answer(frames.kind, frames.body, frames.whole)
        answer = call.answer
        if answer is None:
            answer = message
            answer.stream = call.request.stream
            answer.head = head
        else:
            answer.length += message.length
            answer.end = message.end
            answer.last_token = message.last_token
            if head.error:
                answer.head = DbResponse(head.status, head.error, head.said)
        answer.truncated = answer.truncated or not frames.whole
        answer.complete = not more
        if call.answer is None or (answer.complete and answer not in out):
            out.append(answer)
        if more:
            call.answer = answer
            call.doubtful = False
            taken = self._calls.pop(frames.number, None)
            if taken is not None:
                self._give_up(taken, out)
            self._calls[frames.number] = call

    @staticmethod
    def _give_up(call: Call, out: list[Message]) -> None:
        """Its answer, or the rest of it, will never be known."""
        message = call.answer or call.request
        message.error = "response_lost"
        message.complete = True
        if message not in out:
            out.append(message)

    # Ends

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        self._lose(direction, desync=False)
        return []

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        return []

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        self._calls.clear()
        self._requests.reset()
        self._answers.reset()
        return []


PROTOCOL = Descriptor(name="mongodb", number=81, parser=MongodbParser, pairs=True)
