"""Spans made in two steps are, byte for byte, those made in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf import __version__
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.model import Endpoints, Exchange
from otel_ebpf.events.frames import Burst, ProcessFrame, Watermark
from otel_ebpf.events.reading import CaptureReader
from otel_ebpf.export.drafts import Drafts
from otel_ebpf.export.otlp_encoding import SpanEncoder
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.metadata.process import Process
from otel_ebpf.pipeline import Pipeline
from otel_ebpf.protocols.http1_head import HttpRequest
from otel_ebpf.protocols.http1_whole import whole_request
from otel_ebpf.protocols.http2_heads import Fields, Http2Request, Http2Response
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import FixedClock
from otel_ebpf.spans.settings import SpanSettings
from tests.e2e.agent import TRUTH_ENV
from tests.unit.spans.exchanges import called, response, served

CAPTURES = sorted((Path(__file__).resolve().parents[2] / "captures").glob("*.cap.gz"))
CLOCK = FixedClock(10**18)
TIGHT = SpanSettings.from_env({"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "9"})
TRUTH = SpanSettings.from_env(TRUTH_ENV)
NAMED = SpanSettings(server_response_headers=("server",), known_methods=frozenset({"PUT"}))
METADATA = SpanSettings(
    server_request_metadata=("user-agent",), client_request_metadata=("user-agent",)
)
HEADERS = [
    (),
    ("Host: shop:81", "User-Agent: curl/8"),
    ("Host: user:secret@shop",),
    ("Host: wh?at",),
    ("Host: [::1]:8080", "X-Truth-Id: a", "X-Truth-Id: b"),
    ("Host: shop", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https"),
    ("Forwarded: for=9.9.9.9:7;host=front",),
]
TARGETS = [
    "/", "/a", "/a/b%20c?d=e", "/?", "/s?sig=1&X-Goog-Signature=secret", "/é?ü=1", "/" * 3000,
    "*", "http://other/x?y", "other:443", "x",
]  # fmt: skip
ENDS = [
    Endpoints("ipv4", "10.0.0.1", 8080, "10.0.0.2", 50000),
    Endpoints("ipv4", "10.0.0.1", 8080, "10.0.0.3", 50000),
    Endpoints("ipv6", "::1", 50001, "::1", 8080),
    Endpoints("unix", "", 0, "", 0),
]


def head(method: str, target: str, minor: int, headers: tuple[str, ...]) -> HttpRequest:
    raw = "\r\n".join([f"{method} {target} HTTP/1.{minor}", *headers, "", ""]).encode()
    made = whole_request(raw, len(raw))
    assert made is not None
    return made


def head_of_fields(method: str, target: str, scheme: str, fields: tuple[str, ...]) -> Http2Request:
    pairs = [(name.lower(), value) for name, _, value in (f.partition(": ") for f in fields)]
    hosts = [(":authority", value) for name, value in pairs if name == "host"]
    rest = [pair for pair in pairs if pair[0] != "host"]
    pseudo = [(":method", method), (":path", target), (":scheme", scheme)]
    return Http2Request(Fields([*pseudo, *hosts, *rest]))


def answer(status: int, grpc: str | None) -> Http2Response:
    made = Http2Response(Fields([(":status", str(status)), ("server", "x")]))
    if grpc is not None:
        made.trailers = Fields([("grpc-status", grpc)])
    return made


def both_ways(drafts: Drafts, settings: SpanSettings, exchange: Exchange) -> bool:
    """Whether there was a draft; then it must be right."""
    draft = drafts.begin(exchange)
    if draft is None:
        return False
    span = SpanBuilder(CLOCK, settings).build(exchange)
    resource, encoded = drafts.complete(exchange, draft)
    assert encoded == SpanEncoder("otel_ebpf", __version__).encode(span)
    assert resource is span.resource
    return True


def drafts_for(settings: SpanSettings) -> Drafts:
    return Drafts(SpanBuilder(CLOCK, settings), SpanEncoder("otel_ebpf", __version__), settings)


details = st.fixed_dictionaries(
    {},
    optional={
        "rule": st.sampled_from(["thread", "traceparent"]),
        "parent_span_id": st.just(b"p" * 8),
        "parent_remote": st.just(True),
        "trace_state": st.just("a=b"),
        "start": st.integers(0, 10**19),
        "end": st.integers(0, 10**19),
        "error": st.just("timeout"),
        "request_truncated": st.just(True),
        "response_truncated": st.just(True),
        "notes": st.just({"otel_ebpf.note": 1}),
        "secure": st.just(True),
    },
)
exchanges = st.builds(
    lambda make, request, status, place, details: make(
        head(*request), response(status, "Server: x"), **details, endpoints=place
    ),
    st.sampled_from([served, called]),
    st.tuples(
        st.sampled_from(["GET", "POST", "PUT", "BREW"]),
        st.sampled_from(TARGETS),
        st.integers(0, 1),
        st.sampled_from(HEADERS),
    ),
    st.sampled_from([200, 404, 500]),
    st.sampled_from(ENDS),
    details,
)
STREAM_HEADERS = [*HEADERS, ("Host: shop", "User-Agent: curl/8", "Grpc-Timeout: 1S")]
STREAM_HEADS = [
    head_of_fields(method, target, scheme, fields)
    for method in ("GET", "POST", "BREW", "CONNECT")
    for target in (*TARGETS, "", "/shop.Cart/Add")
    for scheme in ("http", "https", "")
    for fields in STREAM_HEADERS
]
"""Few objects: equal blocks of a connection share one."""
streams = st.builds(
    lambda make, request, made, protocol, place, details: make(
        request, made, **details, endpoints=place, protocol=protocol
    ),
    st.sampled_from([served, called]),
    st.sampled_from(STREAM_HEADS),
    st.builds(answer, st.sampled_from([0, 200, 404, 503]), st.sampled_from([None, "0", "5", "x"]))
    | st.none(),
    st.sampled_from(["http", "grpc"]),
    st.sampled_from(ENDS),
    details,
)


@settings(deadline=None)
@given(
    st.sampled_from([SpanSettings(), TIGHT, TRUTH, NAMED, METADATA]),
    st.lists(exchanges | streams, max_size=8),
)
def test_any_exchanges(chosen: SpanSettings, some: list[Exchange]) -> None:
    drafts = drafts_for(chosen)
    connections = [(replace(ends), replace(ends)) for ends in ENDS]  # one with TLS
    for exchange in some:
        exchange.endpoints = connections[ENDS.index(exchange.endpoints)][exchange.secure]
    for exchange in some + some:  # the second time from memory
        both_ways(drafts, chosen, exchange)


@pytest.mark.parametrize("make", [served, called])
def test_the_usual_one_has_a_draft_and_counts_like_the_others(make: Any) -> None:
    settings = SpanSettings()
    builder = SpanBuilder(CLOCK, settings)
    drafts = Drafts(builder, SpanEncoder("otel_ebpf", __version__), settings)
    for status in (200, 500):
        exchange = make(head("GET", "/a?b=c", 1, HEADERS[1]), response(status), process=None)
        draft = drafts.begin(exchange)
        assert draft is not None
        drafts.complete(exchange, draft)
    stats = builder.stats()
    assert (stats["spans_built"], stats["spans_with_error"]) == (2, 1)
    assert stats["spans_without_process"] == 2


@pytest.mark.parametrize("make", [served, called])
def test_streams_have_drafts_too_from_memory_and_where_each_asks_for_something_new(
    make: Any,
) -> None:
    chosen = SpanSettings()
    drafts = drafts_for(chosen)
    known = head_of_fields("GET", "/a?sig=1", "https", HEADERS[1])
    call = head_of_fields("POST", "/shop.Cart/Add", "http", HEADERS[1])
    ends = Endpoints("ipv4", "10.0.0.1", 8080, "10.0.0.2", 50000)
    for number in range(3):
        for request, protocol, grpc in (
            (known, "http", None),
            (head_of_fields("GET", f"/items/{number}", "https", HEADERS[1]), "http", None),
            (call, "grpc", "0"),
            (call, "grpc", "5"),
        ):
            exchange = make(request, answer(200, grpc), protocol=protocol, endpoints=ends)
            assert both_ways(drafts, chosen, exchange)
    # What all three new targets share is one template.
    assert len(drafts._templates.known) == 3


@pytest.mark.parametrize("make", [served, called])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_streams_that_differ_in_one_thing_share_nothing_that_tells_of_it(
    make: Any, protocol: str
) -> None:
    chosen = SpanSettings()
    ends = Endpoints("ipv4", "10.0.0.1", 8080, "10.0.0.2", 50000)
    usual: dict[str, Any] = {
        "method": "GET",
        "target": "/a/b",
        "scheme": "http",
        "fields": HEADERS[1],
    }
    status, grpc = 200, "0" if protocol == "grpc" else None
    others: list[dict[str, Any]] = [
        {"method": "PUT"},
        {"method": "BREW"},
        {"target": "/a/c"},
        {"scheme": "https"},
        {"fields": ("Host: front:81", "User-Agent: curl/8")},
        {"fields": ("Host: shop:81", "User-Agent: curl/9")},
        {"fields": ("Host: shop:81",)},
        {"fields": (*HEADERS[1], "X-Forwarded-For: 1.2.3.4")},
    ]
    heads = [head_of_fields(**{**usual, **other}) for other in ({}, *others)]
    same = heads[0]
    cases: list[tuple[Any, int, str | None, dict[str, Any]]] = [
        (head, status, grpc, {"endpoints": ends}) for head in heads
    ]
    cases += [
        (same, 404, grpc, {"endpoints": ends}),
        (same, status, "5", {"endpoints": ends}),
        (same, status, grpc, {"endpoints": ends, "secure": True}),
        *((same, status, grpc, {"endpoints": replace(place)}) for place in ENDS),
        (same, status, grpc, {"endpoints": ends, "request_truncated": True}),
        (same, status, grpc, {"endpoints": ends, "response_truncated": True}),
        (same, status, grpc, {"endpoints": ends, "rule": "goroutine", "request_truncated": True}),
    ]
    drafts = drafts_for(chosen)
    drawn = [
        both_ways(drafts, chosen, make(head, answer(code, said), protocol=protocol, **more))
        for head, code, said, more in cases + cases[::-1]
    ]
    assert all(drawn)


def test_templates_are_bounded_and_so_is_what_they_hold() -> None:
    drafts = drafts_for(SpanSettings())
    for number in range(5000):
        both_ways(
            drafts, SpanSettings(), served(head("GET", "/", 1, (f"Host: h{number}",)), response())
        )
    assert len(drafts._templates.known) <= 2048


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name.split(".")[0])
def test_recorded_traffic(path: Path) -> None:
    """The whole pipeline, with drafts and without."""
    outcomes = []
    for use in (False, True):
        builder, encoder = SpanBuilder(CLOCK), SpanEncoder("otel_ebpf", __version__)
        out: list[tuple[Any, bytes]] = []
        processes: dict[int, Process] = {}
        pipeline = Pipeline(
            Ids(7),
            builder,
            TraceSampler(),
            lambda span, out=out, encoder=encoder: (
                not out.append(  # type: ignore[misc]
                    (span.resource, encoder.encode(span))
                )
            ),
            processes.get,
        )
        if use:
            drafts = Drafts(builder, encoder, SpanSettings())
            pipeline.use_drafts(drafts, lambda item, out=out: not out.append(item))  # type: ignore[misc]
        with CaptureReader(path) as reader:
            for frame in reader:
                if isinstance(frame, Burst):
                    pipeline.burst(frame.data)
                elif isinstance(frame, Watermark):
                    pipeline.advance(frame.time)
                elif isinstance(frame, ProcessFrame):
                    meet(pipeline, processes, frame.fields)
        pipeline.finish()
        outcomes.append(([(r.attributes, data) for r, data in out], pipeline.stats()))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][0]) >= 10


def meet(pipeline: Pipeline, processes: dict[int, Process], fields: Mapping[str, Any]) -> None:
    pid = fields["pid"]
    if fields.get("go"):
        pipeline.go_process(pid)
    else:
        processes[pid] = Process(pid, 0, "", "", "", dict(fields["attributes"]))
