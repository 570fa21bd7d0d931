"""Database spans by the semantic conventions, whichever the database.

The name is the query's summary, else the operation with its collection, else the system. The
texts come from the parsers without literals; the setting ``statements`` keeps them off spans.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.protocols.database import DbRequest, DbResponse
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import ERROR, UNSET, Description
from otel_ebpf.spans.profiles import Profile, Profiles, put_client, put_server, server_of
from otel_ebpf.spans.settings import SpanSettings

_MAX_PROFILES = 2048
_MAX_NAME = 255


class DbSpans:
    """Describes calls of databases for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._limit = settings.value_length_limit
        self._statements = settings.statements
        self._profiles = Profiles(_MAX_PROFILES)

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, their common beginning, status and its message."""
        request: DbRequest = exchange.request
        response: DbResponse | None = exchange.response
        endpoints = exchange.endpoints
        server = exchange.kind == SERVER
        code, failure = (response.status, response.error) if response is not None else ("", "")
        near = server_of(endpoints, server)
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
            self._profiles.keep(key, profile)
        attributes = profile.base.attributes.copy()
        if self._statements and request.text:
            attributes[semconv.DB_QUERY_TEXT] = request.text[: self._limit]
        if server:
            put_client(attributes, endpoints)
        return profile.name, attributes, profile.base, profile.status, profile.message

    def _profile(
        self, exchange: Exchange, request: DbRequest, code: str, error: str, near: tuple[str, int]
    ) -> Profile:
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
        put_server(base, exchange.endpoints, near, exchange.kind == SERVER)
        said = request.summary or f"{request.operation} {request.collection}".strip()
        return Profile((said or request.system)[:_MAX_NAME], base, status, exchange.error or "")
