"""A WebSocket connection's span: where it goes is the upgrade's, what passed is counted."""

from __future__ import annotations

from otel_ebpf.correlation.model import Exchange
from otel_ebpf.spans import semconv
from otel_ebpf.spans.http import HttpSpans
from otel_ebpf.spans.model import ERROR, UNSET, Description
from otel_ebpf.spans.settings import SpanSettings

NAME = "websocket"
_NOT_OF_IT = (
    semconv.HTTP_REQUEST_METHOD,
    semconv.HTTP_REQUEST_METHOD_ORIGINAL,
    semconv.HTTP_RESPONSE_STATUS_CODE,
    semconv.NETWORK_PROTOCOL_VERSION,
    semconv.ERROR_TYPE,
)


class WebSocketSpans:
    """Describes them for the span builder. The counts are in ``Exchange.notes``."""

    def __init__(self, settings: SpanSettings) -> None:
        self._http = HttpSpans(settings)

    def describe(self, exchange: Exchange) -> Description:
        """Name, attributes, no common beginning, status and its message."""
        attributes = self._http.describe(exchange)[1]
        for name in _NOT_OF_IT:
            attributes.pop(name, None)
        attributes[semconv.NETWORK_PROTOCOL_NAME] = NAME
        error = exchange.error
        if error:
            attributes[semconv.ERROR_TYPE] = error
        return NAME, attributes, None, ERROR if error else UNSET, error or ""
