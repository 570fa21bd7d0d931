"""The record layout, as bpf/records.h has it. A test compares the two through DWARF."""

from __future__ import annotations

import struct
import zlib

RECORD_MEMBERS: tuple[tuple[str, str], ...] = (
    # (member of struct __socket_data, struct format)
    ("size", "H"),
    ("type", "B"),
    ("direction", "B"),
    ("role", "B"),
    ("protocol", "B"),
    ("begins", "B"),
    ("rule", "B"),
    ("tgid", "I"),
    ("tid", "I"),
    ("ts", "Q"),
    ("end_ts", "Q"),
    ("socket_id", "Q"),
    ("length", "Q"),
    ("tcp_seq", "I"),
    ("segments", "H"),
    ("data_len", "H"),
    ("uid", "Q"),
    ("parent_uid", "Q"),
    ("caller_uid", "Q"),
    ("context_uid", "Q"),
    ("goid", "Q"),
    ("ref_ts", "Q"),
    ("caller_goid", "Q"),
    ("caller_site", "Q"),
    ("fd", "I"),
    ("flags", "B"),
    ("family", "B"),
    ("tail_len", "B"),
    ("syscall", "B"),
    ("tail", "8s"),
    ("netns", "I"),
    ("local_port", "H"),
    ("peer_port", "H"),
    ("local_addr", "16s"),
    ("peer_addr", "16s"),
)

BURST_MEMBERS: tuple[tuple[str, str], ...] = (
    # (member of struct __socket_data_buffer, struct format); data follows
    ("events_num", "I"),
    ("len", "I"),
    ("cpu", "I"),
    ("pad", "I"),
    ("seq", "Q"),
    ("records", "Q"),
    ("first_ts", "Q"),
    ("generation", "Q"),
)

LAYOUT = f"{zlib.crc32(repr((BURST_MEMBERS, RECORD_MEMBERS)).encode()):08x}"
"""Names this layout in capture files, so that no other program misreads the records."""

RECORD = struct.Struct("<" + "".join(fmt for _, fmt in RECORD_MEMBERS))
BURST = struct.Struct("<" + "".join(fmt for _, fmt in BURST_MEMBERS))

ADDRESSES = struct.Struct("<IHH16s16s")
"""netns, local port, peer port, local and peer address: the record's end."""
ADDRESSES_AT = RECORD.size - ADDRESSES.size


def _only(*members: str) -> struct.Struct:
    """Unpacks these members of a record, in their order there, and passes over the others."""
    wanted = set(members)
    parts = []
    for name, fmt in RECORD_MEMBERS:
        parts.append(fmt if name in wanted else f"{struct.calcsize('<' + fmt)}x")
        wanted.discard(name)
        if not wanted:
            break
    return struct.Struct("<" + "".join(parts))


def offset(member: str) -> int:
    """Where in a record the member begins."""
    names = [name for name, _ in RECORD_MEMBERS]
    return struct.calcsize("<" + "".join(fmt for _, fmt in RECORD_MEMBERS[: names.index(member)]))


SHAPE = _only("size", "type", "direction", "ts", "data_len")
"""What is needed to find the next record, and to put this one in order."""
SEGMENT = _only(
    *("direction", "begins", "tgid", "tid", "end_ts", "socket_id"),
    *("length", "tcp_seq", "data_len", "uid"),
)
"""What the usual exchange needs of its records, beyond that."""
HOT = struct.Struct("<" + "".join(fmt for _, fmt in RECORD_MEMBERS[:-5]))
"""The record without its addresses, which are read once a connection."""

# enum record_type
VOID, DATA, CLOSE, CORRECTION, EXEC, FORK, EXIT, EOF, ERROR, STREAM, LINEAGE, WAKE = range(12)
HEADERS, DATAGRAM = 12, 13
# enum direction
INGRESS, EGRESS = range(2)
# enum role
ROLE_UNKNOWN, ROLE_CLIENT, ROLE_SERVER = range(3)
# enum family
FAMILY_NONE, FAMILY_IPV4, FAMILY_IPV6, FAMILY_UNIX = range(4)
# enum begins
NOTHING, REQUEST, RESPONSE, INTERIM, MAYBE, FRAMES = range(6)
# enum parent_rule
RULE_NONE, RULE_THREAD, RULE_SOLE, RULE_GOROUTINE, RULE_ANCESTOR, RULE_AMBIGUOUS = range(6)
RULE_WORKER, RULE_SERVER = 6, 7
# enum record_flags
FLAG_RUN_START = 1
FLAG_RESPONDED = 2
FLAG_GO = 4
FLAG_CALLER = 8
FLAG_CONTEXT = 16
FLAG_DEFERRED = 32
FLAG_GO_POOLED = 64
FLAG_CALLER_PARENT = 128
# Of a record without FLAG_GO.
FLAG_TASK = FLAG_CALLER
FLAG_TURN = FLAG_CONTEXT
FLAG_OPENED = FLAG_CALLER_PARENT
FLAG_DUE = FLAG_GO_POOLED
# Of a protocol whose parser pairs, where it is recognised.
FLAG_FRESH = FLAG_RUN_START
# And of what follows.
FLAG_BEHIND = FLAG_RUN_START
TURNS_PROXY = 2


def stream_uid(socket_id: int, stream: int) -> int:
    """The number of an HTTP/2 stream's request, as ``stream_uid`` of bpf/http2_types.h makes it.

    Bit 63 is set, which it is in no HTTP/1 request's number.
    """
    return (
        1 << 63
        | (socket_id >> 48 & 0xFF) << 55
        | (socket_id & 0xFFFFFF) << 31
        | stream & 0x7FFFFFFF
    )


# enum tls_call: `syscall` of bytes that passed through TLS, as the program wrote and read them
CALL_TLS_READ, CALL_TLS_WRITE = 17, 18

TLS_WHOLE = 128
"""Added to that where the connection was followed from its handshake on."""
