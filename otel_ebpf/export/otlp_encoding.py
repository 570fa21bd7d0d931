"""Spans as OTLP protobuf bytes, written without building protobuf messages.

The layout is that of opentelemetry/proto/trace/v1/trace.proto. Whatever repeats
(names, attribute pairs, an attribute's framing for a text of some length) is kept as
bytes and joined; tests compare the result with the SDK's encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from otel_ebpf.export.text import valid_text
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import AttributeSet, Link, Span

_IDS = struct.Struct("<2s16s2s8s").pack
_IDS_WITH_PARENT = struct.Struct("<2s16s2s8s2s8s").pack
_TIMES = struct.Struct("<BQBQ").pack
_FLAGS = struct.Struct("<HI").pack
_DOUBLE = struct.Struct("<Bd").pack

# SpanFlags: the next bit tells whether the parent is remote.
_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200

_MAX_PAIRS = 4096
_MAX_CACHED_TEXT = 256
_MAX_NAMES = 1024
_MAX_FRAMED = 1024

NEVER_REPEATED = frozenset(
    {
        semconv.CLIENT_PORT,
        semconv.NETWORK_PEER_PORT,
        semconv.URL_FULL,
        semconv.URL_PATH,
        semconv.URL_QUERY,
        semconv.USER_AGENT_ORIGINAL,
    }
)
"""Attributes of high cardinality: encoded each time rather than looked up."""


def varint(number: int) -> bytes:
    """A non-negative integer below 2**64 in protobuf's base-128 form."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SHORT = [varint(n) for n in range(2048)]


def _small_varint(number: int) -> bytes:
    """``varint`` for ports and the like, below 2**21, without its loop."""
    if number < 2048:
        return _SHORT[number]
    if number < 16384:
        return bytes((number & 0x7F | 0x80, number >> 7))
    return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))


def field(tag: int, body: bytes) -> bytes:
    """A length-delimited field: tag byte, length, body."""
    return b"%c%b%b" % (tag, varint(len(body)), body)


def any_value(value: Any) -> bytes:
    """The body of an ``AnyValue``.

    What OTLP has no type for becomes text: integers beyond 64 bits and foreign objects.
    """
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return field(0x0A, valid_text(value).encode())
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 63:
            return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
        # hex() has no limit on digits and takes linear time, unlike str().
        return any_value(hex(value))
    if isinstance(value, float):
        return _DOUBLE(0x21, value)
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return field(0x3A, bytes(value))
    if isinstance(value, Mapping):
        return field(0x32, b"".join(field(0x0A, key_value(k, v)) for k, v in value.items()))
    if isinstance(value, (Sequence, set, frozenset)):
        return field(0x2A, b"".join(field(0x0A, any_value(v)) for v in value))
    return any_value(str(value))


def key_value(key: Any, value: Any) -> bytes:
    """The body of a ``KeyValue``."""
    return field(0x0A, valid_text(str(key)).encode()) + field(0x12, any_value(value))


def ids(trace_id: bytes, span_id: bytes, parent_span_id: bytes, trace_state: str) -> bytes:
    """A span's place in its trace."""
    if parent_span_id:
        head = _IDS_WITH_PARENT(
            b"\x0a\x10", trace_id, b"\x12\x08", span_id, b"\x22\x08", parent_span_id
        )
    else:
        head = _IDS(b"\x0a\x10", trace_id, b"\x12\x08", span_id)
    if trace_state:
        head += field(0x1A, valid_text(trace_state).encode())
    return head


def times(start: int, end: int) -> bytes:
    """Start and end, nanoseconds since the epoch."""
    try:
        return _TIMES(0x39, start, 0x41, end)
    except struct.error:
        return _TIMES(0x39, _clamp(start), 0x41, _clamp(end))


def entry(body: bytes) -> bytes:
    """A span's body as an entry of ``ScopeSpans.spans``."""
    size = len(body)
    return b"\x12" + (_SHORT[size] if size < 2048 else varint(size)) + body


def link(to: Link) -> bytes:
    """A link as an entry of ``Span.links``. What it names was carried by a message."""
    body = _IDS(b"\x0a\x10", to.trace_id, b"\x12\x08", to.span_id)
    if to.trace_state:
        body += field(0x1A, valid_text(to.trace_state).encode())
    for key, value in (to.attributes or {}).items():
        body += field(0x22, key_value(key, value))
    flags = to.flags & 0xFF | _HAS_IS_REMOTE | _IS_REMOTE
    return field(0x6A, body + b"\x35" + flags.to_bytes(4, "little"))


