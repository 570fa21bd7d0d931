"""FastCGI's framing: records of a header, content and padding; and its name-value pairs."""

from __future__ import annotations

from typing import Any

from .cgi import MAX_VARIABLES

HEADER = 8
BEGIN_REQUEST, ABORT_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR, DATA = range(1, 9)
LAST_TYPE = 11
"""GET_VALUES, GET_VALUES_RESULT and UNKNOWN_TYPE follow; they are of no request."""


class Piece:
    """What one segment holds of one record.

    Attributes:
        kind: the record's type; request: its request's id.
        content: bytes of it that were captured; cut: how many behind them were not.
        first: the record's header ended here; last: its content ends here.
        empty: the record has no content: a stream's end.
        size: bytes of the whole record.
        start, token, offset: of the record's first byte, as ``base.Message`` has them.
    """

    __slots__ = (
        "content",
        "cut",
        "empty",
        "first",
        "kind",
        "last",
        "offset",
        "request",
        "size",
        "start",
        "token",
    )

    kind: int
    request: int
    content: bytes
    cut: int
    first: bool
    last: bool
    empty: bool
    size: int
    start: int
    token: Any
    offset: int


class Records:
    """One direction of a connection.

    Attributes:
        lost: where the next record begins is not known.
    """

    __slots__ = ("_head", "_left", "_padding", "_place", "_size", "lost")

    def __init__(self) -> None:
        self.lost = False
        self.reset()

    def reset(self) -> None:
        """A record begins with the next byte."""
        self._head = bytearray()
        self._left = self._padding = self._size = 0
        self._place: tuple[int, Any, int] = (0, None, 0)

    @property
    def between(self) -> bool:
        """No record is begun."""
        return not self._head

    def feed(self, data: bytes, length: int, ts: int, token: Any) -> tuple[list[Piece], bool]:
        """The records in a segment, of whose ``length`` bytes ``data`` was captured. The second
        is True where the framing was lost: by bytes that are none (``lost`` is set), or by
        those that were not captured."""
        out: list[Piece] = []
        size = len(data)
        at = 0
        head = self._head
        while at < size:
            if len(head) < HEADER:
                if not head:
                    self._place = (ts, token, at)
                taken = data[at : at + HEADER - len(head)]
                head += taken
                at += len(taken)
                if len(head) < HEADER:
                    break
                if head[0] != 1 or not 0 < head[1] <= LAST_TYPE:
                    self.lost = True
                    return out, True
                self._left = head[4] << 8 | head[5]
                self._padding = head[6]
                self._size = HEADER + self._left + self._padding
                if self._left:
                    if at < size:
                        continue
                    out.append(self._piece(b"", 0, first=True))
                    break
                out.append(self._piece(b"", 0, first=True))
            elif self._left:
                content = data[at : at + self._left]
                first = self._left + self._padding + HEADER == self._size
                at += len(content)
                self._left -= len(content)
                out.append(self._piece(content, 0, first))
            if not self._left:
                passed = min(self._padding, size - at)
                at += passed
                self._padding -= passed
                if not self._padding:
                    head.clear()
        return out, self._skip(length - size, out)

    def _skip(self, missing: int, out: list[Piece]) -> bool:
        if missing <= 0:
            return False
        if len(self._head) < HEADER or missing > self._left + self._padding:
            self.lost = True
            return True
        cut = min(missing, self._left)
        self._left -= cut
        self._padding -= missing - cut
        if cut:
            out.append(self._piece(b"", cut, first=False))
        if not self._left and not self._padding:
            self._head.clear()
        return False

    def _piece(self, content: bytes, cut: int, first: bool) -> Piece:
        head = self._head
        piece = Piece()
        piece.kind = head[1]
        piece.request = head[2] << 8 | head[3]
        piece.content = content
        piece.cut = cut
        piece.first = first
        piece.last = not self._left
        piece.empty = self._size - head[6] == HEADER
        piece.size = self._size
        piece.start, piece.token, piece.offset = self._place
        return piece


def begins_request(data: bytes) -> bool:
    """Whether a segment begins with a request, as far as it goes (8 bytes at least)."""
    return (
        len(data) >= HEADER
        and data[0] == 1
        and data[1] == BEGIN_REQUEST
        and data[4:6] == b"\0\x08"
        and (len(data) < 16 or (data[8] == 0 and 0 < data[9] < 4 and data[10] < 2))
    )


def name_values(data: bytes) -> tuple[dict[bytes, bytes], bool]:
    """The pairs of a PARAMS stream; False where it does not end with one."""
    found: dict[bytes, bytes] = {}
    at, size = 0, len(data)
    while at < size:
        lengths = []
        for _ in range(2):
            if at >= size:
                return found, False
            n = data[at]
            at += 1
            if n & 0x80:
                if at + 3 > size:
                    return found, False
                n = (n & 0x7F) << 24 | int.from_bytes(data[at : at + 3], "big")
                at += 3
            lengths.append(n)
        middle = at + lengths[0]
        end = middle + lengths[1]
        if end > size:
            return found, False
        if len(found) < MAX_VARIABLES:
            found[data[at:middle]] = data[middle:end]
        at = end
    return found, True
