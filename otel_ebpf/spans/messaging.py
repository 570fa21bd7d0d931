"""Messaging spans by the semantic conventions, whichever the broker.

The name is the operation with its destination, where few destinations have such names. Who sends
is a PRODUCER, who receives a CONSUMER, and all else that clients ask is CLIENT; a broker's own
process has SERVER spans, and CLIENT ones of what it delivers. What messages' headers carry become
links, where it did not become the parent: a call may have messages of many traces.
"""

from __future__ import annotations

import re
from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.protocols.messaging import MessagingRequest, MessagingResponse
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import (
    CONSUMER,
    ERROR,
    PRODUCER,
    UNSET,
    Description,
    Link,
)
from otel_ebpf.spans.profiles import Profile, Profiles, put_client, put_server, server_of
from otel_ebpf.spans.settings import SpanSettings

_MAX_PROFILES = 2048
_MAX_NAME = 255
_TEMPORARY = re.compile(r"_INBOX\.|amq\.gen-|amq\.rabbitmq\.reply-to|amq_[0-9a-f]{32}")
"""How names begin that a client library or broker made up for one connection's use."""
_PIECES = re.compile(r"[^/.:]+")
_NUMBER = re.compile(
    r"\d+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?=.*\d)[0-9a-fA-F]{12,}"
)
"""A piece of a name that stands for one thing of many."""
_KINDS = {"create": PRODUCER, "send": PRODUCER, "receive": CONSUMER, "process": CONSUMER}


class MessagingSpans:
    """Describes calls to brokers for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._limit = settings.value_length_limit
        self._profiles = Profiles(_MAX_PROFILES)

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, their common beginning, status and its message."""
        request: MessagingRequest = exchange.request
        response: MessagingResponse | None = exchange.response
        ends = exchange.endpoints
        server = exchange.kind == SERVER
        broker = server != request.pushed
        near = server_of(ends, broker)
        error = exchange.error or (response.error if response is not None else "")
        key = (
            *(
                server,
                request.pushed,
                request.system,
                request.operation,
                request.type,
                request.destination,
            ),
            *(request.partition, request.group, request.client_id, error, exchange.error, near),
        )
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profile(exchange, request, error, near)
            self._profiles.keep(key, profile)
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
        if request.conversation:
            attributes[semconv.MESSAGING_MESSAGE_CONVERSATION_ID] = request.conversation[
                : self._limit
            ]
        if broker:
            put_client(attributes, ends)
        return profile.name, attributes, profile.base, profile.status, profile.message

    @staticmethod
    def kind(exchange: Exchange) -> int:
        """The span's kind."""
        request: MessagingRequest = exchange.request
        if (exchange.kind == SERVER) != request.pushed:  # the broker's view
            return exchange.kind
        return CONSUMER if request.pushed else _KINDS.get(request.type, exchange.kind)

    @staticmethod
    def links(exchange: Exchange) -> tuple[Link, ...]:
        """The contexts that its messages carry, but for the parent."""
        return tuple(
            Link(context.trace_id, context.span_id, context.trace_state, int(context.sampled))
            for context in exchange.request.contexts
            if context.trace_id and context.span_id != exchange.parent_span_id
        )

    def _profile(
        self, exchange: Exchange, request: MessagingRequest, error: str, near: tuple[str, int]
    ) -> Profile:
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
        named = template(request.destination)
        if _TEMPORARY.match(request.destination):
            base[semconv.MESSAGING_DESTINATION_TEMPORARY] = True
            named = ""
        elif named != request.destination:
            base[semconv.MESSAGING_DESTINATION_TEMPLATE] = named[:limit]
        status = UNSET
        if error:
            base[semconv.ERROR_TYPE] = error
            status = ERROR
        put_server(base, exchange.endpoints, near, (exchange.kind == SERVER) != request.pushed)
        name = f"{request.operation} {named}".strip() or request.system
        return Profile(name[:_MAX_NAME], base, status, exchange.error or "")


def template(destination: str) -> str:
    """The name with ``{id}`` for each piece of it that is a number, a UUID or the like."""
    if not any(map(str.isdigit, destination)):
        return destination
    return _PIECES.sub(
        lambda piece: "{id}" if _NUMBER.fullmatch(piece[0]) else piece[0], destination
    )
