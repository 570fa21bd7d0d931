"""MongoDB: a real server of its protocol and real clients under the real agent."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otel_ebpf.events.capture import Burst, CaptureReader
from tests.e2e.agent import Agent, Span
from tests.e2e.program import Program
from tests.e2e.query import joined, parent_of
from tests.e2e.services import Service
from tests.e2e.test_go_databases import CALLS, MODES, REQUESTS, SOURCE, check, get, judge, settle
from tests.e2e.test_kafka import recorded
from tests.ferretdb_server import FerretdbServer
from tests.gobuild import build_go
from tests.nodes import npm_packages

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("mongodb_programs.py")
DRIVER = {"go.mongodb.org/mongo-driver": "v1.17.3", "github.com/lib/pq": "v1.10.9"}
OWN = {"hello", "ismaster", "isMaster", "ping", "endSessions", "killCursors", "buildInfo"}
"""Commands of the client libraries' own."""


@pytest.fixture(scope="module")
def server() -> Iterator[FerretdbServer]:
    with FerretdbServer() as running:
        yield running


def started(what: str, server: FerretdbServer) -> Program:
    """One part of mongodb_programs.py."""
    return Program(PROGRAMS, what, server.uri)


def calls(spans: list[Span], kind: str) -> Counter[str]:
    return Counter(s["attributes"]["db.operation.name"] for s in spans if s["kind"] == kind)


def theirs(counts: Counter[str]) -> Counter[str]:
    """Without what the client libraries ask on their own account."""
    return Counter({command: n for command, n in counts.items() if command not in OWN and n})


def test_every_call_is_a_span_on_either_side(server: FerretdbServer) -> None:
    before = server.counts()
    with started("commands", server) as program:
        with Agent(pids=[program.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
        counted = server.counts() - before
    counted["nothingOfTheKind"] += counted.pop("unknown", 0)
    for kind in ("CLIENT", "SERVER"):
        assert calls(spans, kind) == theirs(counted)
    assert "s3cr3t" not in str(spans)
    assert {s["attributes"]["db.system.name"] for s in spans} == {"mongodb"}
    assert {s["attributes"]["db.namespace"] for s in spans} == {"shop"}
    failed = [s for s in spans if "error.type" in s["attributes"]]
    assert {(s["name"], s["attributes"]["db.response.status_code"]) for s in failed} == {
        ("insert items", "11000"),
        ("nothingOfTheKind", "59"),
    }
    joined(spans)
    named = {s["name"]: s["attributes"] for s in spans if s["kind"] == "CLIENT"}
    assert named["getMore items"]["db.query.text"].startswith('{"getMore":"?","collection":"items"')
    batches = {s["attributes"].get("db.operation.batch.size") for s in spans}
    assert 500 in batches
    texts = [s["attributes"]["db.query.text"] for s in spans if s["name"] == "find items"]
    assert any('"filter":{"kind":"?"}' in text for text in texts)


def test_calls_of_nodes_driver(server: FerretdbServer) -> None:
    """By five connections at once; its cursors, and an error."""
    modules = npm_packages(("mongodb@6",))
    if modules is None:
        pytest.skip("needs Node and npm")
    program = subprocess.Popen(
        ["node", Path(__file__).with_name("mongodb_node.js"), server.uri],
        env={**os.environ, "NODE_PATH": str(modules)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        before = server.counts()
        with Agent(pids=[program.pid, server.pid]) as agent:
            said, _ = program.communicate("\n", timeout=60)
            assert said == "done\n"
            spans = agent.stop()
        counted = server.counts() - before
    # Handshakes of four more connections, which are counted so.
    assert counted.pop("unknown", 0) <= 4
    for kind in ("CLIENT", "SERVER"):
        assert calls(spans, kind) == theirs(counted)
    assert calls(spans, "CLIENT") == {
        "insert": 2,
        "find": 21,
        "update": 1,
        "delete": 1,
        "getMore": counted["getMore"],
    }
    joined(spans)
    failed = [s for s in spans if "error.type" in s["attributes"]]
    assert {(s["name"], s["attributes"]["db.response.status_code"]) for s in failed} == {
        ("insert node", "11000")
    }


def test_calls_of_asyncios_tasks(server: FerretdbServer) -> None:
    before = server.counts()
    with started("tasks", server) as program:
        with Agent(pids=[program.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
        counted = server.counts() - before
    for kind in ("CLIENT", "SERVER"):
        assert calls(spans, kind) == theirs(counted) == {"insert": 40, "find": 40}


def test_calls_of_a_thread_that_serves_are_its_requests_children(server: FerretdbServer) -> None:
    with started("serve", server) as program:
        port = int(program.line())
        with Agent(pids=[program.pid]) as agent:

            def ask(number: int) -> None:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/id_{number}").close()

            with ThreadPoolExecutor(16) as pool:
                list(pool.map(ask, range(100)))
            spans = agent.stop()
    finds = [s for s in spans if s["kind"] == "CLIENT"]
    assert len(finds) == 100
    for find in finds:
        parent = parent_of(find, spans)
        assert parent is not None
        asked = parent["attributes"]["url.path"].strip("/")
        assert f'"filter":{{"{asked}":"?"}}' in find["attributes"]["db.query.text"]


def test_a_connection_that_is_older_than_the_agent_is_told_of_at_once(
    server: FerretdbServer,
) -> None:
    with started("midway", server) as program:
        assert program.line() == "connected"
        with Agent("--db-statement", "off", pids=[program.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    for kind in ("CLIENT", "SERVER"):
        assert calls(spans, kind) == {"find": 5}
    assert not [s for s in spans if "db.query.text" in s["attributes"]]


def test_logins_leave_nothing_in_spans_and_no_password_in_recordings(tmp_path: Path) -> None:
    file = tmp_path / "logins.cap"
    setup = ("--setup-username=boss", "--setup-password=s3cr3t-boss", "--setup-database=admin")
    with FerretdbServer("--test-enable-new-auth", *setup) as server:
        server.uri = f"mongodb://boss:s3cr3t-boss@127.0.0.1:{server.port}/shop?authSource=admin"
        with (
            started("logins", server) as program,
            recorded(file, [program.pid, server.pid]),
            Agent("--internal-calls", pids=[program.pid, server.pid]) as agent,
        ):
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    named = calls(spans, "CLIENT")
    assert named["createUser"] == 1
    assert named["find"] == 1
    assert named["saslStart"] + named["saslContinue"] >= 3
    assert calls(spans, "SERVER") == named
    refused = [s for s in spans if "error.type" in s["attributes"] and s["name"][:4] == "sasl"]
    assert {s["attributes"]["db.response.status_code"] for s in refused} == {"18"}
    assert "s3cr3t" not in str(spans)
    assert "clerk" not in str(spans)
    with CaptureReader(file) as reader:
        data = b"".join(frame.data for frame in reader if isinstance(frame, Burst))
    assert b"createUser" in data
    assert b"s3cr3t" not in data


def test_gos_driver_calls_for_the_request_of_the_context(server: FerretdbServer) -> None:
    program = build_go(SOURCE, flags=("-tags=mongo",), requires=DRIVER, language="1.20")
    with Service("front", [program, "-mongo", server.uri]) as front:
        get(front, "seq.before", "mongo")
        with Agent(pids=[front.pid, server.pid]) as agent:
            settle(front, agent, "mongo")
            names = [f"{mode}.{number}" for number in range(REQUESTS) for mode in MODES]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda name: get(front, name, "mongo"), names))
            spans = agent.stop()
    check(judge(spans, front.pid), REQUESTS * CALLS, agent.ledger)
