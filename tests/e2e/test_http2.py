"""HTTP/2 and gRPC of real programs, seen from their sockets' bytes."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.agent import Agent
from tests.e2e.http2_programs import (
    Caller,
    aio_client,
    aio_server,
    go_client,
    go_server,
    java_client,
    java_server,
    node_client,
    node_server,
    python_client,
    python_server,
)
from tests.e2e.query import only, parent_of, seconds_of, select
from tests.e2e.services import Service

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

Span = dict[str, Any]
Start = Callable[[], Service]
Connect = Callable[[str], Caller]

GRPC = {
    "go to go": (lambda: go_server("grpc"), lambda address: go_client("grpc", address)),
    "python to python": (python_server, python_client),
    "python to go": (lambda: go_server("grpc"), python_client),
    "go to python": (python_server, lambda address: go_client("grpc", address)),
    "asyncio to asyncio": (aio_server, aio_client),
    "node to node": (node_server, node_client),
    "node to python": (python_server, node_client),
    "java to java": (java_server, java_client),
}


@contextmanager
def traced(start: Start, connect: Connect) -> Iterator[tuple[Service, Caller, Agent]]:
    """A server, a client of it, and the agent that watches both."""
    with (
        start() as server,
        connect(server.address) as client,
        Agent(pids=[server.pid, client.pid]) as agent,
    ):
        yield server, client, agent


def calls(spans: list[Span], kind: str, method: str) -> list[Span]:
    """The RPC spans of that kind and method."""
    return [s for s in select(spans, kind) if s["name"] == f"shop.Echo/{method}"]


def joined(spans: list[Span], method: str) -> None:
    """Each call is one CLIENT span and one SERVER span, its child by the same bytes."""
    served = calls(spans, "SERVER", method)
    assert len(served) == len(calls(spans, "CLIENT", method))
    parents = [parent_of(span, spans) for span in served]
    assert {p["span_id"] for p in parents if p} == {
        s["span_id"] for s in calls(spans, "CLIENT", method)
    }
    assert {s["attributes"]["otel_ebpf.parent.rule"] for s in served} == {"same_host"}


def nothing_lost(agent: Agent) -> None:
    for reason in ("gaps", "desyncs", "responses_without_request", "requests_in_flight_at_end"):
        assert agent.ledger.get(reason, 0) == 0, (reason, agent.ledger)


@pytest.mark.parametrize("programs", GRPC)
def test_grpc_calls_of_every_kind_are_one_span_a_side(programs: str) -> None:
    with traced(*GRPC[programs]) as (server, client, agent):
        client.call("POST", "Unary")
        assert client.call("POST", "Fail")
        assert client.call("POST", "Nothing")
        client.call("POST", "List")
        client.call("POST", "Chat")
        assert client.call("POST", "Hang")
        agent.wait_spans(12)
        spans = agent.stop()
    codes = {"Unary": "OK", "Fail": "NOT_FOUND", "Nothing": "UNIMPLEMENTED", "List": "OK"}
    for method, code in {**codes, "Chat": "OK"}.items():
        joined(spans, method)
        for kind in ("CLIENT", "SERVER"):
            [span] = calls(spans, kind, method)
            attributes = span["attributes"]
            assert attributes["rpc.system.name"] == "grpc"
            assert attributes["rpc.method"] == f"shop.Echo/{method}"
            assert attributes["rpc.response.status_code"] == code
            assert attributes["server.address"] == "127.0.0.1"
            assert attributes["server.port"] == server.port
            # NOT_FOUND is the client's error alone.
            failed = code == "UNIMPLEMENTED" or (code == "NOT_FOUND" and kind == "CLIENT")
            assert (span["status"]["code"] == "ERROR") == failed, (method, kind)
            assert attributes.get("error.type") == (code if failed else None)
    # A deadline is a reset, or the server's own answer when that is quicker.
    for kind in ("CLIENT", "SERVER"):
        [span] = calls(spans, kind, "Hang")
        assert span["status"]["code"] == "ERROR"
        assert span["attributes"]["error.type"] in ("cancel", "DEADLINE_EXCEEDED", "UNKNOWN")
        assert seconds_of(span) >= 0.03
    assert len(spans) == 12
    nothing_lost(agent)


@pytest.mark.parametrize(
    "programs",
    ["go to go", "python to python", "asyncio to asyncio", "node to node", "java to java"],
)
def test_a_hundred_calls_at_once_on_one_connection(programs: str) -> None:
    with traced(*GRPC[programs]) as (_, client, agent):
        for _ in range(3):
            assert client.call("POST", "Unary", 100) == []
            assert client.call("POST", "List", 20) == []
        spans = agent.stop()
    assert Counter(s["name"] for s in spans) == {"shop.Echo/Unary": 600, "shop.Echo/List": 120}
    assert {s["attributes"]["rpc.response.status_code"] for s in spans} == {"OK"}
    joined(spans, "Unary")
    joined(spans, "List")
    nothing_lost(agent)


def test_http2_spans_are_http_spans() -> None:
    http = (lambda: go_server("http"), lambda address: go_client("http", address))
    with traced(*http) as (server, client, agent):
        client.call("GET", "/a/200")
        client.call("POST", "/upload/404")
        client.call("GET", "/big/503")
        client.call("GET", "/slow/200", 100)
        spans = agent.stop()
    for kind in ("CLIENT", "SERVER"):
        for path, method, status in (
            ("/a/200", "GET", 200),
            ("/upload/404", "POST", 404),
            ("/big/503", "GET", 503),
        ):
            span = only(spans, kind, path)
            attributes = span["attributes"]
            assert span["name"] == attributes["http.request.method"] == method
            assert attributes["http.response.status_code"] == status
            assert attributes["network.protocol.version"] == "2"
            assert attributes["server.port"] == server.port
            if kind == "SERVER":
                parent = parent_of(span, spans)
                assert parent is not None
                assert parent["kind"] == "CLIENT"
                assert attributes["url.scheme"] == "http"
                assert attributes["otel_ebpf.parent.rule"] == "same_host"
    slow = select(spans, "SERVER", "/slow/200")
    assert len(slow) == len({span["parent_span_id"] for span in slow}) == 100
    assert min(map(seconds_of, slow)) >= 0.05
    nothing_lost(agent)


def test_a_connection_older_than_the_agent_gives_spans_from_its_next_stream_on() -> None:
    with go_server("http") as server, go_client("http", server.address) as client:
        client.call("GET", "/before/200", 3)
        with Agent(pids=[server.pid, client.pid]) as agent:
            client.call("GET", "/after/200")
            client.call("GET", "/after/404", 5)
            client.call("POST", "/new/201", 5)
            spans = agent.stop()
    assert len(select(spans, "CLIENT")) == len(select(spans, "SERVER")) == 11
    # What the table held before is unknown; what was said since is not.
    paths = Counter(s["attributes"].get("url.path") for s in select(spans, "SERVER"))
    assert paths == {"/after/200": 1, "/after/404": 5, "/new/201": 5}
    statuses = Counter(s["attributes"].get("http.response.status_code") for s in spans)
    assert statuses == {200: 2, 404: 10, 201: 10}
    for span in select(spans, "SERVER"):
        parent = parent_of(span, spans)
        assert parent is not None
        assert parent["kind"] == "CLIENT"


def test_grpc_joined_midway_is_grpc_and_nothing_is_made_up() -> None:
    with python_server() as server, go_client("grpc", server.address) as client:
        client.call("POST", "Unary", 3)
        with Agent(pids=[server.pid, client.pid]) as agent:
            client.call("POST", "Unary", 5)
            client.call("POST", "List", 5)
            spans = agent.stop()
    assert len(select(spans, "CLIENT")) == len(select(spans, "SERVER")) == 10
    # Unary's name was sent before the agent's time; grpcio's trailers name their fields anew.
    assert Counter((s["kind"], s["name"]) for s in spans) == {
        ("CLIENT", "grpc"): 5,
        ("SERVER", "grpc"): 5,
        ("CLIENT", "shop.Echo/List"): 5,
        ("SERVER", "shop.Echo/List"): 5,
    }
    assert {s["attributes"].get("rpc.response.status_code") for s in spans} <= {"OK", None}
    assert {s["status"]["code"] for s in spans} == {"UNSET"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_with_prior_knowledge() -> None:
    with go_server("http") as server, Agent(pids=[server.pid]) as agent:
        for arguments in (
            ["-d", "x" * 70000, f"{server.url}/one/200"],
            [f"{server.url}/two/418?q=1"],
        ):
            said = subprocess.run(
                ["curl", "-s", "--http2-prior-knowledge", *arguments],
                capture_output=True,
                timeout=30,
            )
            assert said.stdout == b"HTTP/2.0"
        spans = agent.stop()
    assert only(spans, "SERVER", "/one/200")["attributes"]["http.request.method"] == "POST"
    two = only(spans, "SERVER", "/two/418")["attributes"]
    assert (two["http.response.status_code"], two["url.query"]) == (418, "q=1")
    assert two["user_agent.original"].startswith("curl/")
    nothing_lost(agent)
