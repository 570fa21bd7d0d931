"""HTTPS of Go programs: every exchange, its parent, and both ends of it joined."""

from __future__ import annotations

import http.client
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent, Span
from tests.e2e.query import select
from tests.e2e.services import Service
from tests.e2e.truth import TRUTH, judge
from tests.gobuild import build_go

MODES = ("seq", "ctx", "pool")
BUILDS: dict[str, tuple[str, ...]] = {
    "symbols": (),
    "stripped": ("-ldflags=-s -w",),
    "pie": ("-buildmode=pie",),
}


@contextmanager
def services(program: Path, version: str) -> Iterator[tuple[Service, Service]]:
    """An HTTPS service that calls another one over HTTPS."""
    with (
        Service("back", [program, "-tls", version]) as back,
        Service("front", [program, "-tls", version, "-next", f"https://{back.address}"]) as front,
    ):
        yield front, back


@contextmanager
def connect(service: Service) -> Iterator[http.client.HTTPSConnection]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with closing(
        http.client.HTTPSConnection("127.0.0.1", service.port, context=context, timeout=30)
    ) as connection:
        yield connection


def ask(connection: http.client.HTTPSConnection, path: str) -> bytes:
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    return response.read()


def joined(spans: list[Span], pid: int) -> Counter[bool]:
    """Server spans of ``pid``, by whether their parent is the client span with their truth id."""
    callers = {
        (s["trace_id"], s["span_id"]): s["attributes"]["http.request.header.x-truth-id"]
        for s in spans
        if s["kind"] == "CLIENT"
    }
    return Counter(
        callers.get((s["trace_id"], s["parent_span_id"]))
        == s["attributes"]["http.request.header.x-truth-id"]
        for s in select(spans, "SERVER", "/leaf", pid)
    )


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("build", BUILDS)
def test_https_has_the_same_parents_as_http(build: str, version: str) -> None:
    rounds = 8
    program = build_go(TRUTH, flags=BUILDS[build])
    with services(program, version) as (front, back), connect(front) as old, connect(front) as new:
        ask(old, "/call?id=seq.before&mode=seq&n=1")
        with Agent(pids=[front.pid, back.pid], env=TRUTH_ENV) as agent:
            for number in range(rounds):
                for mode in MODES:
                    for name, connection in (("new", new), ("old", old)):
                        ask(connection, f"/call?id={mode}.{name}.{number}&mode={mode}&n=2")
            spans = agent.stop()
    calls = 4 * rounds  # of each mode: two connections, two calls
    said = judge(spans, front.pid)
    assert not said.wrong, said
    # A caller that has not parked yet when its response comes, of which there may be a few,
    # has no parent, and the ledger says so.
    absent = sum(said.absent.values())
    assert sum(said.right.values()) == 3 * calls - absent, (said, agent.errors)
    told = sum(n for name, n in agent.ledger.items() if name.startswith("no_parent"))
    assert absent <= min(3 * calls // 20, told), (said, agent.errors)
    assert joined(spans, back.pid) == {True: 3 * calls}
    asked = select(spans, "SERVER", "/call", front.pid)
    assert len(asked) == 6 * rounds
    assert {s["attributes"]["url.scheme"] for s in asked} == {"https"}
    assert all(not s["parent_span_id"] for s in asked)
    assert agent.ledger["records_lost"] == 0
