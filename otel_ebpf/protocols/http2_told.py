"""Header blocks that a program tells of itself, beside the frames that carried them.

A Go program's own functions have the fields in hand, whatever the connection's header table
holds (bpf/go_headers.h). A block tells what a HEADERS frame says; where it was, when, and
whether it ended its stream is the frame's to tell. Both must agree as far as the frame could
be decoded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from .hpack_table import MAX_FIELDS, Field
from .hpack_text import plain
from .http2_frames import CONTINUATION, END_HEADERS, ENTRY, HEADERS
from .http2_heads import Fields

PLACED, CUT, OF_MAP = 1, 2, 4
"""enum headers_told."""
_KEY = 0x8000
_BESIDE = ("date", "content-type", "content-length")
"""What stands beside the map of a response's head."""
MAX_STREAMS = 1024
"""Streams of one direction whose told blocks wait for their frames; above it the oldest go."""
MAX_BLOCKS = 8
"""Blocks of one stream that wait."""
_NAME = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class Block(NamedTuple):
    """What one block says.

    Attributes:
        fields: in any order.
        cut: there were more.
        start: where the read began that brought its end, as the frames' segment tells it; None
            where that is not known, as of every block that was written.
    """

    fields: list[Field]
    cut: bool
    start: int | None


_Read = tuple[list[Field], bool]
_READ: dict[tuple[bytes, int, int], _Read] = {}
_MAX_REMEMBERED = 512
_MAX_REMEMBERED_SIZE = 1024
_MAX_JOINED = 256


def read_block(data: bytes, told: int, start: int, status: int = 0) -> Block:
    """The payload of a RECORD_HEADERS. Never raises on any bytes.

    Equal ones give the same list of fields, which is not to be changed.

    Args:
        told: its flags; start: its ``tcp_seq``; status: of a response's head kept as a map.
    """
    key = (data, told & (CUT | OF_MAP), status)
    known = _READ.get(key)
    if known is None:
        known = _read(data, told, status)
        if len(data) <= _MAX_REMEMBERED_SIZE:
            if len(_READ) >= _MAX_REMEMBERED:
                _READ.clear()
            _READ[key] = known
    return Block(*known, start if told & PLACED else None)


def _read(data: bytes, told: int, status: int) -> _Read:
    fields: list[Field] = []
    keys: set[str] = set()
    beside: list[str] = []
    cut = bool(told & CUT)
    at, size = 0, len(data)
    while at + 4 <= size and len(fields) < MAX_FIELDS:
        name_size = int.from_bytes(data[at : at + 2], "little")
        value_size = int.from_bytes(data[at + 2 : at + 4], "little")
        middle = at + 4 + (name_size & ~_KEY)
        end = middle + value_size
        if end > size:
            break
        name, value = plain(data[at + 4 : middle]), plain(data[middle:end])
        at = end
        if name_size & _KEY:
            keys.add(name.lower())
        elif not told & OF_MAP:
            fields.append((name, value))
        elif name:
            fields.append((name.lower(), value))
        else:
            beside.append(value)
    cut = cut or at < size
    if told & OF_MAP:
        fields = list(_written(fields, keys, beside, status))
    return fields, cut


def _written(
    fields: list[Field], keys: set[str], beside: list[str], status: int
) -> Iterator[Field]:
    """What net/http makes of a response's head."""
    if status:
        yield ":status", str(status)
    for name, value in fields:
        assert name is not None and value is not None
        if keys and name not in keys:
            continue
        if not _NAME.issuperset(name) or (name == "transfer-encoding" and value != "trailers"):
            continue  # is never sent
        yield name, value
    for name, value in zip(_BESIDE, beside, strict=False):
        if value:
            yield name, value


