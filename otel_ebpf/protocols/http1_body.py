"""Chunked bodies, framed without keeping a byte of them (RFC 9112, 7.1)."""

from __future__ import annotations

MORE, DONE, BROKEN = 0, 1, 2

MAX_LINE = 4096
"""Longest chunk-size line (extensions included) or trailer field."""

_SIZE, _DATA, _DATA_END, _TRAILERS = 0, 1, 2, 3
_HEX = frozenset(b"0123456789abcdefABCDEF")


class ChunkedBody:
    """Finds the end of one chunked body. Holds one unfinished line at most."""

    __slots__ = ("_left", "_line", "_phase")

    def __init__(self) -> None:
        self._phase = _SIZE
        self._left = 0
        self._line = b""

    def feed(self, data: bytes, pos: int) -> tuple[int, int]:
        """Read from ``pos``; return the position reached and MORE, DONE or BROKEN."""
        size = len(data)
        while pos < size:
            if self._phase == _DATA:
                if size - pos < self._left:
                    self._left -= size - pos
                    return size, MORE
                pos += self._left
                self._phase = _DATA_END
                continue
            end = data.find(b"\n", pos)
            if end < 0:
                self._line += data[pos : pos + MAX_LINE + 1]
                return size, BROKEN if len(self._line) > MAX_LINE else MORE
            line = (self._line + data[pos:end]).rstrip(b"\r")
            self._line = b""
            pos = end + 1
            if self._phase == _SIZE:
                chunk = _chunk_size(line)
                if chunk < 0:
                    return pos, BROKEN
                self._left = chunk
                self._phase = _DATA if chunk else _TRAILERS
            elif self._phase == _DATA_END:
                if line:
                    return pos, BROKEN
                self._phase = _SIZE
            elif not line:
                return pos, DONE
        return pos, MORE

    def skip(self, length: int) -> bool:
        """Pass over ``length`` unseen bytes; False when the framing is lost by it."""
        if self._phase != _DATA or length > self._left:
            return False
        self._left -= length
        return True


def _chunk_size(line: bytes) -> int:
    if len(line) > MAX_LINE:
        return -1
    digits = line.partition(b";")[0].strip(b" \t")
    if not 0 < len(digits) <= 15 or not _HEX.issuperset(digits):
        return -1
    return int(digits, 16)
