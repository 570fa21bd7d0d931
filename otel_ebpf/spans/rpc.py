"""RPC spans by the semantic conventions, for gRPC.

The name is the method, ``pkg.Service/Method``. A client's span is an error for every status
but OK, a server's for those that are the server's fault.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.spans import semconv
from otel_ebpf.spans.authority import split_authority
from otel_ebpf.spans.model import ERROR, UNSET, Description
from otel_ebpf.spans.profiles import Profile, Profiles, server_of
from otel_ebpf.spans.settings import SpanSettings

_MAX_PROFILES = 1024

CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""gRPC's status codes by number."""
SERVER_ERRORS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_OF_HTTP = {
    400: "INTERNAL",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
    429: "UNAVAILABLE",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "UNAVAILABLE",
}
"""What a client makes of an answer that is no gRPC (gRPC's http-grpc-status-mapping)."""


class RpcSpans:
    """Describes gRPC exchanges for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._limit = settings.value_length_limit
        self._profiles = Profiles(_MAX_PROFILES)
        self._capture = {
            True: _names(settings.server_request_metadata),
            False: _names(settings.client_request_metadata),
        }

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, their common beginning, status and its message."""
        request = exchange.request
        endpoints = exchange.endpoints
        server = exchange.kind == SERVER
        code = status_code(exchange)
        host = request.header("host")
        near = server_of(endpoints, server)
        key = (server, request.target, host, code, exchange.error, near)
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profile(exchange, code, host, near)
            self._profiles.keep(key, profile)
        attributes = profile.base.attributes.copy()
        if server:
            attributes[semconv.CLIENT_ADDRESS] = endpoints.peer_address
            attributes[semconv.NETWORK_PEER_ADDRESS] = endpoints.peer_address
            if endpoints.peer_port:
                attributes[semconv.NETWORK_PEER_PORT] = endpoints.peer_port
        for name, attribute in self._capture[server]:
            values = request.headers(name)
            if values:
                attributes[attribute] = [value[: self._limit] for value in values]
        return profile.name, attributes, profile.base, profile.status, profile.message

    def _profile(
        self, exchange: Exchange, code: str, host: str | None, near: tuple[str, int]
    ) -> Profile:
        limit = self._limit
        server = exchange.kind == SERVER
        method = exchange.request.target.removeprefix("/").partition("?")[0][:limit]
        base: dict[str, Any] = {semconv.RPC_SYSTEM_NAME: "grpc"}
        if method:
            base[semconv.RPC_METHOD] = method
        if code:
            base[semconv.RPC_RESPONSE_STATUS_CODE] = code
        error = exchange.error
        if not error and code != "OK" and code and (not server or code in SERVER_ERRORS):
            error = code
        status, message = UNSET, ""
        if error:
            base[semconv.ERROR_TYPE] = error
            status, message = ERROR, exchange.error or ""
        address, port = near
        if host and (named := split_authority(host))[0]:
            address, port = named[0], named[1] or port
        base[semconv.SERVER_ADDRESS] = address[:limit]
        if port:
            base[semconv.SERVER_PORT] = port
        if exchange.endpoints.family == "unix":
            base[semconv.NETWORK_TRANSPORT] = "unix"
        if not server:
            base[semconv.NETWORK_PEER_ADDRESS] = near[0]
            if near[1]:
                base[semconv.NETWORK_PEER_PORT] = near[1]
        return Profile(method or "grpc", base, status, message)


def status_code(exchange: Exchange) -> str:
    """The status by its name (``NOT_FOUND``); empty where none was seen."""
    response = exchange.response
    if response is None:
        return ""
    said = response.grpc_status
    if said is not None:
        number = int(said) if said.isdecimal() and len(said) < 4 else -1
        return CODES[number] if 0 <= number < len(CODES) else "UNKNOWN"
    if response.status in (0, 200):
        return ""
    return _OF_HTTP.get(response.status, "UNKNOWN")


def _names(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, f"{semconv.RPC_REQUEST_METADATA_TEMPLATE}.{name}") for name in names]
