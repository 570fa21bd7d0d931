"""From a finished exchange to a span. What is special to a protocol is in its own module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from otel_ebpf.correlation.model import Exchange
from otel_ebpf.spans import semconv
from otel_ebpf.spans.calls import CallSpans
from otel_ebpf.spans.cgi import CgiSpans
from otel_ebpf.spans.clock import Clock
from otel_ebpf.spans.db import DbSpans
from otel_ebpf.spans.dns import DnsSpans
from otel_ebpf.spans.http import HttpSpans
from otel_ebpf.spans.messaging import MessagingSpans
from otel_ebpf.spans.model import ERROR, UNSET, Description, Span
from otel_ebpf.spans.rpc import RpcSpans
from otel_ebpf.spans.settings import SpanSettings
from otel_ebpf.spans.websocket import WebSocketSpans

_UNKNOWN_RESOURCES = 1024


class ProtocolSpans(Protocol):
    """What one protocol knows about its spans."""

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes and status of the exchange. Never raises on odd heads."""
        ...


PROTOCOLS: dict[str, Callable[[SpanSettings], ProtocolSpans]] = {
    "http": HttpSpans,
    "grpc": RpcSpans,
    "fastcgi": CgiSpans,
    "uwsgi": CgiSpans,
    "websocket": WebSocketSpans,
    "redis": DbSpans,
    "postgresql": DbSpans,
    "memcached": DbSpans,
    "mysql": DbSpans,
    "mongodb": DbSpans,
    "kafka": MessagingSpans,
    "mqtt": MessagingSpans,
    "amqp": MessagingSpans,
    "nats": MessagingSpans,
    "dns": DnsSpans,
    "dubbo": CallSpans,
    "thrift": CallSpans,
}
"""Registry: the name in ``Exchange.protocol`` -> what makes its describer."""


class UnknownProcess:
    """The resource of spans whose process was gone before it could be looked at."""

    __slots__ = ("attributes",)

    def __init__(self, pid: int) -> None:
        self.attributes: dict[str, Any] = {
            semconv.SERVICE_NAME: "unknown_service",
            semconv.PROCESS_PID: pid,
        }


class SpanBuilder:
    """Builds spans. One for the agent; not for several threads at once."""

    def __init__(self, clock: Clock, settings: SpanSettings | None = None) -> None:
        settings = settings or SpanSettings()
        self._clock = clock
        makers = {name: make(settings) for name, make in PROTOCOLS.items()}
        self._describe = {name: made.describe for name, made in makers.items()}
        self._messaging = {n: m for n, m in makers.items() if isinstance(m, MessagingSpans)}
        self._unknown: dict[int, UnknownProcess] = {}
        self._built = 0
        self._errors = 0
        self._other_protocol = 0
        self._no_process = 0

    def build(self, exchange: Exchange) -> Span:
        """The span of one exchange, with times in epoch nanoseconds."""
        name, attributes, base, status, message = self.describe(exchange)
        if exchange.rule:
            attributes[semconv.PARENT_RULE] = exchange.rule
        if exchange.request_truncated or exchange.response_truncated:
            attributes[semconv.TRUNCATED] = truncated(exchange)
        if exchange.notes:
            if base is not None and not base.attributes.keys().isdisjoint(exchange.notes):
                base = None
            attributes.update(exchange.notes)
        start, end = self.times(exchange)
        span = Span(
            exchange.trace_id,
            exchange.span_id,
            exchange.parent_span_id,
            exchange.kind,
            name,
            start,
            end,
            attributes,
            self.resource(exchange, status),
        )
        span.base = base
        if status:
            span.status = status
            span.status_message = message
        if exchange.trace_state:
            span.trace_state = exchange.trace_state
        if exchange.parent_remote:
            span.parent_remote = True
        messaging = self._messaging.get(exchange.protocol)
        if messaging is not None:
            span.kind = messaging.kind(exchange)
            span.links = messaging.links(exchange)
        return span

    def describe(self, exchange: Exchange) -> Description:
        """What the exchange's protocol says of it."""
        describe = self._describe.get(exchange.protocol)
        if describe is None:
            self._other_protocol += 1
            describe = _describe_other
        return describe(exchange)

    def times(self, exchange: Exchange) -> tuple[int, int]:
        """Start and end in epoch nanoseconds."""
        offset = self._clock.offset
        start = exchange.start + offset
        end = exchange.end + offset
        return start, end if end > start else start

    def resource(self, exchange: Exchange, status: int) -> Any:
        """Counts a span that is made of the exchange, and gives its resource."""
        self._built += 1
        if status:
            self._errors += 1
        resource = exchange.process
        return self._unknown_process(exchange.pid) if resource is None else resource

    def stats(self) -> dict[str, int]:
        """Counters, with names that stay."""
        return {
            "spans_built": self._built,
            "spans_with_error": self._errors,
            "spans_other_protocol": self._other_protocol,
            "spans_without_process": self._no_process,
        }

    def _unknown_process(self, pid: int) -> UnknownProcess:
        self._no_process += 1
        resource = self._unknown.get(pid)
        if resource is None:
            if len(self._unknown) >= _UNKNOWN_RESOURCES:
                self._unknown.clear()
            resource = self._unknown[pid] = UnknownProcess(pid)
        return resource


def truncated(exchange: Exchange) -> str:
    if not exchange.response_truncated:
        return "request"
    return "request,response" if exchange.request_truncated else "response"


def _describe_other(exchange: Exchange) -> Description:
    """A protocol without conventions here: only what the socket and the pairing tell."""
    endpoints = exchange.endpoints
    attributes: dict[str, Any] = {
        semconv.NETWORK_PROTOCOL_NAME: exchange.protocol,
        semconv.NETWORK_PEER_ADDRESS: endpoints.peer_address,
    }
    if endpoints.peer_port:
        attributes[semconv.NETWORK_PEER_PORT] = endpoints.peer_port
    if exchange.error:
        attributes[semconv.ERROR_TYPE] = exchange.error
        return exchange.protocol, attributes, None, ERROR, exchange.error
    return exchange.protocol, attributes, None, UNSET, ""
