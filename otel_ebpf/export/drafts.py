"""OTLP spans in two steps: all but its place in a trace when an exchange ends, the rest when
its trace is known.

An exchange waits for its parents in between. What waits is bytes, made while everything
they are made of was at hand, and most of them are the same for all requests of one kind.
The result is, byte for byte, what ``SpanEncoder`` makes of the exchange's span.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.export.otlp_encoding import SpanEncoder, entry, ids, times
from otel_ebpf.export.stream_drafts import StreamDrafts
from otel_ebpf.export.templates import Draft, Template, Templates
from otel_ebpf.protocols.http2_heads import Http2Request
from otel_ebpf.spans import semconv
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.settings import SpanSettings


class Drafts:
    """Makes spans of usual HTTP exchanges. For one thread."""

    def __init__(self, builder: SpanBuilder, encoder: SpanEncoder, settings: SpanSettings) -> None:
        self._builder = builder
        self._encoder = encoder
        self._templates = Templates(builder, encoder, settings)
        self._varying = self._templates.varying
        self._streams = StreamDrafts(builder, self._templates, settings)
        # A template knows of a response its status alone.
        self._kinds = (
            not settings.client_response_headers,
            not settings.server_response_headers,
        )
        self._rules: dict[str, bytes] = {"": b""}

    def begin(self, exchange: Exchange) -> Draft | None:
        """The first step, for a finished exchange; None where it needs a span of its own."""
        request, response = exchange.request, exchange.response
        if request.__class__ is Http2Request:
            return self._streams.begin(exchange)
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
                peer = self._templates.peer(exchange)
            ends.memo = (section, status, method, request.version, exchange.kind, template, peer)
        target: str = request.target
        if template is None or target[:1] != "/":
            return None
        varying = self._varying(template, target, peer)
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
        return self._templates.get(key, exchange, self._learn)

    def _learn(self, exchange: Exchange) -> Template | None:
        server = exchange.kind == SERVER
        if not self._kinds[server] or (server and b"forwarded" in exchange.request.lower):
            return None
        return self._templates.of_target(exchange)
