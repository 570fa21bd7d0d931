"""Carried trace context: what is adopted and what is refused."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.context import MAX_TRACE_STATE, CarriedContext, carried_context
from otel_ebpf.protocols.http1_head import HttpRequest

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def carried(*lines: str) -> CarriedContext | None:
    text = "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: h", *lines, ""))
    return carried_context(HttpRequest("GET", "/", "1.1", text.encode("latin-1")))


def seen(*lines: str) -> tuple[str, str, bool, str, str] | None:
    found = carried(*lines)
    if found is None:
        return None
    ids = found.trace_id.hex(), found.span_id.hex()
    return (*ids, found.sampled, found.trace_state, found.source)


W3C = (TRACE, SPAN, True, "", "traceparent")
B3 = (TRACE, SPAN, True, "", "b3")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), None),
        ((f"traceparent: {PARENT}",), W3C),
        ((f"TraceParent:{PARENT} \t",), W3C),
        ((f"traceparent: 00-{TRACE}-{SPAN}-00",), (TRACE, SPAN, False, "", "traceparent")),
        ((f"traceparent: 00-{TRACE}-{SPAN}-02",), (TRACE, SPAN, False, "", "traceparent")),
        ((f"traceparent: 00-{TRACE}-{SPAN}-ff",), W3C),
        # Versions to come may add fields; this one may not.
        ((f"traceparent: cc-{TRACE}-{SPAN}-01",), W3C),
        ((f"traceparent: cc-{TRACE}-{SPAN}-01-what-next",), W3C),
        ((f"traceparent: cc-{TRACE}-{SPAN}-01.what",), None),
        ((f"traceparent: {PARENT}-more",), None),
        ((f"traceparent: ff-{TRACE}-{SPAN}-01",), None),
        ((f"traceparent: {PARENT.upper()}",), None),
        ((f"traceparent: 00-{'0' * 32}-{SPAN}-01",), None),
        ((f"traceparent: 00-{TRACE}-{'0' * 16}-01",), None),
        ((f"traceparent: 00-{TRACE[1:]}-{SPAN}-01",), None),
        ((f"traceparent: 00-{TRACE}-{SPAN}-1",), None),
        ((f"traceparent: {PARENT}", f"traceparent: {PARENT}"), None),
        ((f"x-traceparent: {PARENT}",), None),
        ((f"traceparent: {PARENT}\u00e9",), None),
        ((f"b3: {TRACE}-{SPAN}-1",), B3),
        ((f"b3: {TRACE}-{SPAN}-d",), B3),
        ((f"b3: {TRACE}-{SPAN}",), B3),
        ((f"B3: {TRACE}-{SPAN}-1-{SPAN}",), B3),
        ((f"b3: {TRACE}-{SPAN}-0",), (TRACE, SPAN, False, "", "b3")),
        ((f"b3: {TRACE[16:]}-{SPAN}-1",), ("0" * 16 + TRACE[16:], SPAN, True, "", "b3")),
        (("b3: 0",), ("", "", False, "", "b3")),
        (("b3: 1",), None),
        (("b3: d",), None),
        ((f"b3: {TRACE}",), None),
        ((f"b3: {'0' * 32}-{SPAN}-1",), None),
        ((f"b3: {TRACE}-{SPAN}-2",), None),
        ((f"X-B3-TraceId: {TRACE}", f"X-B3-SpanId: {SPAN}"), B3),
        ((f"x-b3-traceid: {TRACE}", f"x-b3-spanid: {SPAN}", "x-b3-sampled: 1"), B3),
        (
            (f"x-b3-traceid: {TRACE[16:]}", f"x-b3-spanid: {SPAN}", "x-b3-sampled: 0"),
            ("0" * 16 + TRACE[16:], SPAN, False, "", "b3"),
        ),
        (
            (f"x-b3-traceid: {TRACE}", f"x-b3-spanid: {SPAN}", "x-b3-sampled: false"),
            (TRACE, SPAN, False, "", "b3"),
        ),
        (
            (f"x-b3-traceid: {TRACE}", f"x-b3-spanid: {SPAN}", "x-b3-flags: 1"),
            B3,
        ),
        (("x-b3-sampled: 0",), ("", "", False, "", "b3")),
        (("x-b3-sampled: 1",), None),
        ((f"x-b3-traceid: {TRACE}", "x-b3-sampled: 0"), None),
        ((f"x-b3-spanid: {SPAN}",), None),
        # W3C first; B3 when the W3C header is not valid.
        ((f"b3: {TRACE}-{SPAN}-0", f"traceparent: {PARENT}"), W3C),
        ((f"b3: {TRACE}-{SPAN}-1", "traceparent: nonsense"), B3),
        ((f"b3: {TRACE}-{SPAN}-1", f"x-b3-traceid: {SPAN}", f"x-b3-spanid: {SPAN}"), B3),
    ],
)
def test_what_is_adopted(lines: tuple[str, ...], expected: tuple[object, ...] | None) -> None:
    assert seen(*lines) == expected


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("a=1",), "a=1"),
        (("a=1,b=2", " c=3 "), "a=1,b=2,c=3"),
        (("a=1,,b=2,",), "a=1,b=2"),
        (("t@v=x y",), "t@v=x y"),
        (("A=1",), ""),
        (("a=1,b",), ""),
        (("a=1,b=x=y",), ""),
        (("a=1,a=2",), ""),
        ((",".join(f"k{i}=v" for i in range(32)),), ",".join(f"k{i}=v" for i in range(32))),
        ((",".join(f"k{i}=v" for i in range(33)),), ""),
        (("a=1,big=" + "x" * 250 + ",c=" + "y" * 250 + ",b=2",), "a=1,b=2"),
    ],
)
def test_tracestate(states: tuple[str, ...], expected: str) -> None:
    """A bad tracestate never costs the parent."""
    found = carried(f"traceparent: {PARENT}", *(f"TraceState: {state}" for state in states))
    assert found is not None and found.trace_state == expected


def test_tracestate_is_bounded() -> None:
    state = ",".join(f"k{i:02}={'v' * 60}" for i in range(32))
    found = carried(f"traceparent: {PARENT}", f"tracestate: {state}")
    assert found is not None and 0 < len(found.trace_state) <= MAX_TRACE_STATE
    assert state.startswith(found.trace_state), "the first members are the most recent: they stay"


def test_tracestate_alone_carries_nothing() -> None:
    assert seen("tracestate: a=1") is None
    assert seen("traceparent: no", "tracestate: a=1") is None


def test_a_cut_traceparent_is_not_adopted() -> None:
    head = f"GET / HTTP/1.1\r\ntraceparent: {PARENT}".encode()
    assert carried_context(HttpRequest("GET", "/", "1.1", head)) is None
