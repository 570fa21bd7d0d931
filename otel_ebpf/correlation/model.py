"""Values that leave the correlator: an exchange and the connection it ran on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SERVER = 2
"""Span kind, with OTLP's number."""
CLIENT = 3


@dataclass(slots=True)
class Endpoints:
    """The connection's two ends as the traced process sees them.

    Addresses are text without brackets (``127.0.0.1``, ``::1``, or a Unix path);
    v4-mapped IPv6 addresses are given as IPv4. Ports are 0 for Unix sockets.
    """

    family: str  # "ipv4", "ipv6" or "unix"
    local_address: str
    local_port: int
    peer_address: str
    peer_port: int
    datagram: bool = False
    """There is no connection between them: each message stands for itself."""
    memo: Any = field(default=None, compare=False, repr=False)
    """For whoever encodes spans: what the latest of this connection had in common."""


@dataclass(slots=True)
class Exchange:
    """A finished request with its response (or its absence), ids and parent.

    Times are nanoseconds of CLOCK_MONOTONIC. ``request`` and ``response`` are the
    protocol's parsed heads (``Message.head``). ``trace_id`` is 16 bytes, span ids
    are 8; ``parent_span_id`` is empty for a root.
    """

    kind: int  # SERVER or CLIENT
    protocol: str  # registry name, "http"
    pid: int
    tid: int
    endpoints: Endpoints
    start: int
    end: int
    request: Any
    response: Any | None
    span_id: bytes
    trace_id: bytes = b""
    parent_span_id: bytes = b""
    trace_state: str = ""
    parent_remote: bool = False
    """The parent came in a message's header and is not a span of this agent."""
    sampled: bool = True
    """The carried trace flags' sampled bit; True when none was carried."""
    rule: str = ""
    """Which correlation rule gave the parent; empty for a root."""
    error: str | None = None
    """``error.type`` for an exchange that ended without a good response."""
    request_truncated: bool = False
    response_truncated: bool = False
    request_size: int = 0
    response_size: int = 0
    secure: bool = False
    """Its bytes went through TLS."""
    process: Any = None
    """``metadata.process.Process`` of the traced process, when it is known."""
    notes: dict[str, Any] = field(default_factory=dict)
    """More attributes for the span (``otel_ebpf.*``)."""
    draft: Any = None
    """What a later stage made of it as soon as it had ended; the heads may be gone then."""
