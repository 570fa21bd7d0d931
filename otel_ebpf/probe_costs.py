"""What uprobes cost a traced program: how often each one is hit, and so what a request costs.

A hit costs 1.3 us on bare metal and several times that in some virtual machines;
tracepoints, which do all the rest, cost a tenth of a microsecond.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens in a program, and the BPF programs that run once each time.

    ``per_request`` is how often it happens for one request: "0" for what happens once a
    connection, else words.
    """

    name: str
    programs: tuple[str, ...]
    per_request: str

    def hits(self, attached: Collection[str]) -> int:
        """Uprobe hits each time, with these programs attached."""
        return sum(program in attached for program in self.programs)


READ = Event(
    "a Read of TLS",
    ("go_tls_read_enter", "go_tls_read_exit", "go_tls_read_exit_paired"),
    "at least once",
)
WRITE = Event(
    "a Write of TLS", ("go_tls_write_enter", "go_tls_write_exit"), "at least once, where needed"
)
EVENTS = (
    Event("a connection of net/http, HTTP/1 server", ("go_conn_serve",), "0"),
    Event("a connection of net/http, HTTP/1 client", ("go_persist_conn_read_loop",), "0"),
    Event("a connection of net/http, HTTP/2 server", ("go_h2_serve",), "0"),
    Event("a connection of net/http, HTTP/2 client", ("go_h2_read_loop",), "0"),
    Event("a connection of golang.org/x/net, HTTP/2 server", ("go_x_serve",), "0"),
    Event("a connection of golang.org/x/net, HTTP/2 client", ("go_x_read_loop",), "0"),
    Event("a connection of grpc-go, server", ("go_grpc_serve",), "0"),
    Event("a connection of grpc-go, client", ("go_grpc_read_loop",), "0"),
    Event("a TLS handshake", ("go_tls_handshake_enter", "go_tls_handshake_exit"), "0"),
    READ,
    WRITE,
    Event("a handler of net/http's HTTP/2 started", ("go_h2_handler",), "1, where needed"),
    Event("a handler of golang.org/x/net's HTTP/2 started", ("go_x_handler",), "1, where needed"),
    Event("a handler of grpc-go started", ("go_grpc_handler",), "1, where needed"),
    Event("a stream of grpc-go's client asked for", ("go_grpc_asked",), "1, where needed"),
    Event(
        "a request of net/http, HTTP/1 client", ("go_persist_conn_round_trip",), "1, where needed"
    ),
    Event("a call of a database", ("go_work_begins", "go_work_ends"), "each, where needed"),
    Event("a transaction of database/sql", ("go_tx_begun", "go_tx_ends"), "each, where needed"),
    Event(
        "a request read by net/http's HTTP/2 server", ("go_h2_process_headers",), "1, on request"
    ),
    Event(
        "a response written by net/http's HTTP/2 server", ("go_h2_server_write",), "1, on request"
    ),
    Event(
        "a request written by net/http's HTTP/2 client",
        ("go_h2_client_write",),
        "1, on request, and 1 for each field",
    ),
    Event(
        "a response read by net/http's HTTP/2 client", ("go_h2_handle_response",), "1, on request"
    ),
    Event(
        "a request read by golang.org/x/net's HTTP/2 server",
        ("go_x_process_headers",),
        "1, on request",
    ),
    Event(
        "a response written by golang.org/x/net's HTTP/2 server",
        ("go_x_server_write",),
        "1, on request",
    ),
    Event(
        "a request written by golang.org/x/net's HTTP/2 client",
        ("go_x_client_write",),
        "1, on request, and 1 for each field",
    ),
    Event(
        "a response read by golang.org/x/net's HTTP/2 client",
        ("go_x_handle_response",),
        "1, on request",
    ),
    Event(
        "a field of a request written by an HTTP/2 client",
        ("go_client_field",),
        "each, on request",
    ),
    Event("a header block written by grpc-go", ("go_grpc_write_header",), "1 or 2, on request"),
    Event("a header block read by grpc-go's server", ("go_grpc_server_headers",), "1, on request"),
    Event("a header block read by grpc-go's client", ("go_grpc_client_headers",), "2, on request"),
    Event("a goroutine scheduled or parked", ("go_casgstatus",), "several"),
    Event("a go statement on the way to a call", ("go_statement",), "each, where needed"),
    Event("a goroutine started", ("go_newproc1", "go_newproc1_return"), "each go statement"),
)
"""Every uprobe program of the kernel half is in one of them; a test holds to it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request: it is in programs that have one of ``functions``, and bound to its
    goroutine when ``program`` is attached. ``reads`` and ``writes`` are calls of TLS's Read and
    Write that a request takes on a connection that is used again; 0 without TLS."""

    name: str
    program: str
    functions: tuple[str, ...]
    reads: int = 0
    writes: int = 0

    @property
    def tls(self) -> bool:
        """Whether it is a kind with TLS."""
        return self.reads > 0

    def within(self, functions: Collection[str]) -> bool:
        """Whether a program with these functions may have such requests."""
        if self.tls and TLS_WRITE not in functions:
            return False
        return any(name in functions for name in self.functions)

    def hits(self, attached: Collection[str]) -> int | None:
        """Uprobe hits a request with these programs attached; None: it is not bound to its
        goroutine, or not seen. Without probes at Write the stack tells of it."""
        read, write = READ.hits(attached), WRITE.hits(attached)
        if self.program not in attached or (self.tls and not read):
            return None
        return self.reads * read + self.writes * write


