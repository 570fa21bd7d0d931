"""Any SpanExporter of the OpenTelemetry SDK as an exporter of this tracer.

Importing this module imports the SDK, so the factory does it only when it is asked to.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as SdkLink
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from otel_ebpf import __version__
from otel_ebpf.export.base import Counters, Result
from otel_ebpf.export.text import valid_text
from otel_ebpf.spans.model import Link, Span
from otel_ebpf.spans.semconv import SCHEMA_URL

_log = logging.getLogger("otel_ebpf.export")

_KINDS = {
    2: SpanKind.SERVER,
    3: SpanKind.CLIENT,
    4: SpanKind.PRODUCER,
    5: SpanKind.CONSUMER,
}
_CODES = {0: StatusCode.UNSET, 1: StatusCode.OK, 2: StatusCode.ERROR}
_MAX_RESOURCES = 1024
_INT64 = 1 << 63


class SpanConverter:
    """Makes the SDK's read-only spans. Resources are converted once per process."""

    def __init__(self) -> None:
        self._scope = InstrumentationScope("otel_ebpf", __version__, SCHEMA_URL)
        # The value keeps the key's object alive, so an id never means another object.
        self._resources: dict[int, tuple[Any, int, Resource]] = {}

    def convert(self, span: Span) -> ReadableSpan:
        """``span`` for an SDK exporter: valid Unicode, 64-bit integers, sampled."""
        trace_id = int.from_bytes(span.trace_id, "big")
        # Exporters of the SDK pass over spans that are not marked as sampled.
        flags = TraceFlags(TraceFlags.SAMPLED)
        state = TraceState.from_header([span.trace_state]) if span.trace_state else None
        parent = None
        if span.parent_span_id:
            parent = SpanContext(
                trace_id, int.from_bytes(span.parent_span_id, "big"), span.parent_remote, flags
            )
        return ReadableSpan(
            name=valid_text(span.name),
            context=SpanContext(trace_id, int.from_bytes(span.span_id, "big"), False, flags, state),
            parent=parent,
            resource=self._resource(span.resource),
            attributes={valid_text(k): _value(v) for k, v in span.attributes.items()},
            links=[_link(link) for link in span.links],
            kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
            instrumentation_scope=self._scope,
            status=Status(_CODES[span.status], valid_text(span.status_message) or None),
            start_time=span.start,
            end_time=span.end,
        )

    def _resource(self, resource: Any) -> Resource:
        attributes = resource.attributes
        known = self._resources.get(id(resource))
        if known is not None and known[1] == len(attributes):
            return known[2]
        if len(self._resources) >= _MAX_RESOURCES:
            self._resources.clear()
        made = Resource({valid_text(k): _value(v) for k, v in attributes.items()}, SCHEMA_URL)
        self._resources[id(resource)] = (resource, len(attributes), made)
        return made


def _link(link: Link) -> SdkLink:
    state = TraceState.from_header([link.trace_state]) if link.trace_state else None
    context = SpanContext(
        int.from_bytes(link.trace_id, "big"),
        int.from_bytes(link.span_id, "big"),
        True,
        TraceFlags(link.flags & 0xFF),
        state,
    )
    attributes = {valid_text(k): _value(v) for k, v in (link.attributes or {}).items()}
    return SdkLink(context, attributes)


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return hex(value)
    if isinstance(value, (list, tuple)):
        return [_value(item) for item in value]
    return value


class SdkExporter(Counters):
    """Adapts an SDK exporter. What it refuses is counted; its retries are its own."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__()
        self._exporter = exporter
        self._convert = SpanConverter().convert
        self._shut = False

    def export(self, spans: Sequence[Span]) -> Result:
        """Hand the spans over. An exception of the exporter costs this batch only."""
        reason = ""
        try:
            outcome = self._exporter.export([self._convert(span) for span in spans])
            if outcome is not SpanExportResult.SUCCESS:
                reason = "sdk_exporter_failed"
        except Exception as error:
            reason = "sdk_exporter_raised"
            _log.warning("%s raised %s", type(self._exporter).__name__, type(error).__name__)
        if reason:
            return self.count(Result(dropped={reason: len(spans)}))
        return self.count(Result(exported=len(spans)))

    def shutdown(self) -> None:
        """Shut the SDK exporter down, once."""
        if not self._shut:
            self._shut = True
            self._exporter.shutdown()
