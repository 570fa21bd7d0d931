"""Go's HTTP/2 and gRPC: what the kernel half must know to tell who asked for a stream.

Members of ``struct go_h2_t`` and ``struct go_grpc_t`` (bpf/go_types.h), and the functions
that begin once a connection. A side whose fields are not all known is off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_returns import return_offsets
from otel_ebpf.discovery.go_wanted import DATABASE_CALLS, TRANSACTION_ENDS

ABSENT = -1

_GRPC = "google.golang.org/grpc/internal/transport"
_MAP = "internal/runtime/maps"
_SWISS = {
    # As bpf/go_map.h has them. A map that is made otherwise is left alone.
    f"{_MAP}.Map.dirPtr": 16,
    f"{_MAP}.Map.dirLen": 24,
    f"{_MAP}.table.groups.data": 16,
    f"{_MAP}.table.groups.lengthMask": 24,
}
SWISS_SINCE = (1, 24)

HOMES = (
    # (place in proc_info_t.h2, prefix of types, prefix of methods)
    (0, "net/http.http2", "net/http.(*http2"),
    (0, "net/http/internal/http2.", "net/http/internal/http2.(*"),
    (1, "golang.org/x/net/http2.", "golang.org/x/net/http2.(*"),
)
"""Where Go's HTTP/2 lives: bundled, since Go 1.27 in a package of its own, and the module."""

_SERVER = {
    "base_ctx": "serverConn.baseCtx",
    "streams": "serverConn.streams",
    "stream_id": "stream.id",
    "stream_ctx": "stream.ctx",
    "stream_conn": "stream.sc",
    "stream_state": "stream.state",
}
_CLIENT = {
    "cc_streams": "ClientConn.streams",
    "cc_next": "ClientConn.nextStreamID",
    "cs_id": "clientStream.ID",
    "cs_ctx": "clientStream.ctx",
}
_OPTIONAL = {
    "cs_waits": "clientStream.respHeaderRecv",
    "rw_state": "responseWriter.rws",
    "rws_stream": "responseWriterState.stream",
}
_OLD_CLIENT = {**_CLIENT, "cs_req": "clientStream.req"}
"""Before a stream had a context of its own: it is its request's."""
_REQUEST_CTX = "net/http.Request.ctx"
_GRPC_SERVER = ("streams", "ss_conn", "ss_id", "ss_base")
_GRPC_CLIENT = ("cc_streams", "cc_next", "cs_id", "cs_ctx", "cs_base", "cs_conn")
_MEMBERS = (
    *(f"h2.{home}.{name}" for home in (0, 1) for name in (*_SERVER, *_OLD_CLIENT, *_OPTIONAL)),
    *(f"grpc.{name}" for name in (*_GRPC_SERVER, *_GRPC_CLIENT)),
)
_HANDLER = ("base_ctx", "rw_state", "rws_stream")
_HANDLE_STREAM = "google.golang.org/grpc.(*Server).handleStream"
REGISTERS_SINCE = (1, 17)
"""Arguments are in registers since then (amd64)."""
_PROGRAMS = (("go_h2_serve", "go_h2_read_loop"), ("go_x_serve", "go_x_read_loop"))


_LOOPS = (
    # (kind, function that reads its connection, a member that is known with its side, field)
    *(
        loop
        for home, types, methods in HOMES
        for loop in (
            (
                3 + 2 * home,
                f"{methods}serverConn).readFrames",
                f"h2.{home}.base_ctx",
                f"{types}serverConn.conn",
            ),
            (
                4 + 2 * home,
                f"{methods}ClientConn).readLoop",
                f"h2.{home}.cc_next",
                f"{types}ClientConn.tconn",
            ),
        )
    ),
    (7, f"{_GRPC}.(*http2Server).HandleStreams", "grpc.ss_conn", f"{_GRPC}.http2Server.conn"),
    (8, f"{_GRPC}.(*http2Client).reader", "grpc.cc_next", f"{_GRPC}.http2Client.conn"),
)
"""Kinds as ``enum go_conn_kind`` (bpf/go_types.h) has them."""

