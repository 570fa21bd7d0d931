"""Apache Thrift's calls, seen from outside: binary and compact, framed, unframed, with THeader."""

from __future__ import annotations

from typing import Any

from .base import Message
from .by_key import ByKey
from .context import parse_traceparent
from .descriptor import Descriptor
from .half import BAD, UNIT, Half
from .rpc import RpcRequest, carried_context
from .thrift_answers import read_answer
from .thrift_calls import Call, Calls
from .thrift_frames import CUT, Frames
from .thrift_head import CALL, LONGEST_HEAD, ONEWAY, Head, read_head

SYSTEM = "thrift"
_SHORT = 16
"""Bytes of a segment out of step that may be a message's first, read alone."""


class ThriftParser(ByKey):
    """One connection.

    Memory is bounded: ``thrift_calls.MAX_OUTSTANDING`` calls, and 8 KiB of a message each way.
    """

    __slots__ = ("_calls", "_open", "_prefix")

    _requests: Frames
    _replies: Frames

    def __init__(self) -> None:
        super().__init__(Frames(), Frames())
        self._calls = Calls()
        self._prefix: dict[bool, tuple[bytes, int, Any]] = {}
        """By whether the client says it: the beginning of a head, read alone while lost."""
        self._open: Message | None = None
        """An answer whose end was not captured: it goes on until the connection turns."""

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return self._open is not None

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        super().begin(client, fresh)
        self._calls.sync.begin(fresh)

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
        goes_on = self._open
        (self._requests if direction == self.client else self._replies).tail = tail
        out = super().feed(direction, data, length, ts, end_ts, token, tail)
        if goes_on is not None and direction == self.client and length:
            self._end_open()
        elif goes_on is not None and goes_on is self._open:
            goes_on.length += length
            goes_on.end = end_ts
            goes_on.last_token = token
        # The silence before a request is that before its first byte, which may be read alone.
        if direction != self.client or not (self._requests.inside or True in self._prefix):
            self._calls.sync.last = end_ts
        return out

    # Framing

    def _torn(self, half: Half, missing: int, ts: int) -> None:
        outcome = half.skip(missing)
        if outcome in (UNIT, CUT):
            self._unit(half, ended=outcome == UNIT)
            half.lost = outcome == CUT
        elif outcome == BAD:
            self._lose(half, desync=False)

    def _resumes(self, half: Half, data: bytes, length: int, ts: int) -> bool:
        asks = half is self._requests
        prefix = self._prefix.pop(asks, None)
        for before in (prefix, None):
            head = read_head((before[0] if before else b"") + data[:LONGEST_HEAD])
            if isinstance(head, int) or not self._plausible(asks, head):
                continue
            if not asks:
                self._end_open()
            half.reset()
            half.lost = False
            if before:
                half.feed(before[0], 0, before[1], before[2])
            return True
        together = (prefix[0] if prefix else b"") + data
        if len(data) == length and len(together) < _SHORT:
            first = prefix or (b"", ts, self._token)
            self._prefix[asks] = together, first[1], first[2]
        return False

    def _plausible(self, asks: bool, head: Head) -> bool:
        """Whether a message of this direction can begin so."""
        if asks:
            return head.kind in (0, CALL, ONEWAY)
        return head.kind not in (CALL, ONEWAY) and self._calls.known(head.number, head.name)

    def _lose(self, half: Half, desync: bool = True) -> None:
        super()._lose(half, desync)
        lost: list[Call] = []
        self._calls.lose(half is self._replies, lost)
        self._over(lost)

    def _end_open(self) -> None:
        message, self._open = self._open, None
        if message is not None:
            message.complete = True
            self._tell(message)

    # Messages

    def _unit(self, frames: Any, ended: bool = True) -> None:
        """A message; not ``ended``: only its beginning was seen."""
        head: Head = frames.head
        if frames is self._replies:
            if head.kind not in (CALL, ONEWAY):
                self._answer(frames, head, ended)
        elif head.kind in (0, CALL, ONEWAY):
            self._call(frames, head, ended)

    def _call(self, frames: Frames, head: Head, ended: bool) -> None:
        service, _, name = head.name.rpartition(":")
        said = head.headers or {}
        context = None
        if "traceparent" in said:
            states = [said["tracestate"]] if "tracestate" in said else []
            context = parse_traceparent(said["traceparent"], states)
        method = f"{service}/{name}" if service else name
        message = self._asked(frames, frames.length, RpcRequest(SYSTEM, method, context))
        message.truncated = not ended
        message.oneway = head.kind == ONEWAY
        told = self._calls.asks(head.number, message.start, message.offset == 0)
        if told:
            self._tell(message)
        if not message.oneway:
            oldest = self._calls.add(head.number, Call(message, name, told))
            self._over([oldest] if oldest is not None else [])

    def _answer(self, frames: Frames, head: Head, ended: bool) -> None:
        lost: list[Call] = []
        call = self._calls.answered(head.number, head.name.rpartition(":")[2], lost)
        self._over(lost)
        if call is None or not call.told:
            return
        said = read_answer(head.kind, frames.body, head.compact)
        message = self._answer_to(call.request, frames, frames.length, said)
        message.complete = ended
        message.truncated = not ended
        if not ended:
            self._open = message
        self._tell(message)

    def _over(self, calls: list[Call]) -> None:
        """Their answers will never come, or never be known."""
        for call in calls:
            if call.told and call.request.oneway:
                self._tell(call.request)
            elif call.told:
                self._give_up(call.request, "response_lost")

    # Ends

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        out = self._out = []
        self._end_open()
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out = self._out = []
        if self._open is not None:
            self._open.error = error
        self._end_open()
        lost: list[Call] = []
        self._calls.clear(lost)
        if error is None:
            self._over(lost)
        super().close(ts, error)
        return out


PROTOCOL = Descriptor(
    name="thrift",
    number=31,
    parser=ThriftParser,
    carried_context=carried_context,
    pairs=True,
)
