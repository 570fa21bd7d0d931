"""From bursts to records."""

from __future__ import annotations

import struct

from otel_ebpf.events.layout import (
    ADDRESSES,
    ADDRESSES_AT,
    BURST,
    DATA,
    HOT,
    RECORD,
    SHAPE,
    offset,
)

_HEADER = BURST.size
_RECORD = RECORD.size


class Record:
    """One record of bpf/records.h, with its payload.

    The members are the C side's; ``data`` is the payload (at most 4096 bytes) and
    ``address`` the bytes of :data:`~otel_ebpf.events.layout.ADDRESSES`. For process
    records ``address`` holds the command's name.
    """

    __slots__ = (
        "address",
        "begins",
        "caller_goid",
        "caller_site",
        "caller_uid",
        "context_uid",
        "data",
        "data_len",
        "direction",
        "end_ts",
        "family",
        "fd",
        "flags",
        "goid",
        "length",
        "parent_uid",
        "protocol",
        "ref_ts",
        "role",
        "rule",
        "segments",
        "size",
        "socket_id",
        "syscall",
        "tail",
        "tail_len",
        "tcp_seq",
        "tgid",
        "tid",
        "ts",
        "type",
        "uid",
    )

    size: int
    type: int
    direction: int
    role: int
    protocol: int
    begins: int
    rule: int
    tgid: int
    tid: int
    ts: int
    end_ts: int
    socket_id: int
    length: int
    tcp_seq: int
    segments: int
    data_len: int
    uid: int
    parent_uid: int
    caller_uid: int
    context_uid: int
    goid: int
    ref_ts: int
    caller_goid: int
    caller_site: int
    fd: int
    flags: int
    family: int
    tail_len: int
    syscall: int
    tail: bytes
    data: bytes
    address: bytes

    def addresses(self) -> tuple[int, int, int, bytes, bytes]:
        """(netns, local port, peer port, local address, peer address)."""
        netns, local_port, peer_port, local, peer = ADDRESSES.unpack(self.address)
        return netns, local_port, peer_port, local, peer

    def again(self) -> Record:
        """A copy."""
        made = Record()
        for name in _MEMBERS:
            setattr(made, name, getattr(self, name))
        return made

    @property
    def comm(self) -> str:
        """The command's name in a process record."""
        local: bytes = ADDRESSES.unpack(self.address)[3]
        return local.split(b"\0", 1)[0].decode(errors="replace")


_MEMBERS = Record.__slots__

Place = tuple[int, int, bytes, int]
"""A record that is not decoded yet: its ``ts`` and ``type``, the bytes that hold it, and
where in them it begins."""


def record_at(data: bytes, at: int) -> Record:
    """The record at a place that :meth:`Decoder.locate` gave."""
    r = Record()
    (
        r.size,
        r.type,
        r.direction,
        r.role,
        r.protocol,
        r.begins,
        r.rule,
        r.tgid,
        r.tid,
        r.ts,
        r.end_ts,
        r.socket_id,
        r.length,
        r.tcp_seq,
        r.segments,
        n,
        r.uid,
        r.parent_uid,
        r.caller_uid,
        r.context_uid,
        r.goid,
        r.ref_ts,
        r.caller_goid,
        r.caller_site,
        r.fd,
        r.flags,
        r.family,
        r.tail_len,
        r.syscall,
        r.tail,
    ) = HOT.unpack_from(data, at)
    body = at + _RECORD
    r.data_len = n
    r.data = data[body : body + n]
    r.address = data[at + ADDRESSES_AT : body]
    return r


def shortened(data: bytes, at: int, length: int) -> bytes:
    """The record at a place, alone, as if only ``length`` bytes had moved."""
    size, _, _, _, n = SHAPE.unpack_from(data, at)
    record = bytearray(data[at : at + size])
    struct.pack_into("<Q", record, offset("length"), length)
    struct.pack_into("<H", record, offset("data_len"), min(n, length))
    record[offset("tail_len")] = 0  # of the end that did not move
    return bytes(record)


class Decoder:
    """Bursts to records; counts what is missing between them.

    Attributes:
        records: records found.
        lost: records that were written to bursts which never arrived.
        malformed: bursts that were cut off or made no sense.
    """

    def __init__(self) -> None:
        self.records = 0
        self.lost = 0
        self.malformed = 0
        self._expected: dict[int, int] = {}

    def locate(self, burst: bytes) -> tuple[list[Place], list[Place]]:
        """Places of the records of one burst, in the order of writing; and of those among
        them that tell of something other than data. Never raises.

        What waits for its turn is small so: a place takes a tenth of a decoded record.
        """
        places: list[Place] = []
        others: list[Place] = []
        size = len(burst)
        if size < _HEADER:
            self.malformed += 1
            return places, others
        number, used, cpu, _, _, before, _, _ = BURST.unpack_from(burst)
        expected = self._expected.get(cpu, 0)
        if before > expected:
            self.lost += before - expected
        self._expected[cpu] = before + number
        end = _HEADER + used
        if end > size:
            self.malformed += 1
            end = size
        at = _HEADER
        unpack = SHAPE.unpack_from
        while at + _RECORD <= end:
            taken, kind, direction, ts, n = unpack(burst, at)
            if taken < _RECORD or at + _RECORD + n > end or direction > 1:
                self.malformed += 1
                break
            place = (ts, kind, burst, at)
            places.append(place)
            if kind != DATA:
                others.append(place)
            at += taken
        self.records += len(places)
        return places, others

    def feed(self, burst: bytes) -> list[Record]:
        """Records of one burst, in the order of writing. Never raises."""
        return [record_at(data, at) for _, _, data, at in self.locate(burst)[0]]