class SpanEncoder:
    """Encodes spans and requests. Its caches are bounded; not for several threads at once."""

    def __init__(self, scope_name: str, scope_version: str) -> None:
        scope = field(0x0A, scope_name.encode()) + field(0x12, scope_version.encode())
        self._scope = field(0x0A, scope)
        self._schema = field(0x1A, semconv.SCHEMA_URL.encode())
        self._pairs: dict[tuple[str, str | int], bytes] = {}
        self._framing: dict[str, dict[int, bytes]] = {key: {} for key in NEVER_REPEATED}
        self._names: dict[tuple[str, int], bytes] = {}
        self._tails: dict[tuple[int, str, int], bytes] = {}

    def encode(self, span: Span) -> bytes:
        """One span as an entry of ``ScopeSpans.spans``, with its tag and length."""
        head = ids(span.trace_id, span.span_id, span.parent_span_id, span.trace_state)
        body = b"".join(
            (
                head,
                self.name(span.name, span.kind),
                times(span.start, span.end),
                *self.attributes(span.attributes, span.base),
                *map(link, span.links),
                self.tail(span.status, span.status_message, span.flags, span.parent_remote),
            )
        )
        return entry(body)

    def attributes(self, attributes: Mapping[str, Any], base: AttributeSet | None) -> list[bytes]:
        """A span's attributes, in their order. ``base``: what they begin with, or None."""
        parts: list[bytes] = []
        append = parts.append
        if base is None:
            items: Iterable[tuple[str, Any]] = attributes.items()
        else:
            encoded = base.encoded
            if encoded is None:
                encoded = base.encoded = b"".join(
                    field(0x4A, key_value(k, v)) for k, v in base.attributes.items()
                )
            append(encoded)
            items = islice(attributes.items(), len(base.attributes), None)
        pairs = self._pairs
        framing = self._framing
        for key, value in items:
            kind = value.__class__
            if key in framing:
                if kind is str:
                    try:
                        raw = value.encode()
                    except UnicodeEncodeError:
                        raw = valid_text(value).encode()
                    frame = framing[key].get(len(raw))
                    append(frame if frame is not None else self.frame(key, len(raw)))
                    append(raw)
                elif kind is int and 0 <= value < 2097152:
                    raw = _small_varint(value)
                    frame = framing[key].get(-len(raw))
                    append(frame if frame is not None else self._int_frame(key, len(raw)))
                    append(raw)
                else:
                    append(field(0x4A, key_value(key, value)))
            elif kind is str or kind is int:
                append(pairs.get((key, value)) or self._pair(key, value))
            else:
                append(field(0x4A, key_value(key, value)))
        return parts

    def text(self, key: str, text: str) -> tuple[bytes, bytes]:
        """A text attribute of high cardinality, in two parts."""
        raw = text.encode()
        return self._framing[key].get(len(raw)) or self.frame(key, len(raw)), raw

    def name(self, name: str, kind: int) -> bytes:
        """Name and kind."""
        return self._names.get((name, kind)) or self._name(name, kind)

    def tail(self, status: int, message: str, flags: int, parent_remote: bool) -> bytes:
        """Status and flags."""
        flags |= _HAS_IS_REMOTE
        if parent_remote:
            flags |= _IS_REMOTE
        return self._tails.get((status, message, flags)) or self._tail(status, message, flags)

    def resource(self, resource: Any) -> bytes:
        """A ``Resource`` as the first field of ``ResourceSpans``."""
        attributes = resource.attributes
        return field(0x0A, b"".join(field(0x0A, key_value(k, v)) for k, v in attributes.items()))

    def resource_spans(self, resource: Any, spans: Iterable[bytes]) -> bytes:
        """Encoded spans of one resource as an entry of the request's ``resource_spans``."""
        scope_spans = field(0x12, b"".join((self._scope, *spans, self._schema)))
        return field(0x0A, self.resource(resource) + scope_spans + self._schema)

    def _name(self, name: str, kind: int) -> bytes:
        encoded = field(0x2A, valid_text(name).encode()) + b"\x30" + varint(kind)
        if len(self._names) >= _MAX_NAMES:
            self._names.clear()
        self._names[name, kind] = encoded
        return encoded

    def _pair(self, key: str, value: str | int) -> bytes:
        encoded = field(0x4A, key_value(key, value))
        if len(encoded) <= _MAX_CACHED_TEXT:
            if len(self._pairs) >= _MAX_PAIRS:
                self._pairs.clear()
            self._pairs[key, value] = encoded
        return encoded

    def frame(self, key: str, size: int) -> bytes:
        """Everything of a text attribute's bytes that comes before the text itself."""
        text = b"\x0a" + varint(size)
        before = field(0x0A, key.encode()) + b"\x12" + varint(len(text) + size) + text
        frame = b"\x4a" + varint(len(before) + size) + before
        if size < _MAX_FRAMED:
            self._framing[key][size] = frame
        return frame

    def _int_frame(self, key: str, size: int) -> bytes:
        """The same for an integer whose varint takes ``size`` bytes; kept under ``-size``."""
        before = field(0x0A, key.encode()) + b"\x12" + varint(1 + size) + b"\x18"
        frame = b"\x4a" + varint(len(before) + size) + before
        self._framing[key][-size] = frame
        return frame

    def _tail(self, status: int, message: str, flags: int) -> bytes:
        body = field(0x12, valid_text(message).encode()) if message else b""
        if status:
            body += b"\x18" + varint(status)
        encoded = field(0x7A, body) + _FLAGS(0x0185, flags & 0xFFFFFFFF)
        if len(self._tails) >= _MAX_NAMES:
            self._tails.clear()
        self._tails[status, message, flags] = encoded
        return encoded


def _clamp(nanoseconds: int) -> int:
    return min(max(nanoseconds, 0), (1 << 64) - 1)
