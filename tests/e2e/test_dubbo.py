"""Dubbo 2: a real server, its own client and one in Python, under the real agent."""

from __future__ import annotations

import shutil
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.dubbo_program import DubboProgram, DubboServer
from tests.e2e.agent import Agent, Span
from tests.e2e.program import Program
from tests.e2e.query import joined, parent_of
from tests.javabuild import java_home
from tests.pythons import python_with

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("dubbo_programs.py")
PACKAGES = ("dubbo-ssl-python==0.9.6", "kazoo>=2.10")


@pytest.fixture(scope="module")
def server() -> Iterator[DubboServer]:
    if java_home() is None or shutil.which("mvn") is None:
        pytest.skip("needs a JDK and Maven")
    running = DubboServer()
    with running:
        yield running


def methods(spans: list[Span], kind: str) -> Counter[str]:
    return Counter(
        span["attributes"]["rpc.method"].partition("/")[2]
        for span in spans
        if span["kind"] == kind and span["name"].startswith("shop.Shop/")
    )


def ends(spans: list[Span], kind: str) -> Counter[str]:
    """Errors of one side, by how the call was answered."""
    return Counter(s["attributes"].get("error.type", "") for s in spans if s["kind"] == kind)


def alike(spans: list[Span]) -> None:
    """Each view of the server's has its client's as parent, and both say the same."""
    joined(spans, "rpc.response.status_code", "otel_ebpf.dubbo.service_version")


def run(program: Program, server: DubboServer) -> list[Span]:
    """The spans of what it does."""
    with Agent(pids=[program.pid, server.pid]) as agent:
        program.go()
        assert program.line() == "done"
        return agent.stop()


def test_every_call_is_a_span_on_either_side(server: DubboServer) -> None:
    before = server.counts()
    with DubboProgram("calls", server.port) as program:
        spans = run(program, server)
    told = server.counts() - before
    for kind in ("CLIENT", "SERVER"):
        assert methods(spans, kind) == told
    alike(spans)
    assert "secret" not in str(spans)
    assert {s["attributes"]["rpc.system.name"] for s in spans} == {"dubbo"}
    thrown = {"shop.NotFound": 51, "java.lang.IllegalStateException": 1}
    fine = sum(told.values()) - 52
    assert ends(spans, "CLIENT") == {**thrown, "": fine, "BAD_REQUEST": 1}
    # Who asks for what is not there has made the mistake.
    assert ends(spans, "SERVER") == {**thrown, "": fine + 1}
    refused = [s for s in spans if s["attributes"].get("rpc.response.status_code") != "OK"]
    assert Counter(s["name"] for s in refused) == {"shop.Absent/ping": 2, "shop.Shop/note": 2}
    versions = {s["attributes"].get("otel_ebpf.dubbo.service_version") for s in spans}
    assert versions == {None, "2.1.0"}
    # Fifty calls that take 20 ms were under way with others, and kept their own answers.
    slow = [s for s in spans if s["name"] == "shop.Shop/slow"]
    lengths = [int(s["end_time_unix_nano"]) - int(s["start_time_unix_nano"]) for s in slow]
    assert len(lengths) == 100 and min(lengths) > 19_000_000


def test_a_client_in_python_on_a_connection_of_its_own(server: DubboServer) -> None:
    before = server.counts()
    python = python_with(PACKAGES)
    with Program(PROGRAMS, server.port, 10, python=python) as program:
        spans = run(program, server)
    told = server.counts() - before
    assert told == {"echo": 40, "ping": 40}
    for kind in ("CLIENT", "SERVER"):
        found = methods(spans, kind)
        assert found.pop("absent") == 40
        assert found == told
    alike(spans)
    failed = [s for s in spans if "error.type" in s["attributes"]]
    assert {s["name"] for s in failed} == {"shop.Shop/absent"}
    assert "secret" not in str(spans)


def test_calls_of_a_server_have_its_requests_as_parents_or_none(server: DubboServer) -> None:
    """The connection is older than the agent, and Netty's own thread writes the calls."""
    with DubboProgram("front", server.port) as program:
        port = int(program.line())
        with Agent(pids=[program.pid]) as agent:

            def ask(number: int) -> None:
                what = ("ping", "price", "slow", "echo")[number % 4]
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{what}").close()

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(ask, range(400)))
            spans = agent.stop()
    calls = [s for s in spans if s["kind"] == "CLIENT"]
    assert Counter(s["name"].partition("/")[2] for s in calls) == dict.fromkeys(
        ("ping", "price", "slow", "echo"), 100
    )
    for call in calls:
        parent = parent_of(call, spans)
        if parent is not None:
            assert parent["attributes"]["url.path"] == "/" + call["name"].partition("/")[2]
