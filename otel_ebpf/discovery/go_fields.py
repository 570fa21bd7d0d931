"""The Go struct fields that the tracer reads, named ``package.Type.member``.

``net/http.http2serverConn.baseCtx`` is the field ``baseCtx`` of that type, as the
program's own debugging data names it. ``a.b`` after the type is a field of a struct
within the struct. ``docs/go.md`` tells what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping

Path = tuple[tuple[str, str], ...]
"""A field as steps of (struct, member); its offset in bytes is the sum."""

STD = "go"
GRPC = "google.golang.org/grpc"
XNET = "golang.org/x/net"
MODULES = (GRPC, XNET)
"""Modules with layouts of their own, by module path. ``STD`` is Go itself."""

# struct -> members. What is absent in a version (or in a program) is absent from the answer.
_STRUCTS: dict[str, str] = {
    "runtime.g": "m goid parentGoid startpc gopc atomicstatus waitreason waiting",
    "runtime.m": "g0 procid curg p id",
    "runtime.p": "goidcache goidcacheend",
    "runtime.schedt": "goidgen",
    "runtime.sudog": "g next elem",
    "runtime.hchan": "qcount dataqsiz buf elemsize closed sendx recvx",
    # The map before Go 1.24: buckets of 2**B, each 8 top bytes, 8 keys, 8 values, overflow.
    "runtime.hmap": "count flags B noverflow buckets oldbuckets nevacuate",
    # The map since Go 1.24.
    "internal/runtime/maps.Map": "used dirPtr dirLen globalDepth",
    "internal/runtime/maps.table": "used capacity localDepth index",
    "runtime.moduledata": "pcHeader funcnametab pclntable ftab text etext types etypes rodata "
    "gofunc typelinks itablinks itaboffset itabsize next",
    "net/http.persistConn": "alt t conn tlsState br bw reqch writech closech isProxy",
    "net/http.requestAndChan": "req treq ch",
    "net/http.transportRequest": "Request ctx",
    "net/http.writeRequest": "req",
    "net/http.Request": "Method URL Proto Header Host RemoteAddr RequestURI ctx",
    "net/http.conn": "server cancelCtx rwc remoteAddr tlsState r curReq",
    "net/http.connReader": "conn",
    "net/http.response": "conn req",
    "net/http.Server": "Handler",
    "net.conn": "fd",
    "crypto/tls.Conn": "conn isClient isHandshakeComplete handshakeStatus vers cipherSuite "
    "rawInput input",
    "context.withoutCancelCtx": "",
    "vendor/golang.org/x/net/http2/hpack.HeaderField": "Name Value Sensitive",
    "golang.org/x/net/http2/hpack.HeaderField": "Name Value Sensitive",
    f"{GRPC}/internal/transport.http2Server": "ctx conn loopy framer activeStreams maxStreamID",
    f"{GRPC}/internal/transport.http2Client": "ctx ctxDone conn loopy framer isSecure nextID "
    "activeStreams md",
    f"{GRPC}/internal/transport.Stream": "ctx id st ct method",
    f"{GRPC}/internal/transport.ServerStream": "Stream ctx st",
    f"{GRPC}/internal/transport.ClientStream": "Stream ctx ct",
    f"{GRPC}/internal/transport.loopyWriter": "side framer hBuf estdStreams conn",
    f"{GRPC}/internal/transport.headerFrame": "streamID hf endStream",
    f"{GRPC}/internal/transport.framer": "writer fr",
    f"{GRPC}/internal/transport.bufWriter": "conn",
}

# Go's HTTP/2 lives in three places: bundled in net/http with a prefix on its names, since
# Go 1.27 in net/http/internal/http2, and in the module golang.org/x/net.
_HTTP2: dict[str, str] = {
    "serverConn": "srv hs conn bw handler baseCtx framer tlsState maxClientStreamID streams "
    "hpackEncoder",
    "stream": "sc id ctx state",
    "ClientConn": "t tconn tlsState streams nextStreamID br bw fr henc hbuf",
    "clientStream": "cc ctx req ID respHeaderRecv",
    "clientConnReadLoop": "cc",
    "HeadersFrame": "headerFragBuf",
    "MetaHeadersFrame": "Fields Truncated",
    "FrameHeader": "Type Flags Length StreamID",
    "Framer": "r w lastHeaderStream",
    "writeResHeaders": "streamID httpResCode h endStream contentType contentLength",
    "responseWriterState": "stream req conn",
    "responseWriter": "rws",
}
HTTP2_BUNDLED, HTTP2_INTERNAL = "net/http.http2", "net/http/internal/http2."
HTTP2_MODULE = f"{XNET}/http2."
HTTP2_PREFIXES = (HTTP2_BUNDLED, HTTP2_INTERNAL, HTTP2_MODULE)
"""What stands before an HTTP/2 type's name, by place."""