def reconcile(seen: Fields, told: Block) -> Fields | None:
    """What a frame's block says, as told; None where it cannot be that block.

    ``seen`` is what the frame shows by itself: some of it may be unknown.
    """
    left = Counter(told.fields)
    missing = []
    for field in seen.pairs():
        if left[field] > 0:
            left[field] -= 1
        else:
            missing.append(field)
    if told.cut:
        if not seen.cut and not seen.unknown:
            return seen
        return Fields([*told.fields, *missing], True)
    if missing:
        return None
    if not seen.cut and sum(left.values()) != seen.unknown:
        return None
    return Fields(told.fields)


def ended_blocks(data: bytes, mid: int, open_stream: int, left: int) -> Iterator[tuple[int, int]]:
    """The header blocks that end in a segment's frames: where in ``data`` the frame begins with
    which each ends (0: before it), and its stream.

    Args:
        data, mid: as in ``http2_frames.Walked``.
        open_stream: of a frame before them that ends a block, 0: there is none; left: bytes of
            it that were still to come.
    """
    if open_stream and mid >= left:
        yield 0, open_stream
    at, size = mid, len(data)
    while at + ENTRY.size <= size:
        _, high, amount, kind, flags, stream = ENTRY.unpack_from(data, at)
        begin, at = at, at + ENTRY.size
        if not kind:  # DATA comes without its payload
            continue
        amount |= high << 16
        at += amount
        if kind in (HEADERS, CONTINUATION) and flags & END_HEADERS and at <= size:
            yield begin, stream


class ToldBlocks:
    """The told blocks of one connection, until their frames come.

    Attributes:
        counts: blocks by what became of them, for the ledger.
    """

    __slots__ = ("_blocks", "_joined", "counts")

    def __init__(self) -> None:
        self._blocks: tuple[dict[int, deque[Block]], dict[int, deque[Block]]] = ({}, {})
        self._joined: dict[tuple[int, int], tuple[Fields, Block, Fields | None]] = {}
        """Frames' blocks, and told ones, that were joined before: what came of it. They are
        held here, so that their addresses stay theirs."""
        self.counts: Counter[str] = Counter()

    def tell(self, direction: int, stream: int, block: Block) -> None:
        """Takes one. One that was told just before, word for word, is the same: a probe fires
        again where a function starts over with a larger stack."""
        streams = self._blocks[direction]
        queue = streams.get(stream)
        if queue is None:
            if len(streams) >= MAX_STREAMS:
                del streams[next(iter(streams))]
                self.counts["header_blocks_without_frame"] += 1
            queue = streams[stream] = deque(maxlen=MAX_BLOCKS)
        if not queue or queue[-1] != block:
            queue.append(block)

    def waiting(self, direction: int, stream: int, start: int) -> int:
        """Blocks that a frame of the segment from ``start`` on may have."""
        queue = self._blocks[direction].get(stream)
        found = 0
        for block in queue or ():
            if block.start is None or block.start == start:
                found += 1
        return found

    def take(self, direction: int, stream: int, start: int, seen: Fields) -> Fields | None:
        """The block of a frame in the segment that begins at ``start``; None: not told."""
        queue = self._blocks[direction].get(stream)
        while queue:
            block = queue[0]
            if block.start is not None and block.start != start:
                if block.start - start & 0xFFFFFFFF < 1 << 31:
                    break  # of a later segment
                queue.popleft()
                self.counts["header_blocks_without_frame"] += 1
                continue
            queue.popleft()
            fields = self._join(seen, block)
            if fields is not None:
                if not queue:
                    del self._blocks[direction][stream]
                self.counts["header_blocks_told"] += 1
                return fields
            self.counts["header_blocks_disagree"] += 1
        if queue is not None and not queue:
            del self._blocks[direction][stream]
        self.counts["header_blocks_not_told"] += 1
        return None

    def _join(self, seen: Fields, block: Block) -> Fields | None:
        """``reconcile``, once for blocks that come again and again."""
        joined = self._joined
        key = (id(seen), id(block.fields))
        known = joined.get(key)
        if known is None or known[1].cut != block.cut:
            if len(joined) >= _MAX_JOINED:
                joined.clear()
            known = joined[key] = (seen, block, reconcile(seen, block))
        return known[2]
