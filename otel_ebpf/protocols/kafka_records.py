"""Record batches: how many messages they hold, and the trace contexts in their headers.

Only a batch's own header and headers named ``traceparent`` are looked at; keys and values never.
"""

from __future__ import annotations

import re

from .context import CarriedContext, parse_traceparent
from .kafka_frames import Body, Unseen
from .kafka_unpack import NAMES, unpack

MAX_CONTEXTS = 128
"""Contexts kept of one topic's messages."""
_HEADER = 61
_OLD_HEADER = 17
_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_MOST, _MOST_IN_ALL = 1 << 17, 1 << 20
"""Bytes that are unpacked of a batch, and of all batches of one topic."""
# The name's length, the name, the value's length.
_PARENT = re.compile(rb"\x16traceparent\x6e(?=[0-9a-f]{2}-)")
_NAME = b"traceparent"


class Records:
    """What is known of one topic's messages in a request or response.

    Attributes:
        count: of them; some are missing where ``whole`` is False.
        bytes: of their batches on the wire.
        contexts: in their headers, each once, in order, ``MAX_CONTEXTS`` at most.
        unread: how batches are packed whose headers cannot be read here; or "".
        first: offset of the first; -1: not known.
    """

    __slots__ = ("_room", "bytes", "contexts", "count", "first", "unread", "whole")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.whole = True
        self.contexts: dict[CarriedContext, None] = {}
        self.unread = ""
        self.first = -1
        self._room = _MOST_IN_ALL

    def add(
        self,
        body: Body,
        length: int,
        wanted: int = 0,
        aborted: dict[int, list[int]] | None = None,
    ) -> None:
        """Reads ``length`` bytes of batches and goes on behind them, whatever they are.

        ``wanted``: offset of the first message that was asked for; a batch may begin before.
        ``aborted``: first offsets of transactions, by producer, whose messages the reader passes
        over; it is used up.
        """
        self.bytes += length
        end = body.place + length
        while (left := end - body.place) >= _OLD_HEADER:
            header = body.seen(_HEADER)
            if len(header) < _OLD_HEADER:
                self.whole = False
                break
            size = int.from_bytes(header[8:12], "big", signed=True) + 12
            if size > left or size < _OLD_HEADER:
                break  # cut by who sent it; who asked will ask again
            if header[16] < 2:
                self._old(header)
            elif len(header) < _HEADER:
                self.whole = False
            elif size >= _HEADER and not (aborted and _is_aborted(header, aborted)):
                self._batch(header, body.seen(size)[_HEADER:], wanted)
            body.skip(size)
        if end > body.place:
            body.skip(end - body.place)

    def _old(self, header: bytes) -> None:
        """A message of the formats before 0.11, which have no headers."""
        self.count += 1
        if len(header) > _OLD_HEADER and header[_OLD_HEADER] & 7:
            self.whole = False  # it is made of others

    def _batch(self, header: bytes, records: bytes, wanted: int) -> None:
        flags = header[22]
        if flags & _CONTROL:
            return
        count = int.from_bytes(header[57:61], "big", signed=True)
        base = int.from_bytes(header[:8], "big", signed=True)
        last = base + int.from_bytes(header[23:27], "big", signed=True)
        if wanted > base:
            count = min(count, last + 1 - wanted)
        if count <= 0:
            return
        if self.first < 0:
            self.first = max(base, wanted)
        self.count += count
        if len(self.contexts) >= MAX_CONTEXTS:
            return
        how = flags & 7
        if how:
            unpacked = unpack(how, records, min(_MOST, self._room))
            if unpacked is None:
                self.unread = NAMES[how]
                return
            records = unpacked
            self._room -= len(records)
        if _PARENT.search(records) is not None:
            _find(records, max(wanted - base, 0), self.contexts)


def _is_aborted(header: bytes, aborted: dict[int, list[int]]) -> bool:
    """Whether a batch belongs to one of the transactions. Its marker ends it."""
    offsets = aborted.get(int.from_bytes(header[43:51], "big", signed=True))
    base = int.from_bytes(header[:8], "big", signed=True)
    if not offsets or not header[22] & _TRANSACTIONAL or base < offsets[0]:
        return False
    if header[22] & _CONTROL:
        offsets.pop(0)
    return True


def _find(data: bytes, from_delta: int, into: dict[CarriedContext, None]) -> None:
    """The contexts in the headers of these records, of offsets from ``from_delta`` on."""
    at, size = 0, len(data)
    body = Body([(0, data)], size)
    found = _PARENT.search(data)
    try:
        while at < size and found is not None and len(into) < MAX_CONTEXTS:
            body.skip(at - body.place)
            length = _signed(body)
            begin, at = body.place, body.place + length
            if length <= 0:
                return
            if found.start() >= at:
                continue  # not in this one
            body.skip(1)
            _signed_long(body)
            delta = _signed(body)
            for _ in range(2):  # key, value
                body.skip(max(_signed(body), 0))
            if delta >= from_delta and begin < body.place < at:
                _headers(body, at, into)
            found = _PARENT.search(data, at)
    except Unseen:
        return


def _headers(body: Body, end: int, into: dict[CarriedContext, None]) -> None:
    value = b""
    for _ in range(min(_signed(body), 1000)):
        name = body.take(_signed(body))
        length = max(_signed(body), 0)
        if name == _NAME:
            if value:
                return  # two of them contradict each other
            value = body.take(length)
        else:
            body.skip(length)
        if body.place > end:
            return
    context = parse_traceparent(value.decode("latin-1")) if value else None
    if context is not None:
        into[context] = None


def _signed(body: Body) -> int:
    value = body.varint()
    return value >> 1 ^ -(value & 1)


def _signed_long(body: Body) -> None:
    """Goes on behind a number of up to 10 bytes."""
    for _ in range(10):
        if body.take(1)[0] < 0x80:
            return
    raise Unseen
