"""Database spans by the semantic conventions, whichever the database.

The name is the query's summary, else the operation with its collection, else the system. The
texts come from the parsers without literals; the setting ``statements`` keeps them off spans.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.protocols.database import DbRequest, DbResponse
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import ERROR, UNSET, AttributeSet, Description
from otel_ebpf.spans.settings import SpanSettings

_MAX_PROFILES = 2048
_MAX_NAME = 255


class _Profile:
    """What calls of one kind with the same end have in common."""

    __slots__ = ("base", "message", "name", "status")

    def __init__(self, name: str, base: dict[str, Any], status: int, message: str) -> None:
        self.name = name
        self.base = AttributeSet(base)
        self.status = status
        self.message = message


class DbSpans:
    """Describes calls of databases for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._limit = settings.value_length_limit
        self._statements = settings.statements
        self._profiles: dict[tuple[Any, ...], _Profile] = {}

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, their common beginning, status and its message."""
        request: DbRequest = exchange.request
        response: DbResponse | None = exchange.response
        endpoints = exchange.endpoints
        server = exchange.kind == SERVER
        code, failure = (response.status, response.error) if response is not None else ("", "")
        near = (
            (endpoints.local_address, endpoints.local_port)
            if server
            else (endpoints.peer_address, endpoints.peer_port)
        )
        error = exchange.error or failure
        key = (
            *(server, request.system, request.operation, request.summary, request.collection),
            *(request.namespace, request.procedure, request.batch, code, error, near),
        )
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profile(exchange, request, code, error, near)
            if response is not None and failure:
                profile.message = profile.message or response.said
            # Clearing all at once is the cheapest bound; a working set refills in one round.
            if len(self._profiles) >= _MAX_PROFILES:
                self._profiles.clear()
            self._profiles[key] = profile
        attributes = profile.base.attributes.copy()
        if self._statements and request.text:
            attributes[semconv.DB_QUERY_TEXT] = request.text[: self._limit]
        if server and endpoints.peer_address:
            attributes[semconv.CLIENT_ADDRESS] = endpoints.peer_address
            attributes[semconv.NETWORK_PEER_ADDRESS] = endpoints.peer_address
            if endpoints.peer_port:
                attributes[semconv.NETWORK_PEER_PORT] = endpoints.peer_port
        return profile.name, attributes, profile.base, profile.status, profile.message

    def _profile(
        self, exchange: Exchange, request: DbRequest, code: str, error: str, near: tuple[str, int]
    ) -> _Profile:
        limit = self._limit
        base: dict[str, Any] = {semconv.DB_SYSTEM_NAME: request.system}
        for name, value in (
            (semconv.DB_OPERATION_NAME, request.operation),
            (semconv.DB_COLLECTION_NAME, request.collection),
            (semconv.DB_NAMESPACE, request.namespace),
            (semconv.DB_QUERY_SUMMARY, request.summary),
            (semconv.DB_STORED_PROCEDURE_NAME, request.procedure),
            (semconv.DB_RESPONSE_STATUS_CODE, code),
        ):
            if value:
                base[name] = value[:limit]
        if request.batch > 1:
            base[semconv.DB_OPERATION_BATCH_SIZE] = request.batch
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
        said = request.summary or f"{request.operation} {request.collection}".strip()
        return _Profile((said or request.system)[:_MAX_NAME], base, status, exchange.error or "")
