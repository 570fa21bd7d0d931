"""What every protocol's spans have in common."""

from __future__ import annotations

from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import FixedClock
from otel_ebpf.spans.model import ERROR
from tests.unit.spans.exchanges import SECOND, called, request, response, served


def test_times_are_converted_with_one_offset_so_that_durations_stay() -> None:
    clock = FixedClock(1_700_000_000 * SECOND)
    builder = SpanBuilder(clock)
    span = builder.build(served(request(), response()))
    assert (span.start, span.end) == (1_700_000_001 * SECOND, 1_700_000_002 * SECOND)
    clock.offset += 10 * SECOND
    later = builder.build(served(request(), response()))
    assert (later.start, later.end) == (span.start + 10 * SECOND, span.end + 10 * SECOND)


def test_a_span_never_ends_before_it_starts() -> None:
    span = SpanBuilder(FixedClock()).build(served(request(), response(), start=9, end=5))
    assert (span.start, span.end) == (9, 9)


def test_identity_and_context_go_through_unchanged() -> None:
    span = SpanBuilder(FixedClock()).build(
        served(
            request(),
            response(),
            parent_span_id=b"p" * 8,
            trace_state="a=b",
            parent_remote=True,
            rule="traceparent",
        )
    )
    assert (span.trace_id, span.span_id, span.parent_span_id) == (b"t" * 16, b"s" * 8, b"p" * 8)
    assert (span.trace_state, span.parent_remote) == ("a=b", True)
    assert span.attributes["otel_ebpf.parent.rule"] == "traceparent"


def test_a_root_names_no_rule_and_a_whole_head_is_not_truncated() -> None:
    span = SpanBuilder(FixedClock()).build(served(request(), response()))
    assert not [key for key in span.attributes if key.startswith("otel_ebpf.")]


def test_truncated_heads_are_marked_with_the_side() -> None:
    builder = SpanBuilder(FixedClock())

    def mark(asked: bool, answered: bool) -> object:
        of = served(request(), request_truncated=asked, response_truncated=answered)
        return builder.build(of).attributes.get("otel_ebpf.truncated")

    assert mark(True, False) == "request"
    assert mark(False, True) == "response"
    assert mark(True, True) == "request,response"


def test_notes_become_attributes_and_win_over_what_was_derived() -> None:
    notes = {"otel_ebpf.x": 1, "url.scheme": "https", "server.address": "named"}
    for make in (served, called):
        span = SpanBuilder(FixedClock()).build(make(request(), response(), notes=notes))
        assert span.attributes["otel_ebpf.x"] == 1
        assert span.attributes["server.address"] == "named"
        # Encoders take the common part from the set: it must not be the overruled one.
        assert span.base is None


def test_a_url_says_that_the_connection_is_encrypted() -> None:
    head = request("GET /a HTTP/1.1", "Host: shop")
    span = SpanBuilder(FixedClock()).build(called(head, response(), secure=True))
    assert span.attributes["url.full"] == "https://shop/a"
    assert span.attributes["server.port"] == 443


def test_a_protocol_without_conventions_still_gives_a_span_and_is_counted() -> None:
    builder = SpanBuilder(FixedClock())
    span = builder.build(called(object(), object(), protocol="gopher", error="timeout"))
    assert (span.name, span.status) == ("gopher", ERROR)
    assert span.attributes["network.protocol.name"] == "gopher"
    assert span.attributes["error.type"] == "timeout"
    assert builder.stats()["spans_other_protocol"] == 1


def test_spans_of_a_process_that_is_gone_share_one_resource_per_pid() -> None:
    builder = SpanBuilder(FixedClock())
    made = [
        builder.build(served(request(), response(), process=None, pid=pid)) for pid in (8, 8, 9)
    ]
    assert made[0].resource is made[1].resource
    assert made[0].resource is not made[2].resource
    assert made[0].resource.attributes == {"service.name": "unknown_service", "process.pid": 8}
    assert builder.stats()["spans_without_process"] == 3


def test_what_was_built_is_counted() -> None:
    builder = SpanBuilder(FixedClock())
    builder.build(served(request(), response(200)))
    builder.build(served(request(), response(500)))
    assert builder.stats() == {
        "spans_built": 2,
        "spans_with_error": 1,
        "spans_other_protocol": 0,
        "spans_without_process": 0,
    }