_READ_LOOP = "net/http.(*persistConn).readLoop"
_ROUND_TRIP = "net/http.(*persistConn).roundTrip"
NEEDS = {
    "callers": "who asks cannot be read from its connections of net/http",
    "handlers": "its handlers call others without the request's context",
    "streams": "it calls gRPC services without a request's context",
    "contexts": "it calls databases on goroutines that serve no request",
}
"""What ``correlation.needs`` asks for, in words."""


def swiss_maps(go: GoBinary) -> bool | None:
    """Whether maps are those of Go 1.24 and later; None when they cannot be read."""
    if go.version < SWISS_SINCE or "noswissmap" in go.version_text:
        return False
    known = [go.offsets.get(name, offset) == offset for name, offset in _SWISS.items()]
    return True if all(known) else None


def _http2(offsets: Mapping[str, int], home: int, types: str) -> dict[str, int]:
    """The sides of one home of HTTP/2 that are known as a whole."""
    members: dict[str, int] = {}
    client, known = _CLIENT, dict(offsets)
    if types + _CLIENT["cs_ctx"] not in offsets and _REQUEST_CTX in offsets:
        client = _OLD_CLIENT
        known[types + _CLIENT["cs_ctx"]] = offsets[_REQUEST_CTX]
    for side in (_SERVER, client):
        found = {name: known.get(types + field, ABSENT) for name, field in side.items()}
        if min(found.values()) >= 0:
            members.update({f"h2.{home}.{name}": offset for name, offset in found.items()})
    for name, field in _OPTIONAL.items():
        members[f"h2.{home}.{name}"] = offsets.get(types + field, ABSENT)
    return members


def _stream(offsets: Mapping[str, int], kind: str, member: str) -> tuple[int, int]:
    """(base, offset) of a member of ``Stream`` within ``kind``; see ``struct go_grpc_t``."""
    inner = offsets.get(f"{_GRPC}.Stream.{member}", ABSENT)
    outer = offsets.get(f"{_GRPC}.{kind}.Stream", ABSENT)
    if inner < 0 or outer < 0:  # before 1.69 there was one kind of stream
        return ABSENT, inner
    if offsets.get(f"{_GRPC}.{kind}.Stream.pointer", 0):
        return outer, inner
    return ABSENT, outer + inner


def _grpc(offsets: Mapping[str, int]) -> dict[str, int]:
    members: dict[str, int] = {}
    ss_base, ss_id = _stream(offsets, "ServerStream", "id")
    server = {
        "streams": offsets.get(f"{_GRPC}.http2Server.activeStreams", ABSENT),
        "ss_conn": offsets.get(
            f"{_GRPC}.ServerStream.st", offsets.get(f"{_GRPC}.Stream.st", ABSENT)
        ),
        "ss_id": ss_id,
    }
    if min(server.values()) >= 0:
        members.update({f"grpc.{name}": offset for name, offset in server.items()})
        members["grpc.ss_base"] = ss_base
    cs_base, cs_id = _stream(offsets, "ClientStream", "id")
    _, cs_ctx = _stream(offsets, "ClientStream", "ctx")
    client = {
        "cc_streams": offsets.get(f"{_GRPC}.http2Client.activeStreams", ABSENT),
        "cc_next": offsets.get(f"{_GRPC}.http2Client.nextID", ABSENT),
        "cs_id": cs_id,
        "cs_ctx": cs_ctx,
    }
    if min(client.values()) >= 0:
        members.update({f"grpc.{name}": offset for name, offset in client.items()})
        members["grpc.cs_base"] = cs_base
        members["grpc.cs_conn"] = offsets.get(
            f"{_GRPC}.ClientStream.ct", offsets.get(f"{_GRPC}.Stream.ct", ABSENT)
        )
    return members


def stream_members(go: GoBinary) -> dict[str, int]:
    """Members of ``struct proc_info_t`` for HTTP/2 and gRPC; ``h2.0.base_ctx`` is a path.

    ``streams`` is 1 where at least one side of one of them is known.
    """
    members = dict.fromkeys(_MEMBERS, ABSENT)
    swiss = swiss_maps(go)
    found: dict[str, int] = {}
    if swiss is not None and go.g_tls_offset is not None:
        for home, types, methods in HOMES:
            if any(name.startswith(methods) for name in go.symbols):
                found.update(_http2(go.offsets, home, types))
        found.update(_grpc(go.offsets))
    members.update(found)
    members["swiss"] = int(bool(swiss))
    members["streams"] = int(any(offset >= 0 for offset in found.values()))
    return members


