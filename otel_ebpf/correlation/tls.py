"""Where a byte of TLS plaintext was in the TCP stream, the same for both ends of a connection."""

from __future__ import annotations

from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import CALL_TLS_WRITE, FRAMES, TLS_WHOLE

_OF_RECORD, _OF_STREAM = 1 << 63, 1 << 62


def tls_place(record: Record, offset: int) -> int | None:
    """The place, below 1 << 64, of the byte ``offset`` bytes into what ``record`` tells of.

    By the TCP sequence number behind the TLS record that carried it and its place within
    that record's plaintext. Frames of HTTP/2 are told by their place in the whole plaintext,
    which both ends count alike from the handshake on, where they were followed since. None:
    it is not known.
    """
    frames = record.begins == FRAMES
    if frames and record.syscall & TLS_WHOLE:
        return _OF_STREAM | (record.tcp_seq + offset & 0xFFFFFFFF)
    told = record.caller_site if frames else record.ref_ts
    if told and not told >> 63 and record.syscall & ~TLS_WHOLE == CALL_TLS_WRITE and record.fd:
        told = 1 << 63 | record.fd << 31  # when its context was made had that member
    return place_told(told, offset)


def place_told(told: int, offset: int) -> int | None:
    """The same of what the kernel half has told of a segment's first byte."""
    if not told >> 63:
        return None
    if offset and not -(told & 0xFFFF) <= offset < (told >> 16 & 0x7FFF):
        return None  # perhaps in another TLS record
    return _OF_RECORD | (told >> 31 & 0xFFFFFFFF) << 16 | (told & 0xFFFF) + offset
