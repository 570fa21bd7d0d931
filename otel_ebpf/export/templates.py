"""What spans of one kind have in common, encoded: all but targets, peers and times.

A template is learnt from the builder's own description of an exchange, so it says what the
builder would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.export.otlp_encoding import SpanEncoder
from otel_ebpf.spans import semconv
from otel_ebpf.spans.builder import SpanBuilder, truncated
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


class Templates:
    """Templates by all that decides them; bounded. For one thread.

    Attributes:
        known: template by key; None where a span needs a way of its own.
    """

    def __init__(self, builder: SpanBuilder, encoder: SpanEncoder, settings: SpanSettings) -> None:
        self.known: dict[tuple[Any, ...], Template | None] = {}
        self._builder = builder
        self._encoder = encoder
        self._limit = settings.value_length_limit
        self._redact = QueryRedactor(settings.sensitive_query_keys).redact

    def get(
        self, key: tuple[Any, ...], exchange: Exchange, learn: Callable[[Exchange], Template | None]
    ) -> Template | None:
        """The template under ``key``, which ``learn`` makes of the first exchange that has it."""
        try:
            return self.known[key]
        except KeyError:
            template = learn(exchange)
            if len(self.known) >= _MAX_TEMPLATES:
                self.known.clear()
            self.known[key] = template
            return template

    def of_target(self, exchange: Exchange) -> Template | None:
        """From the description of this HTTP exchange, as if it had asked for ``/``. None where
        the target is not all that differs."""
        server = exchange.kind == SERVER
        name, attributes, base, status, message = self._of_root(exchange)
        own = list(attributes.items())
        own = own[len(base.attributes) :] if base is not None else own
        if not own:
            return None
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

    def of_all(self, exchange: Exchange) -> Template | None:
        """From the description of this exchange as it is, whose target is in its template."""
        name, _, base, status, message = self._builder.describe(exchange)
        if base is None:
            return None
        encoder = self._encoder
        tail = encoder.tail
        return Template(
            encoder.name(name, exchange.kind),
            b"".join(encoder.attributes(base.attributes, base)),
            b"",
            "",
            status,
            (tail(status, message, 1, False), tail(status, message, 1, True)),
        )

    def alone(self, exchange: Exchange) -> tuple[Template, bytes]:
        """A template for this exchange alone, and all that comes behind its times."""
        name, attributes, base, status, message = self._builder.describe(exchange)
        encoder = self._encoder
        tails = tuple(encoder.tail(status, message, 1, remote) for remote in (False, True))
        if exchange.request_truncated or exchange.response_truncated:
            cut = b"".join(encoder.attributes({semconv.TRUNCATED: truncated(exchange)}, None))
            tails = tuple(cut + tail for tail in tails)  # behind the rule, as the builder has it
        template = Template(
            encoder.name(name, exchange.kind), b"", b"", "", status, (tails[0], tails[1])
        )
        return template, b"".join(encoder.attributes(attributes, base))

    def peer(self, exchange: Exchange) -> bytes:
        """The attributes that name a server's client."""
        attributes = self._builder.describe(exchange)[1]
        peer = {key: value for key, value in attributes.items() if key in _PEER}
        return b"".join(self._encoder.attributes(peer, None))

    def varying(self, template: Template, target: str, peer: bytes) -> tuple[bytes, ...]:
        """What comes between a template's ``base`` and ``after``. ``target`` begins with a
        slash."""
        encoder, limit = self._encoder, self._limit
        path, mark, query = target.partition("?")
        if mark:
            query = self._redact(query)
        if template.origin:
            full = f"{template.origin}{path}?{query}" if mark else template.origin + target
            return encoder.text(semconv.URL_FULL, full[:limit])
        if mark:
            return (
                *encoder.text(semconv.URL_PATH, path[:limit]),
                *encoder.text(semconv.URL_QUERY, query[:limit]),
                peer,
            )
        return (*encoder.text(semconv.URL_PATH, path[:limit]), peer)

    def _of_root(self, exchange: Exchange) -> Description:
        request = exchange.request
        exchange.request = request.asking("/")
        try:
            return self._builder.describe(exchange)
        finally:
            exchange.request = request
