"""One span a line, as JSON: for files, pipes, and comparing runs byte by byte."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from otel_ebpf.export.base import Counters, Result
from otel_ebpf.export.text import valid_text
from otel_ebpf.spans.model import Span

_KINDS = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
_CODES = {0: "UNSET", 1: "OK", 2: "ERROR"}
_MAX_RESOURCES = 1024


class JsonExporter(Counters):
    """Writes spans to a text stream, each as one line of ASCII JSON.

    Keys and their order are fixed; attributes and resource are sorted by name. Ids are
    hexadecimal, ``parent_span_id`` is "" for a root, times are integers of nanoseconds
    since the epoch. Numbers that JSON lacks are the texts NaN, Infinity, -Infinity. Only a
    span with links has ``links``.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._closed = False
        self._resources: dict[int, tuple[Any, int, str]] = {}

    def export(self, spans: Sequence[Span]) -> Result:
        """Write the lines and flush. Nothing is written after the reader has gone."""
        if not self._closed:
            try:
                self._stream.write("".join(self._line(span) for span in spans))
                self._stream.flush()
                return self.count(Result(exported=len(spans)))
            except (OSError, ValueError):
                # The reader went away, the disk is full or the stream was closed.
                self._closed = True
        return self.count(Result(dropped={"output_failed": len(spans)}))

    def shutdown(self) -> None:
        """Write no more. The stream stays open; it belongs to the caller."""
        self._closed = True

    def _line(self, span: Span) -> str:
        resource = self._resource(span.resource)
        status = {"code": _CODES[span.status], "message": valid_text(span.status_message)}
        return (
            f'{{"trace_id":"{span.trace_id.hex()}","span_id":"{span.span_id.hex()}"'
            f',"parent_span_id":"{span.parent_span_id.hex()}","name":{_dump(span.name)}'
            f',"kind":"{_KINDS.get(span.kind, "INTERNAL")}"'
            f',"start_time_unix_nano":{span.start},"end_time_unix_nano":{span.end}'
            f',"attributes":{_dump(span.attributes)},"resource":{resource}'
            f',"status":{json.dumps(status, separators=(",", ":"))}'
            f',"trace_state":{_dump(span.trace_state)}{_links(span)}}}\n'
        )

    def _resource(self, resource: Any) -> str:
        attributes = resource.attributes
        known = self._resources.get(id(resource))
        if known is not None and known[1] == len(attributes):
            return known[2]
        if len(self._resources) >= _MAX_RESOURCES:
            self._resources.clear()
        text = _dump(attributes)
        # The object is kept with its text, so that its id cannot come to mean another.
        self._resources[id(resource)] = (resource, len(attributes), text)
        return text


def _links(span: Span) -> str:
    if not span.links:
        return ""
    links = [
        {
            "trace_id": link.trace_id.hex(),
            "span_id": link.span_id.hex(),
            "trace_state": link.trace_state,
            "attributes": link.attributes or {},
        }
        for link in span.links
    ]
    return f',"links":{_dump(links)}'


def _dump(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return valid_text(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {valid_text(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return valid_text(str(value))
