"""HTTP/2, seen from outside: both directions of one connection become messages by stream.

Source: RFC 9113 and RFC 7541. The kernel hands on frames without bodies (bpf/http2.h); a
parser may also be fed plain bytes. Both may begin in the middle of a connection, and some may
be lost: what a header block says by entries that were not seen is unknown, never wrong.
"""

from __future__ import annotations

from typing import Any

from .base import Message
from .context import carried_context
from .descriptor import Descriptor
from .hpack_table import Field, Table
from .http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENTRY,
    GOAWAY,
    HEADER,
    HEADERS,
    PADDED,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    WITH_PRIORITY,
    Walk,
    plausible,
)
from .http2_heads import REQUEST_HEAD, RESPONSE_HEAD, Fields, Http2Request, Http2Response
from .http2_streams import Begin, Heads, Streams
from .http2_told import Block, ToldBlocks, ended_blocks

MAX_BLOCK = 65536
"""Most bytes of one header block that are kept; a longer one counts as cut."""
_WHOLE = END_HEADERS | PADDED | WITH_PRIORITY
_MAX_REMEMBERED = 64
_MAX_REMEMBERED_SIZE = 512


class _Open:
    """A frame, or a block of several, that is not complete yet."""

    __slots__ = ("begin", "block", "flags", "kind", "left", "payload", "stream")

    def __init__(self, kind: int, flags: int, stream: int, begin: Begin) -> None:
        self.kind, self.flags, self.stream, self.begin = kind, flags, stream, begin
        self.left = 0  # bytes of the frame that are still to come
        self.payload = b""
        self.block = bytearray()


class _Half:
    """One direction."""

    __slots__ = ("block", "ending", "frame", "generation", "heads", "moved", "table", "walk")

    def __init__(self) -> None:
        self.table = Table()
        self.walk = Walk()
        self.moved = 0
        self.frame: _Open | None = None  # its payload goes on in the next segment
        self.block: _Open | None = None  # CONTINUATION comes next
        self.ending = 0  # stream whose last DATA goes on in the next segment
        self.heads: dict[bytes, Heads] = {}  # of this generation of the table
        self.generation = 0


