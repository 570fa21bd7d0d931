"""Go's functions that have a header block of HTTP/2 in hand: which are there, what probes need.

The ten of net/http's own HTTP/2 and golang.org/x/net's, and three of grpc-go. Probes on them
fire once or more for each request, so they are attached on request only (``--go-http2 uprobe``);
by default headers are read from the socket's bytes. See bpf/go_headers.h and decision 0019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_callers import HOMES, swiss_maps
from otel_ebpf.discovery.go_fields import GRPC
from otel_ebpf.discovery.go_versions import module_version
from otel_ebpf.discovery.ways import BOTH

_LACKING, _ALL = 1, 2
"""enum headers_on."""

_TRANSPORT = f"{GRPC}/internal/transport"
_CONTEXT_SINCE = (1, 60)
"""The grpc-go since which http2Server.operateHeaders is given a context."""
_CLIENT_ROLE, _SERVER_ROLE = 1, 2
"""enum role."""
_TYPES = {
    "tcp_type": "*net.TCPConn",
    "unix_type": "*net.UnixConn",
    "tls_type": "*crypto/tls.Conn",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A function, by its name behind the prefix of its home's methods.

    Attributes:
        program: BPF program; ``{}`` stands for ``h2`` or ``x``.
        member: of ``struct go_headers_t``, where the connection is; ``{}`` for the home's place.
        fields: offsets that the program takes for given, by name behind the home's types.
        extra: no function of the seed's list, but what completes one.
    """

    method: str
    program: str
    member: str
    fields: Mapping[str, int]
    extra: bool = False


_FRAME = {
    "MetaHeadersFrame.HeadersFrame": 0,
    "MetaHeadersFrame.Fields": 8,
    "HeadersFrame.FrameHeader": 0,
    "FrameHeader.Type": 1,
    "FrameHeader.StreamID": 8,
}
_RESPONSE = {
    "writeResHeaders.streamID": 0,
    "writeResHeaders.httpResCode": 8,
    "writeResHeaders.h": 16,  # trailers follow
    "writeResHeaders.endStream": 48,  # date follows
    "writeResHeaders.contentType": 72,
    "writeResHeaders.contentLength": 88,
}
_READ_LOOP = {**_FRAME, "clientConnReadLoop.cc": 0}
_HTTP2 = (
    Call("serverConn).writeHeaders", "go_{}_server_write", "sc_conn.{}", _RESPONSE),
    Call("serverConn).processHeaders", "go_{}_process_headers", "sc_conn.{}", _FRAME),
    Call("clientConnReadLoop).handleResponse", "go_{}_handle_response", "cc_conn.{}", _READ_LOOP),
    Call("ClientConn).writeHeader", "go_client_field", "cc_conn.{}", {}),
    Call("ClientConn).writeHeaders", "go_{}_client_write", "cc_conn.{}", {}),
    Call(
        "clientConnReadLoop).processTrailers",
        "go_{}_handle_response",
        "cc_conn.{}",
        _READ_LOOP,
        extra=True,
    ),
)
_CONNS = {"sc_conn": "serverConn.conn", "cc_conn": "ClientConn.tconn"}
_GRPC_CALLS = (
    # function, program, members that must be known
    (
        "(*loopyWriter).writeHeader",
        "go_grpc_write_header",
        ("loopy_framer", "framer_writer", "writer_conn"),
    ),
    ("(*http2Client).operateHeaders", "go_grpc_client_headers", ("grpc_client_conn",)),
    ("(*http2Server).operateHeaders", "go_grpc_server_headers", ("grpc_server_conn",)),
)
_GRPC_MEMBERS = {
    "loopy_framer": "loopyWriter.framer",
    "framer_writer": "framer.writer",
    "writer_conn": "bufWriter.conn",
    "grpc_client_conn": "http2Client.conn",
    "grpc_server_conn": "http2Server.conn",
}
_FIELD = {"HeaderField.Name": 0, "HeaderField.Value": 16, "HeaderField.Sensitive": 32}
_MODULE_TYPES = "golang.org/x/net/http2."
_HPACK = ("vendor/golang.org/x/net/http2/hpack.", "golang.org/x/net/http2/hpack.")


@dataclass(frozen=True, slots=True)
class HeaderPlan:
    """What header probes one program can have.

    Attributes:
        probes: (function, BPF program).
        members: of ``struct proc_info_t``, by their paths, but for the types' addresses.
        types: member -> address as linked; 0 where it is not in the program.
        missing: function of the seed's list -> why it has no probe. Homes of HTTP/2 that the
            program does not have are left out.
    """

    probes: tuple[tuple[str, str], ...]
    members: Mapping[str, int]
    types: Mapping[str, int]
    missing: Mapping[str, str]

    def for_process(self, bias: int, way: str = BOTH) -> dict[str, int]:
        """All members, for a process whose program was loaded at its address plus ``bias``."""
        if not self.probes:
            return dict(self.members)
        where = {f"headers.{name}": at and at + bias for name, at in self.types.items()}
        return {**self.members, **where, "headers.on": _ALL if way == BOTH else _LACKING}


