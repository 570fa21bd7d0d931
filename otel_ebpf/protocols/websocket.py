"""WebSocket (RFC 6455) behind HTTP/1's upgrade: what passes each way is counted, nothing is kept.

Sans-IO as the other parsers. Messages are data frames up to their last fragment; pings, pongs
and close frames are none. Extensions (compression) change payloads, which nobody looks at.
"""

from __future__ import annotations

from typing import Any

from .base import Message
from .descriptor import Descriptor

CONTINUATION, TEXT, BINARY = 0, 1, 2
CLOSE, PING, PONG = 8, 9, 10
_KNOWN = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_LONGEST_HEADER = 14


class Way:
    """One direction's frames.

    Args:
        masked: the client's frames are, the server's are not.

    Attributes:
        messages, size: whole messages, and bytes of data frames' payload (as on the wire,
            compressed or not).
        code: the close frame's; 0: without one, or not captured. closed: there was one.
        lost: where frames begin is not known; exact: it always was.
    """

    __slots__ = (
        "_code",
        "_final",
        "_fitted",
        "_head",
        "_key",
        "_left",
        "_masked",
        "_opcode",
        "closed",
        "code",
        "exact",
        "lost",
        "messages",
        "size",
    )

    def __init__(self, masked: bool) -> None:
        self._masked = masked
        self.messages = self.size = self.code = 0
        self.closed = self.lost = False
        self.exact = True
        self._reset()

    def _reset(self) -> None:
        self._head = bytearray()
        self._code = bytearray()
        self._key = b""
        self._left = -1  # -1: within a header
        self._opcode = 0
        self._final = False
        self._fitted = False
        """Lost, but the latest segment was frames from end to end."""

    def lose(self) -> None:
        """Bytes are missing, of which it is not known how many frames they were."""
        self.lost = True
        self.exact = False
        self._reset()

    def feed(self, data: bytes, length: int, tail: bytes = b"") -> None:
        """A segment, of whose ``length`` bytes ``data`` was captured, and its last ones."""
        if self.lost:
            before, self._fitted = self._fitted, self._fits(data, length)
            if not (before and self._fitted):
                return
            self.lost = self._fitted = False
        at, size = 0, len(data)
        while at < size and not self.closed:
            if self._left < 0:
                at = self._header(data, at)
                if self.lost:
                    return
                continue
            taken = min(self._left, size - at)
            if self._opcode == CLOSE and len(self._code) < 2:
                self._code += data[at : at + min(taken, 2 - len(self._code))]
            at += taken
            self._left -= taken
            if not self._left:
                self._end()
        missing = length - size
        if missing <= 0 or self.closed:
            return
        if missing > self._left:
            behind = missing - self._left
            if self._left < 0 or behind > len(tail):
                self.lose()
                return
            # A long frame's end, and what little follows: fragments end so.
            self._left = 0
            self._end()
            self.feed(tail[-behind:], behind)
            return
        self._left -= missing
        if not self._left:
            self._end()

    def _header(self, data: bytes, at: int) -> int:
        """More of a frame's header; its place behind."""
        head = self._head
        while True:
            if len(head) < 2:
                wanted = 2
            else:
                short = head[1] & 127
                wanted = 2 + (8 if short == 127 else 2 if short == 126 else 0)
                wanted += 4 if head[1] & 128 else 0
            if len(head) >= wanted:
                break
            more = data[at : at + wanted - len(head)]
            if not more:
                return at
            head += more
            at += len(more)
        opcode, short = head[0] & 15, head[1] & 127
        control = opcode >= CLOSE
        if (
            opcode not in _KNOWN
            or head[0] & 0x30
            or bool(head[1] & 128) != self._masked
            or (control and (short > 125 or not head[0] & 128))
        ):
            self.lose()
            return at
        wide = 8 if short == 127 else 2 if short == 126 else 0
        self._left = int.from_bytes(head[2 : 2 + wide], "big") if wide else short
        self._key = bytes(head[2 + wide :])
        self._opcode = opcode
        self._final = bool(head[0] & 128)
        head.clear()
        if not control:
            self.size += self._left
        if not self._left:
            self._end()
        return at

    def _end(self) -> None:
        """The frame is over."""
        self._left = -1
        if self._opcode < CLOSE:
            self.messages += self._final
        elif self._opcode == CLOSE:
            self.closed = True
            if len(self._code) == 2:
                key = self._key or b"\0\0"
                self.code = (self._code[0] ^ key[0]) << 8 | self._code[1] ^ key[1]

    def _fits(self, data: bytes, length: int) -> bool:
        """Whether frames begin with this segment: they end just where it does."""
        trial = Way(self._masked)
        if length == len(data):
            trial.feed(data, length)
        return length == len(data) and not trial.lost and trial._left < 0 and not trial._head


class WebSocketParser:
    """One connection behind its upgrade. It returns no messages: see ``sent`` and ``received``.

    Follows ``base.Parser`` as far as that goes; never raises on any bytes.
    """

    __slots__ = ("code", "desyncs", "said", "upgraded", "ways")

    open_ended = False

    def __init__(self) -> None:
        self.desyncs = 0
        self.upgraded: str | None = None
        self.said = False
        """There was a close frame."""
        self.code = 0
        """The first one's; 0: none. Who only confirms it may say something else."""
        self.ways = (Way(False), Way(False))
        """By direction, as ``base`` numbers them."""

    def begin(self, client: int) -> None:
        """``client``: the direction of the client's frames."""
        self.ways = (Way(client == 0), Way(client == 1))

    @property
    def closed(self) -> bool:
        """Both sides have said so."""
        return self.ways[0].closed and self.ways[1].closed

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
        """See ``base.Parser.feed``; there are no messages."""
        way = self.ways[direction]
        before = way.lost
        way.feed(data, length, tail)
        if way.lost and not before:
            self.desyncs += 1
        if way.closed and not self.said:
            self.said = True
            self.code = way.code
        return []

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        self.ways[direction].lose()
        return []

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        return []

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        return []


PROTOCOL = Descriptor(name="websocket", number=22, parser=WebSocketParser, follows="http")
