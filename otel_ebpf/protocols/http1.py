"""HTTP/1.x, seen from outside: both directions of one connection become messages.

Source: RFC 9112. The captured bytes are a prefix of every run of segments in one
direction, so the parser frames by what it saw and by lengths. Where the end of a body
cannot be computed any more (chunked, and bytes are missing) the message ends with the
segment whose last bytes are a last chunk, else with the last segment before the connection
turns around.
"""

from __future__ import annotations

from typing import Any

from .base import REQUEST, Message
from .context import carried_context
from .descriptor import Descriptor
from .http1_body import BROKEN, DONE
from .http1_half import AT_CHUNKS, AT_HEAD, AT_LENGTH, AT_START, AT_TURN, ENDED, LOST, Half
from .http1_head import REQUEST_LINE, STATUS_LINE
from .http1_reader import HeadReader


class Http1Parser(HeadReader):
    """One HTTP/1.x connection. Follows ``base.Parser``; never raises on any bytes.

    Which direction carries the requests is learned from the first head. Memory is
    bounded: ``MAX_HEAD`` bytes a direction and the heads of ``MAX_OUTSTANDING`` requests.
    """

    __slots__ = ()

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        one, other = self._halves
        return one.state == AT_TURN or other.state == AT_TURN

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
        if self.upgraded is not None:
            return []
        half = self._halves[direction]
        out: list[Message] = []
        size = len(data)
        pos = 0
        if half.state == AT_START and size and not half.gap:
            self._last_direction = direction
            pos = self._start(half, data, 0, ts, end_ts, token, out)
            # Nearly every message is whole in its one segment.
            if pos == length and half.state == AT_START:
                return out
        elif direction != self._last_direction or half.gap:
            self._last_direction = direction
            if half.state >= AT_LENGTH and size:
                self._fresh_run(half, data, out)
            if size:
                half.gap = False
        while pos < size:
            state = half.state
            if state == AT_START:
                pos = self._start(half, data, pos, ts, end_ts, token, out)
            elif state == AT_LENGTH:
                taken = size - pos if size - pos < half.left else half.left
                pos += taken
                half.left -= taken
                half.extend(taken, end_ts, token)
                if not half.left:
                    self._finish(half, out)
            elif state == AT_HEAD:
                pos = self._more_head(half, data, pos, end_ts, token, out)
            elif state == AT_CHUNKS:
                pos = self._chunks(half, data, pos, end_ts, token, out)
            elif state in (LOST, ENDED):
                # Only the beginning of a segment is a place where a head may be.
                if pos or not half.may_restart(data):
                    self._after_end(half)
                    break
                half.state = AT_START
            else:
                half.extend(size - pos, end_ts, token)
                break
        if length > size:
            self._pass_over(half, length - size, end_ts, token, out)
        if (
            half.state == AT_TURN
            and half.chunks is not None
            and half.at_last_chunk(data, length, tail)
        ):
            self._conclude(half, out)
        return out

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        half = self._halves[direction]
        half.gap = True
        if half.kind != REQUEST:
            self._stale = True
        if half.state == AT_HEAD:
            self._cut_head(half, out)
        elif half.state in (AT_LENGTH, AT_CHUNKS):
            half.lose_framing()
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        for half in self._halves:
            if half.state == AT_HEAD:
                self._cut_head(half, out)
        for half in self._halves:
            message = half.message
            if message is not None:
                message.error = error
                self._finish(half, out)
            half.reset()
        self._outstanding.clear()
        self._forgotten = 0
        self._stale = False
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``. The ``end`` is that of the last segment."""
        out: list[Message] = []
        for half in self._halves:
            if half.state == AT_TURN and half.may_have_ended():
                self._conclude(half, out)
        return out

    def _chunks(
        self, half: Half, data: bytes, pos: int, end_ts: int, token: Any, out: list[Message]
    ) -> int:
        assert half.chunks is not None
        reached, outcome = half.chunks.feed(data, pos)
        half.extend(reached - pos, end_ts, token)
        if outcome == DONE:
            self._finish(half, out)
        elif outcome == BROKEN:
            self.desyncs += 1
            half.chunks = None
            half.lose_framing()
        return reached

    def _pass_over(
        self, half: Half, length: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        """``length`` bytes follow that were not captured."""
        if half.state == AT_HEAD:
            self._cut_head(half, out)
            half.extend(length, end_ts, token)
        elif half.state == AT_LENGTH:
            taken = min(length, half.left)
            half.left -= taken
            half.extend(taken, end_ts, token)
            if not half.left:
                self._finish(half, out)
                if taken < length:
                    self._desync(half)
        elif half.state == AT_START:
            self._desync(half)
        elif half.state in (LOST, ENDED):
            self._after_end(half)
        else:
            half.extend(length, end_ts, token)
            if half.state == AT_CHUNKS and half.chunks and not half.chunks.skip(length):
                half.lose_framing()

    def _after_end(self, half: Half) -> None:
        """Bytes that begin nothing. Behind a concluded end they show that it was none."""
        if half.state == ENDED:
            self.desyncs += 1
            half.state = LOST

    def _fresh_run(self, half: Half, data: bytes, out: list[Message]) -> None:
        """A head where a body should go on ends that body, if its end is in doubt."""
        pattern = REQUEST_LINE if half.kind == REQUEST else STATUS_LINE
        if not pattern.match(data):
            return
        if half.state in (AT_LENGTH, AT_CHUNKS):
            # Bytes that no probe saw would hide every later message. A head is believed
            # only when one is due: every request answered, or one still waiting.
            if half.kind == REQUEST:
                due = not self._outstanding and self._halves[1 - half.direction].state == AT_START
            else:
                due = bool(self._outstanding)
            if not due:
                return
            self.desyncs += 1
        self._finish(half, out)


PROTOCOL = Descriptor(name="http", number=20, parser=Http1Parser, carried_context=carried_context)