class Http2Parser(Streams):
    """One HTTP/2 connection. Follows ``base.Parser``; never raises on any bytes.

    ``Message.stream`` is the stream; a request that is returned complete with an ``error`` and
    has had no response is over. Memory is bounded by ``MAX_STREAMS``, ``MAX_BLOCK`` a direction
    and the two header tables.
    """

    __slots__ = ("_faults", "_halves", "_start", "told", "upgraded")

    def __init__(self) -> None:
        super().__init__()
        self._halves = (_Half(), _Half())
        self._faults = 0
        self._start = 0
        self.told: ToldBlocks | None = None
        self.upgraded: str | None = None

    @property
    def desyncs(self) -> int:
        """Header blocks and frames that could not be understood."""
        return self._faults + self.unclear + sum(half.table.faults for half in self._halves)

    @property
    def open_ended(self) -> bool:
        """Streams are open of which nothing may come any more."""
        return bool(self._doubtful)

    def tell(self, direction: int, stream: int, block: Block) -> None:
        """The program itself has told what a header block says; its frame may come before or
        after. From now on the frames of both directions are compared with what is told."""
        if self.told is None:
            self.told = ToldBlocks()
        self.told.tell(direction, stream, block)

    def untold(self, direction: int, data: bytes, mid: int, start: int) -> list[tuple[int, bool]]:
        """See ``base.StreamParser.untold``."""
        half = self._halves[direction]
        frame = half.frame
        ends = frame is not None and frame.kind in (HEADERS, CONTINUATION)
        opened = frame.stream if ends and frame and frame.flags & END_HEADERS else 0
        wanted: dict[int, int] = {}
        found = []
        for at, stream in ended_blocks(data, mid, opened, frame.left if frame else 0):
            known = self._streams.get(stream)
            if known is None and direction != self.client >= 0:
                continue  # an answer that nobody waits for any more
            wanted[stream] = wanted.get(stream, 0) + 1
            told = self.told.waiting(direction, stream, start) if self.told is not None else 0
            if told < wanted[stream]:
                message = known and (known.request if direction == self.client else known.response)
                found.append((at, message is not None))
        return found

    def begin(self, direction: int) -> None:
        """The client's preface passes in ``direction``: the connection begins."""
        self.client = direction
        for half in self._halves:
            # The server may have spoken first, but said nothing with a header block.
            if not half.table.generation or half is self._halves[direction]:
                half.table.begin()
                half.walk.trust()

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
        """See ``base.Parser.feed``; ``tail`` is of no use here."""
        half = self._halves[direction]
        start, half.moved = half.moved, half.moved + length & 0xFFFFFFFF
        if data.startswith(PREFACE[:14]):
            half.walk = Walk(preface=True)
            self.begin(direction)
        frames, mid, lost, tell = half.walk.feed(data, length, start)
        if not frames and not tell:
            return []
        return self.frames(direction, frames, mid, lost, start, length, ts, end_ts, token)

    def frames(
        self,
        direction: int,
        data: bytes,
        mid: int,
        lost: bool,
        start: int,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
    ) -> list[Message]:
        """Takes a segment's frames as ``http2_frames.Walked`` has them.

        ``start`` and ``length`` are the segment's place in the stream; the others are as in
        ``feed``.
        """
        out: list[Message] = []
        self._token = token
        self._start = start
        half = self._halves[direction]
        if half.ending:
            number, half.ending = half.ending, 0
            self._ended(direction, number, (0, ts, end_ts, token), out)
        if lost:
            self._lose(direction, ts, out)
        at, size = 0, len(data)
        if mid:
            at = mid if mid < size else size
            self._go_on(direction, data[:at], end_ts, out)
        unpack = ENTRY.unpack_from
        while at + 13 <= size:
            place, high, amount, kind, flags, stream = unpack(data, at)
            at += 13
            if high:
                amount |= high << 16
            offset = place - start & 0xFFFFFFFF
            if offset >> 31:
                offset -= 1 << 32  # its header began in an earlier segment
            begin = (offset, ts, end_ts, token)
            if kind == DATA:
                if offset + HEADER + amount > length:
                    half.ending = stream
                else:
                    self._ended(direction, stream, begin, out)
                continue
            payload = data[at : at + amount]
            at += amount
            if (
                kind == HEADERS
                and flags & _WHOLE == END_HEADERS
                and len(payload) == amount
                and half.block is None
            ):
                # Nearly every block is whole in its one frame.
                ends = bool(flags & END_STREAM)
                heads = self._heads(half, payload)
                if self.told is not None:
                    heads = self._as_told(direction, stream, heads)
                self._headers(direction, stream, heads, ends, begin, out)
            elif len(payload) == amount:
                self._frame(direction, half, kind, flags, stream, payload, begin, out)
            elif plausible(data[at - amount - HEADER : at - amount]):
                half.frame = frame = _Open(kind, flags, stream, begin)
                frame.left = amount - len(payload)
                frame.payload = payload
            else:
                self._faults += 1
        if at < size:
            self._faults += 1
        return out

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        self._token = None
        self._halves[direction].walk.lose()
        self._lose(direction, ts, out)
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``: streams whose end was lost have ended."""
        out: list[Message] = []
        self._token = None
        self._end_doubtful(ts, out)
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``. A stream that is open has not ended well."""
        out: list[Message] = []
        self._token = None
        for direction, half in enumerate(self._halves):
            if half.ending:
                number, half.ending = half.ending, 0
                self._ended(direction, number, (0, ts, ts, None), out)
        self._end_all(error or "connection_closed", ts, out)
        return list({id(message): message for message in out}.values())

    def _lose(self, direction: int, ts: int, out: list[Message]) -> None:
        """Frames of ``direction`` were not seen."""
        half = self._halves[direction]
        opened = half.block or half.frame
        half.block = half.frame = None
        if opened is not None and opened.kind == HEADERS:
            self._block(direction, half, opened, True, out)  # what was seen of it
        half.table.forget()
        self._doubt(ts)

    def _go_on(self, direction: int, data: bytes, end_ts: int, out: list[Message]) -> None:
        """More of the payload that the last segment ended in."""
        half = self._halves[direction]
        frame = half.frame
        if frame is None:
            return
        frame.payload += data
        frame.left -= len(data)
        if frame.left > 0:
            return
        half.frame = None
        offset, ts, _, token = frame.begin
        self._frame(
            direction, half, frame.kind, frame.flags, frame.stream, frame.payload,
            (offset, ts, end_ts, token), out,
        )  # fmt: skip

    def _frame(
        self,
        direction: int,
        half: _Half,
        kind: int,
        flags: int,
        stream: int,
        payload: bytes,
        begin: Begin,
        out: list[Message],
    ) -> None:
        if half.block is not None and (kind != CONTINUATION or half.block.stream != stream):
            self._faults += 1
            self._lose(direction, begin[1], out)
        if kind == HEADERS:
            if flags & (PADDED | WITH_PRIORITY):
                payload = _bare(payload, flags)
            if flags & END_HEADERS:
                heads = self._as_told(direction, stream, self._heads(half, payload))
                self._headers(direction, stream, heads, bool(flags & END_STREAM), begin, out)
                return
            half.block = _Open(kind, flags, stream, begin)
            half.block.block += payload
        elif kind == CONTINUATION:
            block = half.block
            if block is None:
                half.table.forget()  # its beginning was not seen
                return
            block.block += payload[: MAX_BLOCK + 1 - len(block.block)]
            if flags & END_HEADERS:
                half.block = None
                offset, ts, _, token = block.begin
                block.begin = (offset, ts, begin[2], token)
                self._block(direction, half, block, len(block.block) > MAX_BLOCK, out)
        elif kind == RST_STREAM:
            self._reset(stream, int.from_bytes(payload[:4], "big"), begin, out)
        elif kind == GOAWAY:
            last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
            self._go_away(direction, last, begin, out)
        elif kind == PUSH_PROMISE:
            # Decoded for what it adds to the table; nobody asked for that stream.
            block = _Open(kind, flags, stream, begin)
            block.block += _bare(payload, flags & PADDED)[4:]
            if flags & END_HEADERS:
                self._block(direction, half, block, False, out)
            else:
                half.block = block

    def _block(
        self, direction: int, half: _Half, block: _Open, cut: bool, out: list[Message]
    ) -> None:
        """A block that came in pieces, or of which the rest will not come."""
        data = bytes(block.block)
        if cut and not data:
            data = block.payload if block.kind == HEADERS else b""
            if block.flags & (PADDED | WITH_PRIORITY):
                data = _bare(data, block.flags & WITH_PRIORITY, block.flags & PADDED)
        decoded: list[Field] = []
        whole = half.table.decode(data, decoded) and not cut
        if cut:
            half.table.forget()
        if block.kind == PUSH_PROMISE:
            return
        heads = self._as_told(direction, block.stream, _make(Fields(decoded, not whole)))
        ends = bool(block.flags & END_STREAM)
        self._headers(direction, block.stream, heads, ends, block.begin, out)

    def _as_told(self, direction: int, stream: int, heads: Heads) -> Heads:
        """A block as the program tells it, else as its frame shows it."""
        if self.told is None:
            return heads
        fields = self.told.take(direction, stream, self._start, heads[0])
        return heads if fields is None or fields is heads[0] else _make(fields)

    def _heads(self, half: _Half, block: bytes) -> Heads:
        """A whole block's fields. Equal blocks mean the same while the table stays as it is."""
        table = half.table
        generation = table.generation
        if half.generation != generation:
            half.generation = generation
            half.heads.clear()
        known = half.heads.get(block)
        if known is None:
            decoded: list[Field] = []
            whole = table.decode(block, decoded)
            known = _make(Fields(decoded, not whole))
            if table.generation == generation and len(block) <= _MAX_REMEMBERED_SIZE:
                if len(half.heads) >= _MAX_REMEMBERED:
                    half.heads.clear()
                half.heads[block] = known
        head = known[1]
        return (known[0], head.again()) if isinstance(head, Http2Response) else known


def _make(fields: Fields) -> Heads:
    if fields.kind == REQUEST_HEAD:
        return fields, Http2Request(fields)
    return fields, Http2Response(fields) if fields.kind == RESPONSE_HEAD else None


def _bare(payload: bytes, flags: int, cut_padded: int = 0) -> bytes:
    """A payload without padding and priority. ``cut_padded``: the padding was cut away."""
    start = 0
    end = len(payload)
    if flags & PADDED or cut_padded:
        if not payload:
            return b""
        start = 1
        if not cut_padded:
            end -= payload[0]
    if flags & WITH_PRIORITY:
        start += 5
    return payload[start:end] if end > start else b""


PROTOCOL = Descriptor(
    name="http2",
    number=21,
    parser=Http2Parser,
    carried_context=carried_context,
    multiplexed=True,
)