TLS_WRITE = "crypto/tls.(*Conn).Write"
_GRPC = "google.golang.org/grpc/internal/transport"
_PLACES = (
    # what it is, BPF program, functions; then the Reads and Writes of TLS.
    ("HTTP/1 served by net/http", "go_conn_serve", ("net/http.(*conn).serve",), 2, 1),
    (
        "HTTP/1 asked by net/http",
        "go_persist_conn_read_loop",
        ("net/http.(*persistConn).readLoop",),
        1,
        1,
    ),
    (
        "HTTP/2 served by net/http",
        "go_h2_serve",
        ("net/http.(*http2serverConn).serve", "net/http/internal/http2.(*serverConn).serve"),
        2,
        1,
    ),
    (
        "HTTP/2 asked by net/http",
        "go_h2_read_loop",
        ("net/http.(*http2ClientConn).readLoop", "net/http/internal/http2.(*ClientConn).readLoop"),
        1,
        1,
    ),
    (
        "HTTP/2 served by golang.org/x/net",
        "go_x_serve",
        ("golang.org/x/net/http2.(*serverConn).serve",),
        2,
        1,
    ),
    (
        "HTTP/2 asked by golang.org/x/net",
        "go_x_read_loop",
        ("golang.org/x/net/http2.(*ClientConn).readLoop",),
        1,
        1,
    ),
    ("gRPC served by grpc-go", "go_grpc_serve", (f"{_GRPC}.(*http2Server).HandleStreams",), 1, 1),
    ("gRPC asked by grpc-go", "go_grpc_read_loop", (f"{_GRPC}.(*http2Client).reader",), 1, 1),
)


def _with_tls(name: str) -> str:
    what, _, by = name.partition(" ")
    return f"{'HTTPS (HTTP/1)' if what == 'HTTP/1' else f'{what} with TLS'} {by}"


KINDS = (
    *(Kind(name, program, functions) for name, program, functions, _, _ in _PLACES),
    *(
        Kind(_with_tls(name), program, functions, reads, writes)
        for name, program, functions, reads, writes in _PLACES
    ),
)
"""Requests whose goroutines are bound to their connections or streams, by the place that
tells. net/http's HTTP/1 server reads twice: in the background of the handler, which ends with
nothing or one byte, and the request; its HTTP/2 server reads a frame's header and then the frame.
Of HTTP/2 and gRPC with TLS it is what one stream at a time takes, without what is written for
flow control; streams that are open at once share Reads and Writes."""
