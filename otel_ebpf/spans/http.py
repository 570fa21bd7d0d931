"""HTTP spans by the stable semantic conventions.

The name is the method alone: a route is not known from the wire, and a path is not
of low cardinality.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.spans import semconv
from otel_ebpf.spans.authority import (
    DEFAULT_PORTS,
    clean_url,
    join_authority,
    split_authority,
    split_url,
)
from otel_ebpf.spans.forwarded import original_request
from otel_ebpf.spans.http_heads import HeaderCapture, HttpRequestHead
from otel_ebpf.spans.model import ERROR, UNSET, AttributeSet, Description
from otel_ebpf.spans.redaction import QueryRedactor, redact_userinfo
from otel_ebpf.spans.settings import SpanSettings

_MAX_PROFILES = 1024


class _Profile:
    """What exchanges with the same method, host, status and endpoint have in common."""

    __slots__ = ("base", "message", "name", "origin", "status")

    def __init__(
        self, name: str, base: dict[str, Any], status: int, message: str, origin: str
    ) -> None:
        self.name = name
        self.base = AttributeSet(base)
        self.status = status
        self.message = message
        self.origin = origin


class HttpSpans:
    """Describes HTTP exchanges for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._known = settings.known_methods
        self._limit = settings.value_length_limit
        self._redact = QueryRedactor(settings.sensitive_query_keys).redact
        self._profiles: dict[tuple[Any, ...], _Profile] = {}
        self._capture_server = HeaderCapture(
            settings.server_request_headers, settings.server_response_headers
        )
        self._capture_client = HeaderCapture(
            settings.client_request_headers, settings.client_response_headers
        )

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, their common beginning, status and its message."""
        if exchange.kind == SERVER:
            return self._server(exchange)
        return self._client(exchange)

    def _server(self, exchange: Exchange) -> Description:
        request: HttpRequestHead = exchange.request
        endpoints = exchange.endpoints
        header = request.header
        limit = self._limit
        target = request.target
        host = header("host")
        scheme = "https" if exchange.secure else request.scheme or "http"
        if exchange.notes:
            scheme = exchange.notes.get(semconv.URL_SCHEME, scheme)
        peer = endpoints.peer_address
        client, client_port = peer, None
        # One search of the bytes spares two look-ups that mostly find nothing.
        if b"forwarded" in request.lower:
            by_proxy = original_request(header)
            client, client_port = by_proxy[0] or peer, by_proxy[1]
            scheme, host = by_proxy[2] or scheme, by_proxy[3] or host
        if target[:1] != "/" and target:
            url = split_url(target)
            if url is not None:
                # RFC 9112 3.2.2: an absolute target overrules the Host header.
                scheme, host, target = url[0], url[1], url[2]
                target = target if target[:1] == "/" else f"/{target}"
            elif request.method == "CONNECT":
                host, target = target, ""
        method = request.method if request.method in self._known else semconv.METHOD_OTHER
        response = exchange.response
        key = (
            method,
            host,
            response.status if response is not None else 0,
            request.version,
            endpoints.local_port,
            endpoints.local_address,
            scheme,
            exchange.error,
        )
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._remember(
                key, self._profile(exchange, method, scheme, host, 500, with_url=True)
            )
        attributes = profile.base.attributes.copy()
        path, mark, query = target.partition("?")
        if target or request.target:
            attributes[semconv.URL_PATH] = path if len(path) <= limit else path[:limit]
        if mark:
            query = self._redact(query)
            attributes[semconv.URL_QUERY] = query if len(query) <= limit else query[:limit]
        attributes[semconv.CLIENT_ADDRESS] = client if len(client) <= limit else client[:limit]
        if client_port:
            attributes[semconv.CLIENT_PORT] = client_port
        attributes[semconv.NETWORK_PEER_ADDRESS] = peer
        if endpoints.peer_port:
            attributes[semconv.NETWORK_PEER_PORT] = endpoints.peer_port
        agent = header("user-agent")
        if agent is not None:
            attributes[semconv.USER_AGENT_ORIGINAL] = (
                agent if len(agent) <= limit else agent[:limit]
            )
        if method == semconv.METHOD_OTHER and request.method:
            attributes[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = request.method[:limit]
        if self._capture_server.any:
            self._capture_server.add(attributes, request, response, limit)
        return profile.name, attributes, profile.base, profile.status, profile.message

    def _client(self, exchange: Exchange) -> Description:
        request: HttpRequestHead = exchange.request
        endpoints = exchange.endpoints
        limit = self._limit
        target = request.target
        host = request.header("host")
        scheme = "https" if exchange.secure else request.scheme or "http"
        if exchange.notes:
            scheme = exchange.notes.get(semconv.URL_SCHEME, scheme)
        absolute = None
        if target[:1] != "/":
            url = split_url(target)
            if url is not None:
                scheme, host = url[0], url[1]
                absolute = clean_url(target)
            elif request.method == "CONNECT":
                host, target = target, ""
                absolute = f"//{redact_userinfo(host)}"
            elif target == "*" or not target:
                target = ""  # RFC 9112 3.2.4: OPTIONS for the server as a whole, no path.
            else:
                target = f"/{target}"
        method = request.method if request.method in self._known else semconv.METHOD_OTHER
        response = exchange.response
        key = (
            method,
            host,
            response.status if response is not None else 0,
            request.version,
            endpoints.peer_port,
            endpoints.peer_address,
            scheme,
            exchange.error,
            0,  # Tells the client's keys from the server's, which have one part less.
        )
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._remember(
                key, self._profile(exchange, method, scheme, host, 400, with_url=False)
            )
        attributes = profile.base.attributes.copy()
        full = profile.origin + target if absolute is None else absolute
        if "?" in full:
            before, _, query = full.partition("?")
            full = f"{before}?{self._redact(query)}"
        attributes[semconv.URL_FULL] = full if len(full) <= limit else full[:limit]
        if method == semconv.METHOD_OTHER and request.method:
            attributes[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = request.method[:limit]
        if self._capture_client.any:
            self._capture_client.add(attributes, request, response, limit)
        return profile.name, attributes, profile.base, profile.status, profile.message

    def _remember(self, key: tuple[Any, ...], profile: _Profile) -> _Profile:
        # Clearing all at once is the cheapest bound; a working set refills in one round.
        if len(self._profiles) >= _MAX_PROFILES:
            self._profiles.clear()
        self._profiles[key] = profile
        return profile

    def _profile(
        self,
        exchange: Exchange,
        method: str,
        scheme: str,
        host: str | None,
        failing: int,
        *,
        with_url: bool,
    ) -> _Profile:
        """The common part. ``failing`` is the first status code that counts as an error."""
        endpoints = exchange.endpoints
        limit = self._limit
        server = exchange.kind == SERVER
        address, port = (
            (endpoints.local_address, endpoints.local_port)
            if server
            else (endpoints.peer_address, endpoints.peer_port)
        )
        socket_address, socket_port = address, port
        authority = join_authority(address, port) if endpoints.family != "unix" else "localhost"
        if host and (named := split_authority(host))[0]:
            address = named[0]
            port = named[1] or DEFAULT_PORTS.get(scheme, port)
            authority = redact_userinfo(host)
        base: dict[str, Any] = {semconv.HTTP_REQUEST_METHOD: method}
        if with_url:
            base[semconv.URL_SCHEME] = scheme
        status, message = UNSET, ""
        code = exchange.response.status if exchange.response is not None else 0
        if code:
            base[semconv.HTTP_RESPONSE_STATUS_CODE] = code
        error = exchange.error or (str(code) if code >= failing else None)
        if error:
            base[semconv.ERROR_TYPE] = error
            status, message = ERROR, exchange.error or ""
        base[semconv.SERVER_ADDRESS] = address[:limit]
        if port:
            base[semconv.SERVER_PORT] = port
        if endpoints.family == "unix":
            base[semconv.NETWORK_TRANSPORT] = "unix"
        if server:
            base[semconv.NETWORK_LOCAL_ADDRESS] = socket_address
            if socket_port:
                base[semconv.NETWORK_LOCAL_PORT] = socket_port
        else:
            base[semconv.NETWORK_PEER_ADDRESS] = socket_address
            if socket_port:
                base[semconv.NETWORK_PEER_PORT] = socket_port
        if exchange.request.version:
            base[semconv.NETWORK_PROTOCOL_VERSION] = exchange.request.version
        name = "HTTP" if method == semconv.METHOD_OTHER else method
        return _Profile(name, base, status, message, f"{scheme}://{authority}")
