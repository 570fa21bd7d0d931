"""Messaging spans by the semantic conventions, whichever the broker.

The name is the operation with its destination. Who sends is a PRODUCER, who receives a CONSUMER,
and all else that clients ask is CLIENT; a broker's own process has SERVER spans. What messages'
headers carry become links: a call may have messages of many traces, and the context that made a
message is no proof of who wrote it to the broker.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.protocols.messaging import MessagingRequest, MessagingResponse
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import (
    CONSUMER,
    ERROR,
    PRODUCER,
    UNSET,
    AttributeSet,
    Description,
    Link,
)
from otel_ebpf.spans.settings import SpanSettings

_MAX_PROFILES = 2048
_MAX_NAME = 255
_KINDS = {"create": PRODUCER, "send": PRODUCER, "receive": CONSUMER, "process": CONSUMER}


class _Profile:
    """What calls of one kind with the same end have in common."""

    __slots__ = ("base", "message", "name", "status")

    def __init__(self, name: str, base: dict[str, Any], status: int, message: str) -> None:
        self.name = name
        self.base = AttributeSet(base)
        self.status = status
        self.message = message


class MessagingSpans:
    """Describes calls to brokers for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._limit = settings.value_length_limit
        self._profiles: dict[tuple[Any, ...], _Profile] = {}

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, their common beginning, status and its message."""
        request: MessagingRequest = exchange.request
        response: MessagingResponse | None = exchange.response
        ends = exchange.endpoints
        server = exchange.kind == SERVER
        near = (
            (ends.local_address, ends.local_port) if server else (ends.peer_address, ends.peer_port)
        )
        error = exchange.error or (response.error if response is not None else "")
        key = (
            *(server, request.system, request.operation, request.type, request.destination),
            *(request.partition, request.group, request.client_id, error, near),
        )
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profile(exchange, request, error, near)
            # Clearing all at once is the cheapest bound; a working set refills in one round.
            if len(self._profiles) >= _MAX_PROFILES:
                self._profiles.clear()
            self._profiles[key] = profile
        attributes = profile.base.attributes.copy()
        if request.batch:
            attributes[semconv.MESSAGING_BATCH_MESSAGE_COUNT] = request.batch
        if request.message_id:
            attributes[semconv.MESSAGING_MESSAGE_ID] = request.message_id[: self._limit]
        if request.body_size >= 0:
            attributes[semconv.MESSAGING_MESSAGE_BODY_SIZE] = request.body_size
        if request.offset >= 0:
            attributes[semconv.MESSAGING_KAFKA_OFFSET] = request.offset
        attributes.update(request.notes)
        if server and ends.peer_address:
            attributes[semconv.CLIENT_ADDRESS] = ends.peer_address
            attributes[semconv.NETWORK_PEER_ADDRESS] = ends.peer_address
            if ends.peer_port:
                attributes[semconv.NETWORK_PEER_PORT] = ends.peer_port
        return profile.name, attributes, profile.base, profile.status, profile.message

    @staticmethod
    def kind(exchange: Exchange) -> int:
        """The span's kind."""
        if exchange.kind == SERVER:
            return SERVER
        return _KINDS.get(exchange.request.type, exchange.kind)

    @staticmethod
    def links(exchange: Exchange) -> tuple[Link, ...]:
        """The contexts that its messages carry."""
        return tuple(
            Link(context.trace_id, context.span_id, context.trace_state, int(context.sampled))
            for context in exchange.request.contexts
            if context.trace_id
        )

    def _profile(
        self, exchange: Exchange, request: MessagingRequest, error: str, near: tuple[str, int]
    ) -> _Profile:
        limit = self._limit
        base: dict[str, Any] = {semconv.MESSAGING_SYSTEM: request.system}
        for name, value in (
            (semconv.MESSAGING_OPERATION_NAME, request.operation),
            (semconv.MESSAGING_OPERATION_TYPE, request.type),
            (semconv.MESSAGING_DESTINATION_NAME, request.destination),
            (semconv.MESSAGING_DESTINATION_PARTITION_ID, request.partition),
            (semconv.MESSAGING_CONSUMER_GROUP_NAME, request.group),
            (semconv.MESSAGING_CLIENT_ID, request.client_id),
        ):
            if value:
                base[name] = value[:limit]
        status = UNSET
        if error:
            base[semconv.ERROR_TYPE] = error
            status = ERROR
        address, port = near
        if address:
            base[semconv.SERVER_ADDRESS] = address
            if port:
                base[semconv.SERVER_PORT] = port
            if exchange.kind != SERVER:
                base[semconv.NETWORK_PEER_ADDRESS] = address
                if port:
                    base[semconv.NETWORK_PEER_PORT] = port
        if exchange.endpoints.family == "unix":
            base[semconv.NETWORK_TRANSPORT] = "unix"
        name = f"{request.operation} {request.destination}".strip() or request.system
        return _Profile(name[:_MAX_NAME], base, status, exchange.error or "")
