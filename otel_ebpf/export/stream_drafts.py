"""The first step of :mod:`.drafts` for HTTP/2 and gRPC.

Equal header blocks share a head, so a head remembers what its spans are made of: all but
their times. A head that is new (its target is) still shares a template with others.
"""

from __future__ import annotations

from otel_ebpf.correlation.model import SERVER, Endpoints, Exchange
from otel_ebpf.export.otlp_encoding import times
from otel_ebpf.export.templates import Draft, Template, Templates
from otel_ebpf.protocols.http2_heads import Http2Request
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.rpc import status_code
from otel_ebpf.spans.settings import SpanSettings

_MAX_PEERS = 2048


class StreamDrafts:
    """Makes what it can of exchanges whose request is an ``Http2Request``. For one thread."""

    def __init__(self, builder: SpanBuilder, templates: Templates, settings: SpanSettings) -> None:
        self._builder = builder
        self._templates = templates
        self._peers: dict[tuple[bool, str, int], bytes] = {}
        # What a head remembers tells of its response's status alone, and a template of no
        # headers that a user has asked for.
        self._kinds = (
            not settings.client_response_headers,
            not settings.server_response_headers,
        )
        self._http = (not settings.client_request_headers, not settings.server_request_headers)
        self._grpc = (not settings.client_request_metadata, not settings.server_request_metadata)

    def begin(self, exchange: Exchange) -> Draft | None:
        """See ``Drafts.begin``."""
        request: Http2Request = exchange.request
        response = exchange.response
        if (
            response is None
            or exchange.error
            or exchange.notes
            or exchange.protocol not in ("http", "grpc")
            or not self._kinds[exchange.kind == SERVER]
        ):
            return None
        # Joined midway, a connection may never show its heads whole.
        cut = exchange.request_truncated + 2 * exchange.response_truncated
        # A text for gRPC, else a number.
        said = status_code(exchange) if exchange.protocol == "grpc" else response.status
        memo = request.memo
        if (
            memo is None
            or memo[0] is not exchange.endpoints
            or memo[1] != said
            or memo[2] != exchange.kind
            or memo[3] != exchange.secure
            or memo[4] != cut
        ):
            made = self._made(exchange, said)
            memo = (exchange.endpoints, said, exchange.kind, exchange.secure, cut, *made)
            request.memo = memo
        template: Template = memo[5]
        rest: bytes = memo[6]
        return template.name + times(*self._builder.times(exchange)) + rest, template

    def _made(self, exchange: Exchange, said: str | int) -> tuple[Template, bytes]:
        """The template, and all that comes behind the times."""
        http = exchange.protocol == "http"
        whole = not (exchange.request_truncated or exchange.response_truncated)
        template = None
        if whole:
            template = self._of_request(exchange) if http else self._of_call(exchange, said)
        if template is None:
            return self._templates.alone(exchange)
        peer = self._peer(exchange) if exchange.kind == SERVER else b""
        varying: tuple[bytes, ...] = (peer,)
        if http:
            varying = self._templates.varying(template, exchange.request.target, peer)
        return template, b"".join((template.base, *varying, template.after))

    def _of_request(self, exchange: Exchange) -> Template | None:
        request: Http2Request = exchange.request
        server = exchange.kind == SERVER
        header = request.header
        if (
            not self._http[server]
            or request.target[:1] != "/"
            or (server and b"forwarded" in request.lower)
        ):
            return None
        key = (
            *(request.method, header("host"), request.scheme, exchange.response.status),  # type: ignore[union-attr]
            *(header("user-agent") if server else None, server, exchange.secure),
            *_asked(exchange.endpoints, server),
        )
        return self._templates.get(key, exchange, self._templates.of_target)

    def _of_call(self, exchange: Exchange, code: str | int) -> Template | None:
        server = exchange.kind == SERVER
        if not self._grpc[server]:
            return None
        request: Http2Request = exchange.request
        key = (
            *("grpc", request.target, request.header("host"), code, server),
            *_asked(exchange.endpoints, server),
        )
        return self._templates.get(key, exchange, self._templates.of_all)

    def _peer(self, exchange: Exchange) -> bytes:
        ends = exchange.endpoints
        key = (exchange.protocol == "grpc", ends.peer_address, ends.peer_port)
        peer = self._peers.get(key)
        if peer is None:
            if len(self._peers) >= _MAX_PEERS:
                self._peers.clear()
            peer = self._peers[key] = self._templates.peer(exchange)
        return peer


def _asked(ends: Endpoints, server: bool) -> tuple[str, str, int]:
    """The end that was asked, which is in what requests have in common."""
    if server:
        return ends.family, ends.local_address, ends.local_port
    return ends.family, ends.peer_address, ends.peer_port
