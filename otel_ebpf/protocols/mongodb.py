"""MongoDB's protocol, seen from outside.

A request has a number, which its answer repeats; some have no answer, and one may have many
(exhaust cursors): then each names the answer before it, and the last says that it is the last.
"""

from __future__ import annotations

from .base import Message
from .by_number import ByNumber
from .database import DbResponse
from .descriptor import Descriptor
from .half import Half
from .mongodb_commands import read_answer, read_request
from .mongodb_frames import HEADER, REPLY, SIZE, Frames, fits

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


class MongodbParser(ByNumber):
    """One connection.

    Memory is bounded: ``MAX_OUTSTANDING`` calls, and 40 KiB of a message each way.
    """

    __slots__ = ("_calls",)

    alone = range(1, SIZE)
    _requests: Frames
    _replies: Frames

    def __init__(self) -> None:
        super().__init__(Frames(), Frames())
        self._calls: dict[int, Call] = {}
        """By the number that the next answer names, the oldest first."""

    def _fits(self, half: Half, head: bytes) -> bool:
        if len(head) < SIZE or not fits(head):
            return False
        _, _, answers, kind = HEADER.unpack_from(head)
        return not answers and kind != REPLY if half is self._requests else answers in self._calls

    def _lose(self, half: Half, desync: bool = True) -> None:
        super()._lose(half, desync)
        if half is self._replies:
            for call in self._calls.values():
                call.doubtful = True

    def _unit(self, frames: Frames) -> None:
        if frames is self._requests:
            self._request(frames)
        else:
            self._answer(frames)

    def _request(self, frames: Frames) -> None:
        head, oneway, whole = read_request(frames.kind, frames.body, frames.whole)
        message = self._asked(frames, frames.length, head)
        message.oneway = oneway
        message.truncated = not whole
        self._out.append(message)
        if oneway:
            return
        before = self._calls.pop(frames.number, None)
        if before is not None:
            self._give_up_call(before)
        if len(self._calls) >= MAX_OUTSTANDING:
            self._give_up_call(self._calls.pop(next(iter(self._calls))))
        self._calls[frames.number] = Call(message)

    def _answer(self, frames: Frames) -> None:
        call = self._calls.pop(frames.answers, None)
        if call is None:  # of a request that nobody saw
            return
        if call.doubtful:
            self._settle_doubts(call)
        head, more = read_answer(frames.kind, frames.body, frames.whole)
        answer = call.answer
        if answer is None:
            answer = self._answer_to(call.request, frames, frames.length, head)
        else:
            answer.length += frames.length
            answer.end = self._end_ts
            answer.last_token = self._token
            if head.error:
                answer.head = DbResponse(head.status, head.error, head.said)
        answer.truncated = answer.truncated or not frames.whole
        answer.complete = not more
        if call.answer is None or answer.complete:
            self._tell(answer)
        if more:
            call.answer = answer
            call.doubtful = False
            taken = self._calls.pop(frames.number, None)
            if taken is not None:
                self._give_up_call(taken)
            self._calls[frames.number] = call

    def _settle_doubts(self, call: Call) -> None:
        """A server answers in order: those of doubtful calls before this one were lost."""
        for number, other in list(self._calls.items()):
            if not other.doubtful:
                break
            if other.request.stream < call.request.stream:
                del self._calls[number]
                self._give_up_call(other)

    def _give_up_call(self, call: Call) -> None:
        """Its answer, or the rest of it, will never be known."""
        message = call.answer or call.request
        message.error = "response_lost"
        message.complete = True
        self._tell(message)


PROTOCOL = Descriptor(name="mongodb", number=81, parser=MongodbParser, pairs=True)
