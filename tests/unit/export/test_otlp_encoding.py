"""Our bytes are OTLP, and what the SDK's encoder makes of the same spans."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from otel_ebpf import __version__
from otel_ebpf.export.otlp_encoding import NEVER_REPEATED, SpanEncoder, any_value, varint
from otel_ebpf.export.sdk import SpanConverter
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import FixedClock
from otel_ebpf.spans.model import AttributeSet, Span
from tests.unit.export.spans import SHOP, process, span
from tests.unit.spans.exchanges import called, request, response, served


def ours(spans: list[Span], encoder: SpanEncoder | None = None) -> ExportTraceServiceRequest:
    """The request for spans of one resource, decoded."""
    encoder = encoder or SpanEncoder("otel_ebpf", __version__)
    encoded = encoder.resource_spans(spans[0].resource, [encoder.encode(s) for s in spans])
    return ExportTraceServiceRequest.FromString(encoded)


def sdks(spans: list[Span]) -> ExportTraceServiceRequest:
    convert = SpanConverter().convert
    return encode_spans([convert(s) for s in spans])


def same_as_the_sdk(made: Span, encoder: SpanEncoder | None = None) -> None:
    # The SDK leaves the trace flags out of the OTLP flags' low bits.
    made.flags = 0
    assert ours([made], encoder) == sdks([made])


def value(of: Any) -> AnyValue:
    return AnyValue.FromString(any_value(of))


VALUES: list[Any] = [
    "text",
    "",
    "naïve ☃ 𝄞",
    "\0\x1b\n",
    "x" * 127,
    "x" * 128,
    "é" * 64,
    "x" * 20_000,
    True,
    False,
    0,
    1,
    -1,
    127,
    128,
    2**31,
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    1.5,
    math.inf,
    5e-324,
    [],
    ["a"],
    ["", "é", "x" * 300],
    [True, False],
    [1, -1, 2**62],
    [0.5, -math.inf],
]


@pytest.mark.parametrize("number", range(len(VALUES)))
@pytest.mark.parametrize("key", ["some.key", "url.path", "é" * 100])
def test_every_type_of_value_is_encoded_as_the_sdk_does(number: int, key: str) -> None:
    same_as_the_sdk(span(attributes={key: VALUES[number], "after": 1}))


@pytest.mark.parametrize(
    "number", [0, 1, 127, 128, 2047, 2048, 16383, 16384, 65535, 2**21 - 1, 2**21, 2**63 - 1, -1]
)
def test_integers_that_never_repeat_have_every_length(number: int) -> None:
    encoder = SpanEncoder("otel_ebpf", __version__)
    for _ in range(2):
        same_as_the_sdk(span(attributes={"network.peer.port": number, "url.path": "/"}), encoder)


def test_values_that_python_holds_equal_keep_their_types() -> None:
    encoder = SpanEncoder("otel_ebpf", __version__)
    for of in (1, True, 1.0, True, 1, 0, False, -0.0, 0.0, "1"):
        same_as_the_sdk(span(attributes={"k": of}), encoder)


def test_nan_is_a_double() -> None:
    assert math.isnan(value(math.nan).double_value)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("\ud800", "\ufffd"),
        ("a\udfffb", "a\ufffdb"),
        ("\ud834\udd1e", "\U0001d11e"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "\ufffd\ufffd"),
    ],
)
def test_surrogates_do_not_lose_the_attribute_or_the_span(text: str, sent: str) -> None:
    made = span(name=text, attributes={"k": text, "url.path": text, "list": [text], text: 1})
    made.status, made.status_message, made.trace_state = 2, text, ""
    decoded = ours([made]).resource_spans[0].scope_spans[0].spans[0]
    found = {pair.key: pair.value for pair in decoded.attributes}
    assert decoded.name == decoded.status.message == sent
    assert found["k"].string_value == found["url.path"].string_value == sent
    assert found["list"].array_value.values[0].string_value == sent
    assert found[sent].int_value == 1


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**5000], ids=["above", "below", "huge"])
def test_an_integer_that_otlp_cannot_hold_becomes_text(number: int) -> None:
    assert int(value(number).string_value, 16) == number


def test_values_outside_the_contract_are_kept_as_well_as_otlp_can() -> None:
    assert value(None) == AnyValue()
    assert value(b"\x00\xff").bytes_value == b"\x00\xff"
    assert value({"a": [1]}).kvlist_value.values[0].key == "a"
    assert value((1, "b")).array_value.values[1].string_value == "b"
    assert value(1 + 2j).string_value == "(1+2j)"


attribute_values = st.one_of(
    st.text(max_size=300),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=20), max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.lists(st.floats(allow_nan=False), max_size=4),
)
keys = st.one_of(st.text(min_size=1, max_size=20), st.sampled_from(sorted(NEVER_REPEATED)))
SHARED = SpanEncoder("otel_ebpf", __version__)


@settings(deadline=None)
@given(
    st.dictionaries(keys, attribute_values, max_size=8),
    st.integers(0, 8),
    st.text(max_size=200),
    st.sampled_from([2, 3]),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(0, ""), (1, ""), (2, "")]),
)
def test_any_span_is_encoded_as_the_sdk_does(
    attributes: dict[str, Any],
    common: int,
    name: str,
    kind: int,
    start: int,
    root: bool,
    remote: bool,
    status: tuple[int, str],
) -> None:
    made = span(5, 0 if root else 4, name=name, kind=kind, start=start, length=0)
    made.attributes = attributes
    made.parent_remote = remote and not root
    made.status, made.status_message = status
    same_as_the_sdk(made)
    # Once more with warm caches and with part of the attributes kept in common.
    made.base = AttributeSet(dict(list(attributes.items())[:common]))
    same_as_the_sdk(made, SHARED)
    same_as_the_sdk(made, SHARED)


def test_spans_of_the_builder_are_encoded_as_the_sdk_does() -> None:
    builder = SpanBuilder(FixedClock(10**18))
    encoder = SpanEncoder("otel_ebpf", __version__)
    head = request("GET /é?a=%20 HTTP/1.1", "Host: shop:81", "User-Agent: x")
    for make in (served, called):
        for answer in (None, response(200), response(500)):
            for rule in ("", "thread"):
                of = make(head, answer, rule=rule, notes={"otel_ebpf.note": rule} if rule else {})
                made = builder.build(of)
                made.attributes["added.later"] = 1
                same_as_the_sdk(made, encoder)


def test_trace_state_status_message_and_flags_are_sent() -> None:
    made = span(5, 4)
    made.trace_state, made.parent_remote = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", True
    made.status, made.status_message = 2, "connection_reset"
    decoded = ours([made]).resource_spans[0].scope_spans[0].spans[0]
    assert decoded.trace_state == made.trace_state
    assert (decoded.status.code, decoded.status.message) == (2, "connection_reset")
    # Sampled, the remote bit is known, and it is set.
    assert decoded.flags == 0x301
    assert ours([span(5, 4)]).resource_spans[0].scope_spans[0].spans[0].flags == 0x101


def test_times_outside_of_64_bits_are_brought_to_their_bounds() -> None:
    made = span(start=-5, length=2**65)
    decoded = ours([made]).resource_spans[0].scope_spans[0].spans[0]
    assert (decoded.start_time_unix_nano, decoded.end_time_unix_nano) == (0, 2**64 - 1)


def test_resource_and_scope_are_sent_with_their_schema() -> None:
    resource = process("shop", **{"process.pid": 7, "process.command_args": ["a", "b"]})
    sent = ours([span(resource=resource), span(2, resource=resource)])
    assert sdks([span(resource=resource)]).resource_spans[0].resource == (
        sent.resource_spans[0].resource
    )
    scope = sent.resource_spans[0].scope_spans[0]
    assert (scope.scope.name, scope.scope.version) == ("otel_ebpf", __version__)
    assert scope.schema_url.startswith("https://opentelemetry.io/schemas/1.")
    assert [s.span_id[-1] for s in scope.spans] == [1, 2]


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_a_varint_reads_back(number: int) -> None:
    read = 0
    for index, byte in enumerate(varint(number)):
        read |= (byte & 0x7F) << (7 * index)
    assert read == number


def test_caches_are_bounded_whatever_comes() -> None:
    encoder = SpanEncoder("otel_ebpf", __version__)
    for number in range(10_000):
        made = span(name=f"n{number}", attributes={f"k{number}": number, "url.path": "/" * number})
        made.status_message = f"m{number}"
        encoder.encode(made)
    sizes = [len(encoder._pairs), len(encoder._names), len(encoder._tails)]
    sizes += [len(frames) for frames in encoder._framing.values()]
    assert max(sizes) <= 4096


def test_an_entry_is_one_field_of_scope_spans() -> None:
    entry = SpanEncoder("s", "1").encode(span(resource=SHOP))
    assert len(ScopeSpans.FromString(entry + entry).spans) == 2