class _Plan:
    """One in the making."""

    def __init__(self, go: GoBinary) -> None:
        self.go = go
        self.offsets = go.offsets
        self.probes: list[tuple[str, str]] = []
        self.missing: dict[str, str] = {}
        self.members = {
            **{f"headers.{name}.{home}": -1 for name in _CONNS for home in (0, 1)},
            **{f"headers.{name}": -1 for name in _GRPC_MEMBERS},
            "headers.told": 0,
        }

    def why_not(self, prefix: str, fields: Mapping[str, int]) -> str:
        """The fields that are not where they are taken to be; "" when all are."""
        for name, expected in fields.items():
            at = self.offsets.get(prefix + name)
            if at is None:
                return f"the place of {name} is not known"
            if at != expected:
                return f"{name} is at {at}, not {expected}"
        return ""

    def http2(self, home: int, types: str, methods: str, why: str) -> None:
        """One home of Go's HTTP/2, if the program has it. ``why`` nothing can be probed, or ""."""
        go = self.go
        if not any(name.startswith(methods) for name in go.symbols):
            return
        hpack = self.why_not(_HPACK[home], _FIELD)
        if hpack and not self.why_not(_HPACK[1 - home], _FIELD):
            hpack = ""  # the same source
        found: dict[str, int] = {}
        for call in _HTTP2:
            name = methods + call.method
            member = call.member.format(home)
            conn = self.offsets.get(types + _CONNS[member.partition(".")[0]], -1)
            reason = why
            if not reason and name not in go.symbols:
                reason = "it is not in the program (inlined, or never called)"
            if not reason and conn < 0:
                reason = "where its connection is kept is not known"
            reason = reason or hpack or self.why_not(types, call.fields)
            if not reason and call.member.startswith("sc") and call.fields is _RESPONSE:
                reason = "" if swiss_maps(go) is not None else "its maps cannot be read"
            if reason:
                if not call.extra:
                    self.missing[name] = reason
                continue
            found[f"headers.{member}"] = conn
            program = call.program.format(("h2", "x")[home])
            self.probes.append((name, program))
            if program.endswith("process_headers"):
                self.members["headers.told"] |= 1 << _SERVER_ROLE
            elif program.endswith("handle_response"):
                self.members["headers.told"] |= 1 << _CLIENT_ROLE
        self.members.update(found)

    def grpc(self, why: str) -> None:
        """grpc-go, if the program has it."""
        go = self.go
        prefix = f"{_TRANSPORT}."
        if not any(name.startswith(prefix) for name in go.symbols):
            return
        known = {m: self.offsets.get(prefix + f, -1) for m, f in _GRPC_MEMBERS.items()}
        version = module_version(go.deps.get(GRPC, ""))
        for method, program, needed in _GRPC_CALLS:
            name = prefix + method
            reason = why
            if not reason and name not in go.symbols:
                reason = "it is not in the program (inlined, or never called)"
            if not reason and min(known[member] for member in needed) < 0:
                reason = "where its connection is kept is not known"
            reason = reason or self.why_not(_HPACK[1], _FIELD)
            if not reason and program != "go_grpc_write_header":
                reason = self.why_not(_MODULE_TYPES, _FRAME)
            if not reason and program == "go_grpc_server_headers" and version is None:
                reason = "grpc-go's version is not known"
            if reason:
                self.missing[name] = reason
                continue
            self.members.update({f"headers.{member}": known[member] for member in needed})
            self.probes.append((name, program))
            if program == "go_grpc_server_headers":
                self.members["headers.told"] |= 1 << _SERVER_ROLE
            elif program == "go_grpc_client_headers":
                self.members["headers.told"] |= 1 << _CLIENT_ROLE
        self.members["headers.grpc_context"] = int(
            version is not None and version[:2] >= _CONTEXT_SINCE
        )


def header_plan(go: GoBinary) -> HeaderPlan:
    """The probes that a program can have, and why it lacks others."""
    plan = _Plan(go)
    types = {member: go.types.get(name, 0) for member, name in _TYPES.items()}
    why = ""
    if "net.netFD.pfd.Sysfd" not in go.offsets:
        why = "where connections keep their descriptors is not known"
    elif not types["tcp_type"] and not types["unix_type"]:
        why = "the types of connections were not found"
    elif "noregabi" in go.version_text:
        why = "its arguments travel in a way of their own"
    for home, prefix, methods in HOMES:
        plan.http2(home, prefix, methods, why)
    plan.grpc(why)
    return HeaderPlan(tuple(plan.probes), plan.members, types, plan.missing)
