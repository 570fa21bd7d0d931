"""The content of a file that may be compressed, as far as it can be read."""

from __future__ import annotations

import contextlib
import zlib
from typing import IO, Any

_CHUNK = 64 << 10
_MOST_FROM_ONE_CHUNK = 2 * _CHUNK


class Content:
    """A file's content, decompressed when it is gzip. Gives what there is, then less.

    The gzip module's own reader throws the readable rest away when a file is cut.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.offset = 0
        self._file = file
        self._buffer = bytearray()
        first = self._file.read(2)
        self._inflate = zlib.decompressobj(31) if first == b"\x1f\x8b" else None
        self._input = first
        self._error: zlib.error | None = None

    def take(self, size: int) -> bytes:
        """Up to ``size`` bytes; fewer only at the end of what can be read."""
        while len(self._buffer) < size:
            more = self._more()
            if not more:
                break
            self._buffer += more
        with memoryview(self._buffer) as view:  # a slice of the buffer would be one copy more
            data = bytes(view[:size])
        del self._buffer[:size]
        self.offset += len(data)
        return data

    def _more(self) -> bytes:
        if self._inflate is None:
            data, self._input = self._input, b""
            return data or self._file.read(_CHUNK)
        if self._error is not None:
            raise self._error
        while not self._inflate.eof:
            source = self._input or self._file.read(_CHUNK)
            before = self._inflate.copy()
            try:
                data = self._inflate.decompress(source, _CHUNK)
            except zlib.error as error:
                self._error = error
                return _until_error(before, source)
            self._input = self._inflate.unconsumed_tail
            if data or not source:
                return data
        return self._inflate.unused_data[:1] or self._file.read(1)


def _until_error(inflate: Any, source: bytes) -> bytes:
    """What comes before the damaged byte. ``decompress`` keeps none of a call that fails."""
    good = bytearray()
    with contextlib.suppress(zlib.error):
        for at in range(len(source)):
            good += inflate.decompress(source[at : at + 1])
            if len(good) > _MOST_FROM_ONE_CHUNK:
                break
    return bytes(good)
