"""A file's bytes, searched without a copy of it in memory and without mapping it.

A mapped file that is cut short while it is read kills the reader (SIGBUS), and its pages
count as the reader's memory. This reads pieces, keeps the last ones, and finds out.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import overload

PIECE = 1 << 20
KEPT = 24
"""Pieces kept: more than the functions' names of a program of 100 MB."""


class FileChangedError(OSError):
    """The file is shorter than it was when it was opened."""


class FileBytes:
    """Looks like ``bytes`` as far as slices and ``find`` go. Owns a duplicate of the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._size = os.fstat(self._descriptor).st_size
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def close(self) -> None:
        """Gives the descriptor back; nothing can be read after that."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._pieces.clear()

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: int | slice) -> int | bytes:
        if isinstance(key, int):
            if not 0 <= key < self._size:
                raise IndexError(key)
            return self._piece(key // PIECE)[key % PIECE]
        start, stop, _ = key.indices(self._size)
        if start >= stop:
            return b""
        first, last = start // PIECE, (stop - 1) // PIECE
        if first == last and stop - start < PIECE:
            return self._piece(first)[start % PIECE : stop - first * PIECE]
        return self._pread(stop - start, start)

    def find(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        """Where ``wanted`` first lies within the range, or -1. As ``bytes.find``."""
        end = self._size if end is None else min(end, self._size)
        start = max(start, 0)
        while start + len(wanted) <= end:
            number = start // PIECE
            base = number * PIECE
            at = self._piece(number).find(wanted, start - base, end - base)
            if at >= 0:
                return base + at
            # Across the border to the next piece.
            border = base + PIECE
            seam = max(start, border - len(wanted) + 1)
            around = self[seam : min(border + len(wanted) - 1, end)]
            at = around.find(wanted)
            if at >= 0:
                return seam + at
            start = border
        return -1

    def find_each(
        self, wanted: Collection[bytes], start: int, end: int, limit: int
    ) -> Iterator[tuple[bytes, int]]:
        """Where each of several patterns lies in the range, reading it once.

        At most ``limit`` places a pattern are given, in the order of the pieces, and ten
        times that in all.
        """
        left = dict.fromkeys(wanted, limit)
        total = 10 * limit + len(left)
        longest = max(map(len, left), default=0)
        end = min(end, self._size)
        base = max(start, 0)
        while left and base < end:
            # A piece, and so much of the next that what begins in this one is whole.
            piece = self[base : min(base + PIECE + longest - 1, end)]
            for pattern in list(left):
                stop = PIECE + len(pattern) - 1
                at = piece.find(pattern, 0, stop)
                while at >= 0:
                    yield pattern, base + at
                    left[pattern] -= 1
                    total -= 1
                    if not total:
                        return
                    if not left[pattern]:
                        del left[pattern]
                        break
                    at = piece.find(pattern, at + 1, stop)
            base += PIECE

    def _piece(self, number: int) -> bytes:
        piece = self._pieces.get(number)
        if piece is None:
            start = number * PIECE
            piece = self._pread(min(PIECE, self._size - start), start)
            self._pieces[number] = piece
            if len(self._pieces) > KEPT:
                self._pieces.popitem(last=False)
        else:
            self._pieces.move_to_end(number)
        return piece

    def _pread(self, size: int, start: int) -> bytes:
        raw = os.pread(self._descriptor, size, start)
        if len(raw) != size:
            raise FileChangedError(f"{len(raw)} of {size} bytes at {start} are there")
        return raw

    # What pyelftools asks of a stream.

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else self._at + size
        raw = self[self._at : stop]
        self._at += len(raw)
        return raw
