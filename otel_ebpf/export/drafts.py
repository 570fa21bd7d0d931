"""OTLP spans in two steps: all but its place in a trace when an exchange ends, the rest when
its trace is known.

An exchange waits for its parents in between. What waits is bytes, made while everything
they are made of was at hand, and most of them are the same for all requests of one kind.
The result is, byte for byte, what ``SpanEncoder`` makes of the exchange's span.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.export.otlp_encoding import SpanEncoder, entry, ids, times
from otel_ebpf.protocols.http1_head import HttpRequest
from otel_ebpf.spans import semconv
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.model import Description
from otel_ebpf.spans.redaction import QueryRedactor
from otel_ebpf.spans.settings import SpanSettings

_MAX_TEMPLATES = 2048
_PEER = frozenset(
    {
        semconv.CLIENT_ADDRESS,
        semconv.CLIENT_PORT,
        semconv.NETWORK_PEER_ADDRESS,
        semconv.NETWORK_PEER_PORT,
    }
)


class Template(NamedTuple):
    """What the spans of requests that differ in target, peer and times have in common.

    Attributes:
        name: name and kind, encoded; base: attributes before the target's; after: those
            behind the target's and the peer's.
        origin: what a client's URL has before the target; "" on a server.
        status: status code; tails: status and flags, encoded, by ``parent_remote``.
    """

    name: bytes
    base: bytes
    after: bytes
    origin: str
    status: int
    tails: tuple[bytes, bytes]


Draft = tuple[bytes, Template]
"""The part of a span that no parent changes, and what it was made from."""


class Drafts:
    """Makes spans of usual HTTP exchanges. For one thread."""

    def __init__(self, builder: SpanBuilder, encoder: SpanEncoder, settings: SpanSettings) -> None:
        self._builder = builder
        self._encoder = encoder
        self._limit = settings.value_length_limit
        self._redact = QueryRedactor(settings.sensitive_query_keys).redact
        # A template knows of a response its status alone.
        self._kinds = (
            not settings.client_response_headers,
            not settings.server_response_headers,
        )
        self._templates: dict[tuple[Any, ...], Template | None] = {}
        self._rules: dict[str, bytes] = {"": b""}

    def begin(self, exchange: Exchange) -> Draft | None:
        """The first step, for a finished exchange; None where it needs a span of its own."""
        request, response = exchange.request, exchange.response
        section = getattr(request, "section", None)
        if (
            section is None
            or response is None
            or exchange.error
            or exchange.notes
            or exchange.request_truncated
            or exchange.response_truncated
        ):
            return None
        ends = exchange.endpoints
        status, method = response.status, request.method
        # A connection's requests are mostly of one kind: one look spares a key and its hash.
        memo = ends.memo
        if (
            memo is not None
            and memo[0] is section
            and memo[1] == status
            and memo[2] == method
            and memo[3] == request.version
            and memo[4] == exchange.kind
        ):
            template, peer = memo[5], memo[6]
        else:
            template = self._template(exchange)
            peer = memo[6] if memo is not None else b""
            if template is not None and not peer and not template.origin:
                peer = self._peer(exchange)
            ends.memo = (section, status, method, request.version, exchange.kind, template, peer)
        target: str = request.target
        if template is None or target[:1] != "/":
            return None
        encoder, limit = self._encoder, self._limit
        path, mark, query = target.partition("?")
        if mark:
            query = self._redact(query)
        varying: tuple[bytes, ...]
        if template.origin:
            full = f"{template.origin}{path}?{query}" if mark else template.origin + target
            varying = encoder.text(semconv.URL_FULL, full[:limit])
        elif mark:
            varying = (
                *encoder.text(semconv.URL_PATH, path[:limit]),
                *encoder.text(semconv.URL_QUERY, query[:limit]),
                peer,
            )
        else:
            varying = (*encoder.text(semconv.URL_PATH, path[:limit]), peer)
        moments = times(*self._builder.times(exchange))
        body = b"".join((template.name, moments, template.base, *varying, template.after))
        return body, template

    def complete(self, exchange: Exchange, draft: Draft) -> tuple[Any, bytes]:
        """The second step, when the trace is known: resource and encoded span."""
        body, template = draft
        rule = exchange.rule
        encoded_rule = self._rules.get(rule)
        if encoded_rule is None:
            pair = self._encoder.attributes({semconv.PARENT_RULE: rule}, None)
            encoded_rule = self._rules[rule] = b"".join(pair)
        place = ids(
            exchange.trace_id, exchange.span_id, exchange.parent_span_id, exchange.trace_state
        )
        tail = template.tails[exchange.parent_remote]
        resource = self._builder.resource(exchange, template.status)
        return resource, entry(place + body + encoded_rule + tail)

    def _template(self, exchange: Exchange) -> Template | None:
        request, ends = exchange.request, exchange.endpoints
        server = exchange.kind == SERVER
        # The end that was asked, which is in what requests have in common.
        place = (
            (ends.local_port, ends.local_address) if server else (ends.peer_port, ends.peer_address)
        )
        key = (
            *(request.section, exchange.response.status, request.method, request.version),  # type: ignore[union-attr]
            *(server, exchange.secure, ends.family, *place),
        )
        try:
            return self._templates[key]
        except KeyError:
            template = self._learn(exchange)
            if len(self._templates) >= _MAX_TEMPLATES:
                self._templates.clear()
            self._templates[key] = template
            return template

    def _learn(self, exchange: Exchange) -> Template | None:
        """A template from the builder's description of this exchange, as if it had asked
        for ``/``. None where the target is not all that differs."""
        server = exchange.kind == SERVER
        request: HttpRequest = exchange.request
        if not self._kinds[server] or (server and b"forwarded" in request.lower):
            return None
        name, attributes, base, status, message = self._described(exchange)
        own = list(attributes.items())
        own = own[len(base.attributes) :] if base is not None else own
        key, value = own.pop(0)
        wanted = semconv.URL_PATH if server else semconv.URL_FULL
        if base is None or key != wanted or value[-1:] != "/" or "?" in value:
            return None
        after = {key: value for key, value in own if not (server and key in _PEER)}
        encoder = self._encoder
        tail = encoder.tail
        return Template(
            encoder.name(name, exchange.kind),
            b"".join(encoder.attributes(base.attributes, base)),
            b"".join(encoder.attributes(after, None)),
            "" if server else value[:-1],
            status,
            (tail(status, message, 1, False), tail(status, message, 1, True)),
        )

    def _peer(self, exchange: Exchange) -> bytes:
        """The attributes that name a server's client."""
        attributes = self._described(exchange)[1]
        peer = {key: value for key, value in attributes.items() if key in _PEER}
        return b"".join(self._encoder.attributes(peer, None))

    def _described(self, exchange: Exchange) -> Description:
        request = exchange.request
        exchange.request = HttpRequest(request.method, "/", request.version, request.head)
        try:
            return self._builder.describe(exchange)
        finally:
            exchange.request = request
