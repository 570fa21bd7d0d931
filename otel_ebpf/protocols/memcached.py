"""Memcached, seen from outside: text and meta commands, and binary packets.

Replies come in order. Quiet commands (meta's ``q``, binary's ``...Q``) are answered only if
something is to be said; clients end a row of them with a command that is always answered. They
are calls without a reply here, and what may be theirs is nobody's.
"""

from __future__ import annotations

from .base import REQUEST, Message
from .database import DONE, DbRequest, DbResponse
from .descriptor import Descriptor
from .half import Half
from .in_order import InOrder
from .memcached_commands import (
    FENCE,
    MANY,
    ONEWAY,
    QUIET,
    QUIET_CODES,
    STATUS,
    describe_line,
    describe_packet,
)
from .memcached_frames import Units

_FAILURES = frozenset({b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"})
_LAST_LINES = frozenset({b"END", b"RESET", b"OK"})
_STREAMS = frozenset({b"watch", b"lru_crawler", b"lru"})
_END = b"END\r\n"
_TAIL = 8


class Command(Message):
    """A command that waits. ``ways``: how it is answered; ``opaque``: of a binary one, else -1."""

    __slots__ = ("opaque", "ways")

    def __init__(
        self, direction: int, units: Units, head: DbRequest, ways: int, opaque: int
    ) -> None:
        super().__init__(REQUEST, direction, units.start, units.token, units.offset, head)
        self.length = units.length
        self.complete = True
        self.oneway = ways & ONEWAY != 0
        self.ways = ways
        self.opaque = opaque


class MemcachedParser(InOrder[Command]):
    """One connection."""

    __slots__ = ("_quiet",)

    _requests: Units
    _replies: Units

    def __init__(self) -> None:
        super().__init__(Units(client=True), Units(client=False))
        self._quiet = False
        """A quiet command's reply may come before the next one's."""

    def _begins(self, data: bytes) -> bool:
        return data[:1].isalpha() or data[:1] == b"\x80"

    def _next_turn(self, begins: bool) -> None:
        if self._replies.lost:
            self._settle_lost()

    def _forget(self) -> None:
        super()._forget()
        self._quiet = False

    # Requests

    def _request(self) -> None:
        units = self._requests
        if not units.words:
            head, ways = describe_packet(units.header, units.body)
            opaque = int.from_bytes(units.header[12:16], "big")
        elif units.words[0] in _STREAMS:
            self.upgraded = "stream"
            return
        else:
            head, ways = describe_line(units.words)
            opaque = -1
        if ways & QUIET:
            self._quiet = True
        self._ask(Command(self.client, units, head, ways, opaque))
        if self._quiet and not ways & (ONEWAY | FENCE) and opaque < 0:
            # Whose the next reply is cannot be told.
            self._lose(self._replies)

    # Replies

    def _reply(self) -> None:
        words = self._replies.words
        outstanding = self._outstanding
        if not words:
            self._packet(self._replies.header)
            return
        if not outstanding:
            if not self._quiet:
                self._extra()
            return
        front = outstanding[0]
        if self._quiet and front.ways & FENCE and words[0] != b"MN":
            return  # of a quiet one before it
        self._note_start()
        failure = words[0].decode() if words[0] in _FAILURES else ""
        if not front.ways & MANY or failure or words[0] in _LAST_LINES:
            self._over(failure)

    def _packet(self, header: bytes) -> None:
        """A reply of 24 bytes, and what is behind them."""
        outstanding = self._outstanding
        if header[1] in QUIET_CODES:
            return
        if not outstanding or outstanding[0].opaque != int.from_bytes(header[12:16], "big"):
            self._extra()
            return
        front = outstanding[0]
        self._note_start()
        if front.ways & MANY and int.from_bytes(header[2:4], "big"):
            return  # a statistic; an empty one is the last
        self._over(STATUS.get(int.from_bytes(header[6:8], "big"), ""))

    def _over(self, failure: str) -> None:
        """The reply to the first command that waits is whole."""
        command = self._outstanding.popleft()
        if command.ways & FENCE:
            self._quiet = False
        self._answer(command, DbResponse(failure, failure) if failure else DONE)

    # Losses and ends

    def _torn(self, half: Half, missing: int, tail: bytes) -> None:
        if half is self._requests or len(self._outstanding) != 1:
            self._lose(half, desync=False)
            return
        # One reply with more items than were captured: its last line shows the end.
        self._note_start()
        half.reset()
        half.lost = True

    def _follow(self, data: bytes, length: int, tail: bytes) -> None:
        seen = tail or (data[-_TAIL:] if len(data) == length else b"")
        if seen.endswith(_END):
            self._settle_lost()

    def _end(self, call: Command) -> None:
        if call.ways & FENCE:
            self._quiet = False
        super()._end(call)

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        out = self._out = []
        if self.open_ended:
            self._settle_lost()
        return out


PROTOCOL = Descriptor(name="memcached", number=82, parser=MemcachedParser, pairs=True)
