"""HTTP/2 headers of Go programs told by uprobes: the same spans as from the sockets' bytes, and
headers that the bytes no longer show."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from tests.e2e import relay
from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.http2_programs import go_client, go_server
from tests.e2e.query import only, seconds_of, select
from tests.e2e.services import Service
from tests.e2e.test_go_older import BUILDS
from tests.e2e.test_go_tls import ask, connect, joined
from tests.e2e.truth import TRUTH, judge
from tests.gobuild import build_go

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

Span = dict[str, Any]
WAYS = ("passive", "both")
CAPTURED = {
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "x-tenant,content-length",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": "x-tenant,content-length",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": "x-answer,content-type,trailer",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE": "x-answer,content-type,trailer",
}
_NUMBERS = {"process.pid", "client.port", "server.port", "network.local.port", "network.peer.port"}
_PORT = re.compile(r"127\.0\.0\.1:\d+")


def said(span: Span) -> tuple[Any, ...]:
    """All that a span says, but for numbers that differ from run to run."""
    attributes = sorted(
        (name, _PORT.sub("127.0.0.1:N", str(value)))
        for name, value in span["attributes"].items()
        if name not in _NUMBERS
    )
    return span["kind"], span["name"], str(span["status"]), str(attributes)


def with_parents(spans: list[Span]) -> Counter[tuple[Any, ...]]:
    """What each span says, and what its parent does."""
    by_id = {(s["trace_id"], s["span_id"]): said(s) for s in spans}
    return Counter(
        (said(s), by_id.get((s["trace_id"], s["parent_span_id"]), s["parent_span_id"] and "?"))
        for s in spans
    )


def all_told(agent: Agent, blocks: int) -> None:
    """Every header block was told, and agreed with its frame."""
    assert agent.ledger["header_blocks_told"] == blocks, agent.ledger
    for reason in (
        *("header_blocks_disagree", "header_blocks_not_told", "header_blocks_without_frame"),
        *("header_blocks_waited_for_in_vain", "headers_unplaced", "headers_crowded"),
        *("gaps", "desyncs", "responses_without_request", "requests_in_flight_at_end"),
        "records_lost",
    ):
        assert agent.ledger.get(reason, 0) == 0, (reason, agent.ledger)


def http(way: str) -> tuple[list[Span], Agent]:
    with (
        go_server("http") as server,
        go_client("http", server.address) as client,
        Agent("--go-http2", way, pids=[server.pid, client.pid], env=CAPTURED) as agent,
    ):
        client.call("GET", "/a/200")
        client.call("POST", "/upload/404")
        client.call("GET", "/big/503")
        client.call("GET", "/hints/200", 2)
        client.call("POST", "/trailers/200", 2)
        client.call("POST", "/wide/200", 2)
        client.call("GET", "/slow/200", 100)
        return agent.stop(), agent


def grpc(way: str) -> tuple[list[Span], Agent]:
    with (
        go_server("grpc") as server,
        go_client("grpc", server.address) as client,
        Agent("--go-http2", way, pids=[server.pid, client.pid]) as agent,
    ):
        for method in ("Unary", "Fail", "Nothing", "List", "Chat"):
            client.call("POST", method)
        client.call("POST", "Unary", 100)
        return agent.stop(), agent


def test_net_http_gives_the_same_spans_both_ways() -> None:
    passive, _ = http("passive")
    told, agent = http("both")
    assert with_parents(told) == with_parents(passive)
    # Of both sides: heads both ways, two interim answers, two trailers both ways.
    all_told(agent, 2 * (2 * 109 + 2 + 2 * 2))
    for spans in (passive, told):
        assert len(spans) == 2 * 109
        for kind in ("CLIENT", "SERVER"):
            answered = only(spans, kind, "/a/200")["attributes"]
            assert answered["http.request.header.x-tenant"] == ["acme"]
            assert answered["http.response.header.x-answer"] == ["one", "two, three"]
            slow = select(spans, kind, "/slow/200")
            assert len(slow) == 100
            assert min(map(seconds_of, slow)) >= 0.05
    assert "prog" not in agent.errors


def test_grpc_gives_the_same_spans_both_ways() -> None:
    passive, _ = grpc("passive")
    told, agent = grpc("both")
    assert with_parents(told) == with_parents(passive)
    assert len(told) == 2 * 105
    assert Counter(s["attributes"]["rpc.response.status_code"] for s in told) == {
        "OK": 206,
        "NOT_FOUND": 2,
        "UNIMPLEMENTED": 2,
    }
    # A request, a response's head and trailers; the two that fail have trailers only.
    all_told(agent, 2 * (3 * 105 - 2))


def test_where_the_bytes_say_all_nothing_is_told_again() -> None:
    passive, _ = grpc("passive")
    spans, agent = grpc("uprobe")
    assert with_parents(spans) == with_parents(passive)
    assert not [name for name in agent.ledger if name.startswith("header_blocks")], agent.ledger
    assert agent.ledger["uprobes"] >= 3


RELAYS = {
    # Arguments on the stack, net/http's own HTTP/2 with TLS alone, grpc-go before contexts.
    "old": (*BUILDS["old"], ("x", "grpc", "h2s")),
    "middle": (*BUILDS["middle"], ("x", "grpc", "h2s")),
    "stripped": (*BUILDS["stripped"], ("x", "h2", "grpc")),
    "go1.27.4": ("go1.27.4", relay.NEWEST, (), ("x", "h2", "grpc", "h2s")),
}


@pytest.mark.parametrize("build", RELAYS)
def test_every_home_of_http2_gives_the_same_spans_both_ways(build: str) -> None:
    toolchain, requires, flags, protocols = RELAYS[build]
    program = relay.build(toolchain, requires, flags)
    found = {}
    for way in WAYS:
        front, back = relay.pair(program)
        with (
            front,
            back,
            Agent("--go-http2", way, pids=[front.pid, back.pid], env=relay.ENV) as agent,
        ):
            for served in protocols:
                relay.drive(front, served, ["ctx"], protocols, 10, len(protocols))
            spans = agent.stop()
        verdict = relay.judge(spans, front.pid)
        assert not verdict.wrong, verdict
        found[way] = Counter(said(span) for span in spans)
    assert found["both"] == found["passive"]
    blocks = sum(
        n * (3 if "rpc.system.name" in attributes else 2)
        for (_, _, _, attributes), n in found["both"].items()
        if "rpc.system.name" in attributes or "('network.protocol.version', '2')" in attributes
    )
    all_told(agent, blocks)


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_connection_older_than_the_agent_has_all_its_headers_by_uprobe(kind: str) -> None:
    """What its header table held before is not in the bytes any more."""
    call = ("GET", "/often/200") if kind == "http" else ("POST", "Unary")
    names: dict[str, Counter[tuple[str, ...]]] = {}
    for way in ("passive", "uprobe"):
        with go_server(kind) as server, go_client(kind, server.address) as client:
            client.call(*call)
            client.call(*call)
            with Agent("--go-http2", way, pids=[server.pid, client.pid], env=CAPTURED) as agent:
                for _ in range(5):
                    client.call(*call)
                spans = agent.stop()
        assert len(select(spans, "SERVER")) == len(select(spans, "CLIENT")) == 5
        if way == "uprobe":
            all_told(agent, 2 * 5 * (2 if kind == "http" else 3))
        if kind == "http":
            names[way] = Counter(
                (
                    s["attributes"].get("url.path") or s["attributes"].get("url.full", "")[-10:],
                    str(s["attributes"].get("http.request.header.x-tenant")),
                    str(s["attributes"].get("http.response.header.x-answer")),
                )
                for s in spans
            )
        else:
            names[way] = Counter(
                (s["name"], str(s["attributes"].get("rpc.response.status_code"))) for s in spans
            )
    if kind == "http":
        assert names["uprobe"] == {("/often/200", "['acme']", "['one', 'two, three']"): 10}
        assert {tenant for _, tenant, *_ in names["passive"]} == {"None"}
    else:
        assert names["uprobe"] == {("shop.Echo/Unary", "OK"): 10}
        assert set(names["passive"]) != set(names["uprobe"])


def test_http2_over_tls_has_its_headers_told_on_old_connections_too() -> None:
    program = build_go(TRUTH)
    tls = ["-tls", "1.3", "-h2"]
    with (
        Service("back", [program, *tls]) as back,
        Service("front", [program, *tls, "-next", f"https://{back.address}"]) as front,
        connect(front) as connection,
    ):
        # The client's connection is there before the agent is, and knows these paths.
        ask(connection, "/call?id=ctx.before&mode=ctx&n=2")
        with Agent("--go-http2", "uprobe", pids=[front.pid, back.pid], env=TRUTH_ENV) as agent:
            for number in range(10):
                ask(connection, f"/call?id=ctx.{number}&mode=ctx&n=2")
            spans = agent.stop()
    verdict = judge(spans, front.pid)
    assert not verdict.wrong, verdict
    assert verdict.right == {"ctx": 20}, verdict
    assert joined(spans, back.pid) == {True: 20}
    all_told(agent, 2 * 40)
