"""Spans of remote procedure calls by the semantic conventions: Dubbo, Thrift.

The name is the method, with its service where the call names it. A client's span is an error
where the answer says that the call failed, a server's unless that was the caller's fault.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.protocols.rpc import RpcRequest, RpcResponse
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import ERROR, UNSET, Description
from otel_ebpf.spans.profiles import Profile, Profiles, put_client, put_server, server_of
from otel_ebpf.spans.settings import SpanSettings

_MAX_PROFILES = 1024
_MAX_NAME = 255


class CallSpans:
    """Describes calls for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._limit = settings.value_length_limit
        self._profiles = Profiles(_MAX_PROFILES)

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, their common beginning, status and its message."""
        request: RpcRequest = exchange.request
        response: RpcResponse | None = exchange.response
        ends = exchange.endpoints
        server = exchange.kind == SERVER
        status, error = "", exchange.error or ""
        if response is not None:
            status = response.status
            if not error and not (server and response.blameless):
                error = response.error
        near = server_of(ends, server)
        key = (server, request.system, request.method, status, error, exchange.error, near)
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profile(exchange, request, status, error, near)
            self._profiles.keep(key, profile)
        attributes = profile.base.attributes.copy()
        if request.notes:
            attributes.update(request.notes)
        if response is not None and response.notes:
            attributes.update(response.notes)
        if server:
            put_client(attributes, ends)
        return profile.name, attributes, profile.base, profile.status, profile.message

    def _profile(
        self, exchange: Exchange, request: RpcRequest, code: str, error: str, near: tuple[str, int]
    ) -> Profile:
        limit = self._limit
        base: dict[str, Any] = {semconv.RPC_SYSTEM_NAME: request.system}
        for name, value in (
            (semconv.RPC_METHOD, request.method),
            (semconv.RPC_RESPONSE_STATUS_CODE, code),
        ):
            if value:
                base[name] = value[:limit]
        status = UNSET
        if error:
            base[semconv.ERROR_TYPE] = error
            status = ERROR
        put_server(base, exchange.endpoints, near, exchange.kind == SERVER)
        name = (request.method or request.system)[:_MAX_NAME]
        return Profile(name, base, status, exchange.error or "")
