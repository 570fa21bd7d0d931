"""Spans of HTTP requests that a web server hands on to a program: FastCGI and uwsgi.

They are HTTP spans with the protocol's name. The SERVER span has the request's own host; the
CLIENT span has who was called, as the host is that of the web server itself.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.protocols.cgi import CgiRequest, CgiResponse
from otel_ebpf.spans import semconv
from otel_ebpf.spans.authority import DEFAULT_PORTS, split_authority
from otel_ebpf.spans.http_heads import HeaderCapture
from otel_ebpf.spans.model import ERROR, UNSET, Description
from otel_ebpf.spans.redaction import QueryRedactor
from otel_ebpf.spans.settings import SpanSettings


class CgiSpans:
    """Describes them for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._known = settings.known_methods
        self._limit = settings.value_length_limit
        self._redact = QueryRedactor(settings.sensitive_query_keys).redact
        self._capture_server = HeaderCapture(
            settings.server_request_headers, settings.server_response_headers
        )
        self._capture_client = HeaderCapture(
            settings.client_request_headers, settings.client_response_headers
        )

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, no common beginning, status and its message."""
        request: CgiRequest = exchange.request
        response: CgiResponse | None = exchange.response
        server = exchange.kind == SERVER
        limit = self._limit
        endpoints = exchange.endpoints
        method = request.method if request.method in self._known else semconv.METHOD_OTHER
        path, mark, query = request.target.partition("?")
        found: dict[str, Any] = {
            semconv.HTTP_REQUEST_METHOD: method,
            semconv.NETWORK_PROTOCOL_NAME: exchange.protocol,
        }
        if method == semconv.METHOD_OTHER and request.method:
            found[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = request.method[:limit]
        if path:
            found[semconv.URL_PATH] = path[:limit]
        if mark:
            found[semconv.URL_QUERY] = self._redact(query)[:limit]
        found[semconv.URL_SCHEME] = request.scheme[:limit]
        code = response.status if response is not None else 0
        if code:
            found[semconv.HTTP_RESPONSE_STATUS_CODE] = code
        error = exchange.error or (str(code) if code >= (500 if server else 400) else "")
        if error:
            found[semconv.ERROR_TYPE] = error
        if endpoints.family == "unix":
            found[semconv.NETWORK_TRANSPORT] = "unix"
        if server:
            self._server(found, request, exchange)
        else:
            if endpoints.peer_address:
                found[semconv.SERVER_ADDRESS] = endpoints.peer_address[:limit]
            if endpoints.peer_port:
                found[semconv.SERVER_PORT] = endpoints.peer_port
        if endpoints.peer_address:
            found[semconv.NETWORK_PEER_ADDRESS] = endpoints.peer_address
        if endpoints.peer_port:
            found[semconv.NETWORK_PEER_PORT] = endpoints.peer_port
        capture = self._capture_server if server else self._capture_client
        if capture.any:
            capture.add(found, request, response, limit)
        name = "HTTP" if method == semconv.METHOD_OTHER else method
        return name, found, None, ERROR if error else UNSET, exchange.error or ""

    def _server(self, found: dict[str, Any], request: CgiRequest, exchange: Exchange) -> None:
        limit, endpoints = self._limit, exchange.endpoints
        host = request.header("host")
        address, port = split_authority(host) if host else ("", None)
        if not address:
            address = request.variable(b"SERVER_NAME") or endpoints.local_address
        if port is None:
            said = request.variable(b"SERVER_PORT")
            known = host is None and said.isascii() and said.isdigit() and len(said) < 6
            port = int(said) if known else DEFAULT_PORTS.get(request.scheme)
        if address:
            found[semconv.SERVER_ADDRESS] = address[:limit]
        if port:
            found[semconv.SERVER_PORT] = port
        client = request.variable(b"REMOTE_ADDR") or endpoints.peer_address
        if client:
            found[semconv.CLIENT_ADDRESS] = client[:limit]
        agent = request.header("user-agent")
        if agent is not None:
            found[semconv.USER_AGENT_ORIGINAL] = agent[:limit]