# Embedded contexts: an interface by its own name, or the struct around one.
_CONTEXTS: dict[str, tuple[tuple[str, str], ...]] = {
    "valueCtx": (("context.valueCtx", "Context"),),
    "cancelCtx": (("context.cancelCtx", "Context"),),
    "timerCtx": (("context.timerCtx", "cancelCtx"), ("context.cancelCtx", "Context")),
    "withoutCancelCtx": (("context.withoutCancelCtx", "c"),),
    "afterFuncCtx": (("context.afterFuncCtx", "cancelCtx"), ("context.cancelCtx", "Context")),
    "stopCtx": (("context.stopCtx", "Context"),),
}


def _field(path: str, *inner: tuple[str, str]) -> Path:
    struct, _, member = path.rpartition(".")
    return ((struct, member), *inner)


def _fields() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for struct, members in _STRUCTS.items():
        for member in members.split():
            found[f"{struct}.{member}"] = ((struct, member),)
    for prefix in HTTP2_PREFIXES:
        for struct, members in _HTTP2.items():
            for member in members.split():
                found[f"{prefix}{struct}.{member}"] = ((prefix + struct, member),)
        # Embedded, so named by their type: the bundle's prefix is in the member's name.
        own = prefix[len("net/http.") :] if prefix == HTTP2_BUNDLED else ""
        for outer, inner in (("MetaHeadersFrame", "HeadersFrame"), ("HeadersFrame", "FrameHeader")):
            found[f"{prefix}{outer}.{inner}"] = ((prefix + outer, own + inner),)
    for context, path in _CONTEXTS.items():
        found[f"context.{context}.parent"] = path
    found["context.valueCtx.key"] = _field("context.valueCtx.key")
    found["context.valueCtx.val"] = _field("context.valueCtx.val")
    for member in ("sp", "pc", "bp"):
        found[f"runtime.g.sched.{member}"] = _field("runtime.g.sched", ("runtime.gobuf", member))
    for member in ("lo", "hi"):
        found[f"runtime.g.stack.{member}"] = _field("runtime.g.stack", ("runtime.stack", member))
    for queue in ("recvq", "sendq"):
        found[f"runtime.hchan.{queue}.first"] = _field(
            f"runtime.hchan.{queue}", ("runtime.waitq", "first")
        )
    for member in ("data", "lengthMask"):
        found[f"internal/runtime/maps.table.groups.{member}"] = _field(
            "internal/runtime/maps.table.groups", ("internal/runtime/maps.groupsReference", member)
        )
    found["crypto/tls.Conn.out.seq"] = _field("crypto/tls.Conn.out", ("crypto/tls.halfConn", "seq"))
    found["net.netFD.pfd.Sysfd"] = _field("net.netFD.pfd", ("internal/poll.FD", "Sysfd"))
    return found


FIELDS: Mapping[str, Path] = _fields()
"""Every offset by its name."""

EMBEDDED_BY_POINTER: Mapping[str, tuple[str, str]] = {
    f"{GRPC}/internal/transport.{kind}.Stream.pointer": (
        f"{GRPC}/internal/transport.{kind}.Stream",
        f"{GRPC}/internal/transport.{kind}.{next_member}",
    )
    for kind, next_member in (("ServerStream", "st"), ("ClientStream", "ct"))
}
"""Facts that are no offsets: 1 where a struct is embedded by pointer, 0 where by value.

Told by the member that follows it: a pointer is 8 bytes, the struct itself far more."""


def home_of(name: str) -> str:
    """Whose version decides a field's place: a module's path, or ``STD``."""
    for module in MODULES:
        if name.startswith(f"{module}/"):
            return module
    return STD
