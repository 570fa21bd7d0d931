"""Bursts on their way to a capture file: secrets in them are overwritten, lengths stay."""

from __future__ import annotations

import copy
import struct
from operator import itemgetter
from typing import NamedTuple

from cachetools import LRUCache

from otel_ebpf.events.capture import CaptureWriter
from otel_ebpf.events.decode import Decoder, Record, record_at
from otel_ebpf.events.layout import BURST, CLOSE, CORRECTION, DATA, RECORD, offset
from otel_ebpf.protocols.registry import by_number
from otel_ebpf.recording.rules import RULES
from otel_ebpf.recording.scan import Rule, Scan

BLANK = b"x"
MOST_STREAMS = 65_536
"""Directions of connections that are remembered."""

_U16 = struct.Struct("<H")
_TAIL, _TAIL_LEN = offset("tail"), offset("tail_len")


class _Stream(NamedTuple):
    """One direction of a connection: as it is now, as it was before its last piece, and that."""

    scan: Scan
    before: Scan
    data: bytes
    begins: bool


class SecretlessWriter:
    """A capture file without the secrets of what was recorded.

    What went through one connection may come in several CPUs' bursts, so these wait for the
    watermark that says that everything earlier has come.

    Args:
        out: the file.
    """

    def __init__(self, out: CaptureWriter) -> None:
        self._out = out
        self._bursts: list[tuple[int, bytearray]] = []
        """Each with its CPU; in the order in which they came."""
        self._streams: LRUCache[tuple[int, int], _Stream] = LRUCache(MOST_STREAMS)

    def burst(self, cpu: int, data: bytes) -> None:
        """One flush of a CPU's buffer."""
        self._bursts.append((cpu, bytearray(data)))

    def watermark(self, time: int) -> None:
        """Monotonic nanoseconds before which nothing more will come."""
        self._write(time)
        self._out.watermark(time)

    def finish(self) -> None:
        """Writes everything that waits. The file is not closed."""
        self._write(1 << 63)

    def _write(self, until: int) -> None:
        """What was recorded until then; what is later waits, in a burst of its own."""
        ready: list[tuple[int, bytearray]] = []
        waiting: list[tuple[int, bytearray]] = []
        for cpu, burst in self._bursts:
            before, after = _divided(burst, until)
            ready += [(cpu, before)] if before else []
            waiting += [(cpu, after)] if after else []
        places = [
            (ts, burst, at)
            for _, burst in ready
            for ts, _, _, at in Decoder().locate(bytes(burst))[0]
        ]
        places.sort(key=itemgetter(0))
        for _, burst, at in places:
            self._take(burst, at)
        for cpu, burst in ready:
            self._out.burst(cpu, bytes(burst))
        self._bursts = waiting

    def _take(self, burst: bytearray, at: int) -> None:
        record = record_at(bytes(burst[at : at + _U16.unpack_from(burst, at)[0]]), 0)
        if record.type == DATA:
            protocol = by_number.get(record.protocol)
            # What comes before it is known belongs to what is then found.
            rules = RULES.get(protocol.name) if protocol is not None else ()
            if rules is not None:
                self._blank(burst, at, record, rules)
        elif record.type == CORRECTION:
            self._correct(record)
        elif record.type == CLOSE:
            for direction in (0, 1):
                self._streams.pop((record.socket_id, direction), None)

    def _blank(self, burst: bytearray, at: int, record: Record, rules: tuple[Rule, ...]) -> None:
        key = record.socket_id, record.direction
        known = self._streams.get(key)
        scan = known.scan if known is not None else Scan()
        before = copy.copy(scan)
        scan.rules = rules
        data = bytes(record.data)
        begins = record.begins in (1, 2)
        body = at + RECORD.size
        for start, end in scan.feed(data, record.length, begins):
            burst[body + start : body + end] = BLANK * (end - start)
        if record.tail_len and scan.inside:
            burst[at + _TAIL : at + _TAIL + 8] = bytes(8)
            burst[at + _TAIL_LEN] = 0
        self._streams[key] = _Stream(scan, before, data, begins)

    def _correct(self, record: Record) -> None:
        """The last send moved less than was told: the rest will come again."""
        key = record.socket_id, record.direction
        known = self._streams.get(key)
        if known is None:
            return
        scan = copy.copy(known.before)
        scan.feed(known.data[: record.length], record.length, known.begins)
        self._streams[key] = known._replace(scan=scan)


def _divided(burst: bytearray, until: int) -> tuple[bytearray, bytearray]:
    """A burst as two: with the records until a time, and with the later ones. Either may be
    empty; one that makes no sense is not divided."""
    places = Decoder().locate(bytes(burst))[0]
    if all(place[0] <= until for place in places):
        return burst, bytearray()
    if all(place[0] > until for place in places):
        return bytearray(), burst
    _, _, cpu, pad, number, records, first, generation = BURST.unpack_from(burst)
    halves: list[bytearray] = []
    for late in (False, True):
        kept = bytearray()
        count = 0
        for ts, _, _, at in places:
            if (ts > until) is late:
                kept += burst[at : at + _U16.unpack_from(burst, at)[0]]
                count += 1
        head = BURST.pack(count, len(kept), cpu, pad, number, records, first, generation)
        records += count
        halves.append(bytearray(head) + kept)
    return halves[0], halves[1]
