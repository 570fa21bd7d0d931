"""What is looked for in every Go program. What is absent costs nothing but the search."""

from __future__ import annotations

from otel_ebpf.discovery.go_variables import CODE_OF_ALLGS, CODE_OF_ALLP

_NET_HTTP2 = ("net/http.(*http2", "net/http/internal/http2.(*", "golang.org/x/net/http2.(*")
_GRPC = "google.golang.org/grpc/internal/transport"


def _http2(receiver: str, method: str) -> list[str]:
    """A method's names: bundled in net/http, its later home, and golang.org/x/net."""
    return [f"{prefix}{receiver}).{method}" for prefix in _NET_HTTP2]


_SQL = {
    "DB": ("ExecContext", "QueryContext", "PingContext", "BeginTx", "PrepareContext"),
    "Conn": ("ExecContext", "QueryContext", "PingContext", "BeginTx", "PrepareContext"),
    "Tx": ("ExecContext", "QueryContext", "PrepareContext"),
    "Stmt": ("ExecContext", "QueryContext"),
}
_OLD_GO_REDIS, _GO_REDIS = "github.com/go-redis/redis/v8", "github.com/redis/go-redis/v9"
_PGX = ("github.com/jackc/pgx/v4", "github.com/jackc/pgx/v5")
_MONGO = ("go.mongodb.org/mongo-driver", "go.mongodb.org/mongo-driver/v2")
DATABASE_CALLS = (
    *(f"database/sql.(*{of}).{name}" for of, names in _SQL.items() for name in names),
    # Commands, pipelines and transactions all have their connection of these.
    f"{_GO_REDIS}.(*baseClient).withConn",
    f"{_GO_REDIS}.(*baseClient).withPipelineConn",
    # The version before starts a goroutine there, which writes by this.
    f"{_OLD_GO_REDIS}/internal/pool.(*Conn).WithWriter",
    # Every operation of MongoDB's driver writes by this.
    *(f"{module}/x/mongo/driver/topology.(*connection).writeWireMessage" for module in _MONGO),
    *(
        f"{module}.(*Conn).{name}"
        for module in _PGX
        for name in ("Exec", "Query", "SendBatch", "CopyFrom", "Prepare")
    ),
)
"""Calls of databases whose first argument is a context, and which write it on the goroutine
that calls."""

TRANSACTION_ENDS = ("database/sql.(*Tx).Commit", "database/sql.(*Tx).Rollback")
"""They are made for what their transaction was begun for, but get no context."""

WANTED: tuple[str, ...] = (
    "runtime.morestack",
    "runtime.tlsg",
    "runtime.casgstatus",
    "runtime.newproc",
    "runtime.newproc1",
    "runtime.goexit1",
    "runtime.allp",
    "runtime.sched",
    "runtime.allgs",
    "runtime.main",
    *CODE_OF_ALLP,
    CODE_OF_ALLGS,
    "net/http.(*conn).serve",
    "net/http.(*persistConn).readLoop",
    "net/http.(*persistConn).writeLoop",
    "net/http.(*persistConn).roundTrip",
    "crypto/tls.(*Conn).Read",
    "crypto/tls.(*Conn).Write",
    "crypto/tls.(*Conn).clientHandshake",
    "crypto/tls.(*Conn).serverHandshake",
    *_http2("serverConn", "serve"),
    *_http2("serverConn", "readFrames"),
    *_http2("serverConn", "processHeaders"),
    *_http2("serverConn", "writeHeaders"),
    *_http2("serverConn", "runHandler"),
    *_http2("clientConnReadLoop", "handleResponse"),
    *_http2("clientConnReadLoop", "processTrailers"),
    *_http2("ClientConn", "readLoop"),
    *_http2("ClientConn", "roundTrip"),
    *_http2("ClientConn", "writeHeader"),
    *_http2("ClientConn", "writeHeaders"),
    f"{_GRPC}.(*http2Server).HandleStreams",
    f"{_GRPC}.(*http2Server).operateHeaders",
    f"{_GRPC}.(*http2Client).reader",
    f"{_GRPC}.(*http2Client).NewStream",
    f"{_GRPC}.(*http2Client).operateHeaders",
    f"{_GRPC}.(*loopyWriter).writeHeader",
    "google.golang.org/grpc.(*Server).handleStream",
    *DATABASE_CALLS,
    *TRANSACTION_ENDS,
)
"""Functions and variables, by the names of Go's symbol table."""

WANTED_TYPES: tuple[str, ...] = (
    "*net.TCPConn",
    "*net.UnixConn",
    "*crypto/tls.Conn",
    "*context.cancelCtx",
    "*context.valueCtx",
    "*context.timerCtx",
    "*net/http.conn",
    "*net/http.persistConn",
    "*net/http.http2serverConn",
    "*net/http.http2stream",
    "*net/http.http2clientStream",
    "*net/http/internal/http2.serverConn",
    "*net/http/internal/http2.stream",
    "*net/http/internal/http2.clientStream",
    "*golang.org/x/net/http2.serverConn",
    "*golang.org/x/net/http2.stream",
    "*golang.org/x/net/http2.clientStream",
    f"*{_GRPC}.http2Server",
    f"*{_GRPC}.http2Client",
    f"*{_GRPC}.Stream",
    f"*{_GRPC}.ServerStream",
    f"*{_GRPC}.ClientStream",
)
"""Pointer types that are told apart behind interfaces."""
