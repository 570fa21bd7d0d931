"""HTTP/2 frames in a byte stream (RFC 9113, 4.1), as far as they tell of streams.

``Walk`` does in Python what bpf/http2.h does in the kernel, for bytes that did not come
through there (from within TLS, or behind an upgrade); a test compares the two. Both give
frames one after another, each as its place in the stream, its header and its payload;
DATA is there without payload, and only where it ends its stream.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = 0, 1, 2, 3, 4, 5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = 9
LONGEST = 65536
"""A longer frame is not believed, unless it is DATA."""
_KEPT = frozenset((HEADERS, RST_STREAM, PUSH_PROMISE, GOAWAY, CONTINUATION))

ENTRY = struct.Struct(">IBHBBI")
"""A frame as it is handed on: place, length (high byte, low bytes), type, flags, stream."""
_LENGTH_STREAM = struct.Struct(">BHBBI")


class Walked(NamedTuple):
    """What a segment brought.

    Attributes:
        frames: see the module's text.
        mid: bytes of it that belong to the last frame of what came before.
        lost: frames may have passed that were not seen, before these.
        tell: a stream's last DATA ended in this segment.
    """

    frames: bytes
    mid: int
    lost: bool
    tell: bool


NOTHING = Walked(b"", 0, False, False)


def plausible(header: bytes) -> bool:
    """Whether 9 bytes can be meant as a frame's header: all of it fits its type."""
    high, low, kind, flags, stream = _LENGTH_STREAM.unpack(header)
    length = high << 16 | low
    if stream >> 31:
        return False
    if kind == DATA:
        return bool(stream) and not flags & ~9
    if length > LONGEST:
        return False
    if kind == HEADERS:
        return bool(stream and length) and not flags & ~0x2D
    if kind == PRIORITY:
        return bool(stream) and length == 5 and not flags
    if kind == RST_STREAM:
        return bool(stream) and length == 4 and not flags
    if kind == SETTINGS:
        if stream:
            return False
        return (length % 6 == 0 and length <= 384) if not flags else flags == ACK and not length
    if kind == PUSH_PROMISE:
        return bool(stream) and length > 4 and not flags & ~0xC
    if kind == PING:
        return not stream and length == 8 and flags < 2
    if kind == GOAWAY:
        return not stream and length >= 8 and not flags
    if kind == WINDOW_UPDATE:
        return length == 4 and not flags
    if kind == CONTINUATION:
        return bool(stream) and not flags & ~4
    return bool(kind < 0x20)


class Walk:
    """One direction's frames. Holds an unfinished header at most.

    Attributes:
        sync: the next byte's place among the frames is known.
    """

    __slots__ = ("_ends", "_head", "_keep", "_left", "_untold", "sync")

    def __init__(self, preface: bool = False) -> None:
        self.sync = preface
        self._left = len(PREFACE) if preface else 0
        self._head = b""
        self._keep = self._ends = False
        self._untold = not preface

    def trust(self) -> None:
        """Nothing has been missed after all."""
        self._untold = False

    def lose(self) -> None:
        """Bytes are missing: the next segment shows whether it begins with a frame."""
        self.sync = False
        self._left = 0
        self._head = b""
        self._untold = True

    def feed(self, data: bytes, length: int, seq: int) -> Walked:
        """Takes a segment: ``data`` is the captured prefix of its ``length`` bytes, ``seq`` the
        place of its first one (modulo 2**32)."""
        at, size, mid = 0, len(data), 0
        tell = False
        lost, self._untold = self._untold, False
        out: list[bytes] = []
        self.sync = True
        inside = bool(self._left)
        while at < size:
            left = self._left
            if left:
                piece = min(left, size - at)
                if self._keep:
                    out.append(data[at : at + piece])
                    if inside:
                        mid += piece
                at += piece
                self._left = left - piece
                if left == piece:
                    inside = False
                    tell = tell or self._ends
                continue
            before = self._head
            header = before + data[at : at + HEADER - len(before)]
            at += len(header) - len(before)
            if len(header) < HEADER:
                self._head = header
                if length > size:  # the rest of it was not captured
                    self.lose()
                break
            self._head = b""
            if not plausible(header):
                self.lose()
                break
            self._begin(header)
            inside = False
            if self._keep or self._ends:
                out.append((seq + at - HEADER & 0xFFFFFFFF).to_bytes(4, "big") + header)
        else:
            tell = self._pass(length - size) or tell
        frames = b"".join(out)
        if not frames and not tell:
            self._untold = self._untold or lost
            return NOTHING
        return Walked(frames, mid, lost, tell)

    def _begin(self, header: bytes) -> None:
        high, low, kind, flags, _ = _LENGTH_STREAM.unpack(header)
        self._left = high << 16 | low
        self._keep = kind in _KEPT
        self._ends = kind == DATA and bool(flags & END_STREAM)

    def _pass(self, length: int) -> bool:
        """``length`` bytes follow that were not captured; whether a stream ends in them."""
        if not length:
            return False
        if self._keep or self._head or length > self._left:
            ended = self._ends and bool(self._left)
            self.lose()
            return ended
        self._left -= length
        return self._ends and not self._left
