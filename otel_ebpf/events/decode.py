"""From bursts to records."""

from __future__ import annotations

import struct

from otel_ebpf.events.layout import ADDRESSES, ADDRESSES_AT, BURST, HOT, RECORD

_HEADER = BURST.size
_RECORD = RECORD.size
_RECORD_END = ADDRESSES_AT


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

    @property
    def comm(self) -> str:
        """The command's name in a process record."""
        local: bytes = ADDRESSES.unpack(self.address)[3]
        return local.split(b"\0", 1)[0].decode(errors="replace")


class Decoder:
    """Bursts to records; counts what is missing between them.

    Attributes:
        records: records decoded.
        lost: records that were written to bursts which never arrived.
        malformed: bursts that were cut off or made no sense.
    """

    def __init__(self) -> None:
        self.records = 0
        self.lost = 0
        self.malformed = 0
        self._expected: dict[int, int] = {}

    def feed(self, burst: bytes) -> list[Record]:
        """Records of one burst, in the order of writing. Never raises."""
        size = len(burst)
        if size < _HEADER:
            self.malformed += 1
            return []
        number, used, cpu, _, _, before, _, _ = BURST.unpack_from(burst)
        expected = self._expected.get(cpu, 0)
        if before > expected:
            self.lost += before - expected
        self._expected[cpu] = before + number
        end = _HEADER + used
        if end > size:
            self.malformed += 1
            end = size
        out: list[Record] = []
        at = _HEADER
        unpack = HOT.unpack_from
        new = Record
        try:
            while at + _RECORD <= end:
                r = new()
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
                ) = unpack(burst, at)
                body = at + _RECORD
                if r.size < _RECORD or body + n > end or r.direction > 1:
                    self.malformed += 1
                    break
                r.data_len = n
                r.data = burst[body : body + n]
                r.address = burst[at + _RECORD_END : body]
                out.append(r)
                at += r.size
        except struct.error:
            self.malformed += 1
        self.records += len(out)
        return out
