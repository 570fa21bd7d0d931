"""Spans of remote procedure calls by the semantic conventions: Dubbo, Thrift.

The name is the method, with its service where the call names it. A client's span is an error
where the answer says that the call failed, a server's unless that was the caller's fault.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.protocols.rpc import RpcRequest, RpcResponse
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import ERROR, UNSET, AttributeSet, Description
from otel_ebpf.spans.settings import SpanSettings

_MAX_PROFILES = 1024
_MAX_NAME = 255


class _Profile:
    """What calls of one method with the same end have in common."""

    __slots__ = ("base", "message", "name", "status")

    def __init__(self, name: str, base: dict[str, Any], status: int, message: str) -> None:
        self.name = name
        self.base = AttributeSet(base)
        self.status = status
        self.message = message


class CallSpans:
    """Describes calls for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._limit = settings.value_length_limit
        self._profiles: dict[tuple[Any, ...], _Profile] = {}

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
        near = (
            (ends.local_address, ends.local_port) if server else (ends.peer_address, ends.peer_port)
        )
        key = (server, request.system, request.method, status, error, exchange.error, near)
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profile(exchange, request, status, error, near)
            # Clearing all at once is the cheapest bound; a working set refills in one round.
            if len(self._profiles) >= _MAX_PROFILES:
                self._profiles.clear()
            self._profiles[key] = profile
        attributes = profile.base.attributes.copy()
        if request.notes:
            attributes.update(request.notes)
        if response is not None and response.notes:
            attributes.update(response.notes)
        if server and ends.peer_address:
            attributes[semconv.CLIENT_ADDRESS] = ends.peer_address
            attributes[semconv.NETWORK_PEER_ADDRESS] = ends.peer_address
            if ends.peer_port:
                attributes[semconv.NETWORK_PEER_PORT] = ends.peer_port
        return profile.name, attributes, profile.base, profile.status, profile.message

    def _profile(
        self, exchange: Exchange, request: RpcRequest, code: str, error: str, near: tuple[str, int]
    ) -> _Profile:
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
        name = (request.method or request.system)[:_MAX_NAME]
        return _Profile(name, base, status, exchange.error or "")