def loop_members(go: GoBinary, members: Mapping[str, int], load_bias: int) -> dict[str, int]:
    """Members of ``struct proc_info_t`` by which connections are known that no probe saw begin.

    Args:
        members: what :func:`stream_members` has said.
        load_bias: what is added to addresses as linked.
    """
    loops: dict[str, int] = {}
    for kind, function, known, field in _LOOPS:
        start, size = go.addresses.get(function, 0), go.sizes.get(function, 0)
        conn = go.offsets.get(field, ABSENT)
        if start and size and conn >= 0 and members.get(known, ABSENT) >= 0:
            place = f"loops.{kind & 7}"
            loops[f"{place}.start"] = start + load_bias
            loops[f"{place}.end"] = start + load_bias + size
            loops[f"{place}.conn"] = conn
    return loops


def needed_probes(
    go: GoBinary, members: Mapping[str, int], what: str
) -> list[tuple[str, str, bool]]:
    """Probes that fire once a request, for what ``correlation.needs`` calls ``what``:
    (function, BPF program, whether it is each of the function's returns)."""
    on_stack = go.version < REGISTERS_SINCE
    probes: list[tuple[str, str, bool]] = []
    if what == "handlers":
        for home, _, methods in HOMES:
            if min(members.get(f"h2.{home}.{n}", ABSENT) for n in _HANDLER) >= 0:
                program = ("go_h2_handler", "go_x_handler")[home]
                probes.append((f"{methods}serverConn).runHandler", program, False))
        if members.get("grpc.ss_conn", ABSENT) >= 0:
            probes.append((_HANDLE_STREAM, "go_grpc_handler", False))
    elif what == "streams" and members.get("grpc.cs_conn", ABSENT) >= 0:
        probes.append((f"{_GRPC}.(*http2Client).NewStream", "go_grpc_asked", True))
    elif what == "callers":
        probes += [(_READ_LOOP, "go_persist_conn_read_loop", False)]
        probes += [(_ROUND_TRIP, "go_persist_conn_round_trip", False)]
    elif what == "contexts":
        for name in DATABASE_CALLS:
            # Results on the stack are not looked for: a transaction's end is then nobody's.
            begun = name.endswith(".BeginTx") and not on_stack
            probes.append((name, "go_work_begins", False))
            probes.append((name, "go_tx_begun" if begun else "go_work_ends", True))
        for name in () if on_stack else TRANSACTION_ENDS:
            probes += [(name, "go_tx_ends", False), (name, "go_work_ends", True)]
    return [probe for probe in probes if probe[0] in go.symbols]


def probe_places(
    descriptor: int, go: GoBinary, probes: Iterable[tuple[str, str, bool]]
) -> list[tuple[int, str]]:
    """(offset in the file, BPF program) for :func:`needed_probes`'s answer."""
    places: list[tuple[int, str]] = []
    for name, program, at_returns in probes:
        offset = go.symbols[name]
        at = [offset]
        if at_returns:
            at = return_offsets(descriptor, offset, go.sizes.get(name, 0))
        places += [(place, program) for place in at]
    return places


def stream_probes(members: Mapping[str, int]) -> list[tuple[str, str]]:
    """(function, BPF program) for each side that ``members`` knows. Once a connection."""
    probes = []
    for home, _, methods in HOMES:
        serve, read_loop = _PROGRAMS[home]
        if members.get(f"h2.{home}.base_ctx", ABSENT) >= 0:
            probes.append((f"{methods}serverConn).serve", serve))
        if members.get(f"h2.{home}.cc_next", ABSENT) >= 0:
            probes.append((f"{methods}ClientConn).readLoop", read_loop))
    if members.get("grpc.ss_conn", ABSENT) >= 0:
        probes.append((f"{_GRPC}.(*http2Server).HandleStreams", "go_grpc_serve"))
    if members.get("grpc.cc_next", ABSENT) >= 0:
        probes.append((f"{_GRPC}.(*http2Client).reader", "go_grpc_read_loop"))
    return probes
