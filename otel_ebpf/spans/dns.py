"""DNS spans. The conventions have names for the question and the answers (in development);
``dns.question.type`` and ``dns.response_code`` are named as the Elastic Common Schema has them.

A span's name is the question's type, never its name: there are as many of these as there are
hosts.
"""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import SERVER, Exchange
from otel_ebpf.protocols.dns_heads import DnsRequest, DnsResponse
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import ERROR, UNSET, Description
from otel_ebpf.spans.settings import SpanSettings

_ANY = ("0.0.0.0", "::")
"""Not an address: the socket takes what comes to any of the host's."""
_SERVERS = frozenset({"SERVFAIL", "NOTIMP"})
"""Codes by which a server says that it has failed. The others are failures of the asking side,
as of HTTP's 4xx."""


class DnsSpans:
    """Describes lookups for the span builder."""

    def __init__(self, settings: SpanSettings) -> None:
        self._limit = settings.value_length_limit

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, no common beginning, status and its message."""
        request: DnsRequest = exchange.request
        response: DnsResponse | None = exchange.response
        ends = exchange.endpoints
        server = exchange.kind == SERVER
        attributes: dict[str, Any] = {semconv.DNS_QUESTION_NAME: request.name[: self._limit]}
        if request.operation == "lookup":
            attributes[semconv.DNS_QUESTION_TYPE] = request.type
            name = f"{request.type} lookup" if request.known else "lookup"
        else:
            name = request.operation
        error = exchange.error or ""
        if response is not None:
            attributes[semconv.DNS_RESPONSE_CODE] = response.code
            if response.addresses:
                attributes[semconv.DNS_ANSWERS] = list(response.addresses)
            if response.truncated:
                attributes[semconv.DNS_TRUNCATED] = True
            if not error and (response.code in _SERVERS or not server):
                error = response.error
        attributes[semconv.NETWORK_TRANSPORT] = request.transport
        here = (ends.local_address, ends.local_port)
        there = (ends.peer_address, ends.peer_port)
        address, port = here if server else there
        if address not in _ANY:
            attributes[semconv.SERVER_ADDRESS] = address
        attributes[semconv.SERVER_PORT] = port
        if server:
            attributes[semconv.CLIENT_ADDRESS] = there[0]
        attributes[semconv.NETWORK_PEER_ADDRESS], attributes[semconv.NETWORK_PEER_PORT] = there
        if error:
            attributes[semconv.ERROR_TYPE] = error
            return name, attributes, None, ERROR, exchange.error or ""
        return name, attributes, None, UNSET, ""
