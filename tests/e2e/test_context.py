"""A trace context that a message carries is adopted: same trace, that parent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.agent import Agent, Span
from tests.e2e.query import only, select
from tests.e2e.services import Service
from tests.gobuild import build_go

pytestmark = [
    pytest.mark.kernel,
]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
HERE = Path(__file__).resolve().parent

CARRIED = {
    "traceparent": [f"traceparent: 00-{TRACE}-{SPAN}-01"],
    "traceparent-in-capitals": [f"TraceParent: 00-{TRACE}-{SPAN}-01"],
    "traceparent-of-a-later-version": [f"traceparent: 01-{TRACE}-{SPAN}-01-more"],
    "b3-single": [f"b3: {TRACE}-{SPAN}-1"],
    "b3-multi": [f"X-B3-TraceId: {TRACE}", f"X-B3-SpanId: {SPAN}", "X-B3-Sampled: 1"],
}
REFUSED = {
    "zero-trace": [f"traceparent: 00-{'0' * 32}-{SPAN}-01"],
    "zero-span": [f"traceparent: 00-{TRACE}-{'0' * 16}-01"],
    "short": [f"traceparent: 00-{TRACE[:-1]}-{SPAN}-01"],
    "not-hex": [f"traceparent: 00-{TRACE[:-1]}g-{SPAN}-01"],
    "version-ff": [f"traceparent: ff-{TRACE}-{SPAN}-01"],
}


def curl(url: str, headers: list[str]) -> None:
    command = ["curl", "--silent", "--fail", "--noproxy", "*", "--output", "/dev/null"]
    for header in headers:
        command += ["--header", header]
    subprocess.run([*command, url], check=True, timeout=30)


@pytest.fixture(scope="module")
def spans() -> Iterator[dict[str, list[Span]]]:
    """The front's and the back's spans of one /hop per case, told apart by the query."""
    with ExitStack() as stack:
        target = build_go(HERE / "target")
        back = stack.enter_context(Service("back", [target]))
        front = stack.enter_context(Service("front", [target, "-next", back.url]))
        with Agent(pids=[front.pid, back.pid]) as agent:
            for name, headers in {**CARRIED, **REFUSED}.items():
                curl(f"{front.url}/hop?case={name}", headers)
            curl(
                f"{front.url}/hop?case=state",
                [*CARRIED["traceparent"], "tracestate: vendor=opaque,other=1"],
            )
            found = agent.stop()
        cases: dict[str, list[Span]] = {}
        for root in select(found, "SERVER", "/hop", front.pid):
            query = root["attributes"]["url.query"]
            tree = [span for span in found if _below(span, root, found)]
            cases[query.partition("case=")[2]] = tree
        yield cases


def _below(span: Span, root: Span, spans: list[Span]) -> bool:
    by_id = {(other["trace_id"], other["span_id"]): other for other in spans}
    place: Span | None = span
    while place is not None:
        if place is root:
            return True
        place = by_id.get((place["trace_id"], place["parent_span_id"]))
    return False


@pytest.mark.parametrize("case", CARRIED)
def test_carried_context_gives_trace_and_parent_to_the_whole_tree(
    spans: dict[str, list[Span]], case: str
) -> None:
    tree = spans[case]
    root = only(tree, "SERVER", "/hop")
    assert (root["trace_id"], root["parent_span_id"]) == (TRACE, SPAN)
    assert len(tree) == 3
    assert {span["trace_id"] for span in tree} == {TRACE}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_traceparent_is_as_none(spans: dict[str, list[Span]], case: str) -> None:
    root = only(spans[case], "SERVER", "/hop")
    assert root["parent_span_id"] == ""
    assert root["trace_id"] not in {TRACE, "0" * 32}
    assert len(spans[case]) == 3


def test_tracestate_travels_with_its_traceparent(spans: dict[str, list[Span]]) -> None:
    root = only(spans["state"], "SERVER", "/hop")
    assert root["trace_state"].replace(" ", "") == "vendor=opaque,other=1"


def test_no_two_spans_share_an_id(spans: dict[str, list[Span]]) -> None:
    every = [span["span_id"] for tree in spans.values() for span in tree]
    assert len(set(every)) == len(every)
