"""NATS: a real server, nats-py and nats.go, under the real agent."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agent import Agent, Span
from tests.e2e.nats_programs import MESSAGES, SPAN, TRACE
from tests.e2e.program import Program
from tests.e2e.query import parent_of
from tests.e2e.queue_clients import GoClient
from tests.nats_server import NatsServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("nats_programs.py")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


def named(spans: list[Span], kind: str) -> Counter[str]:
    return Counter(s["name"] for s in spans if s["kind"] == kind)


def assert_well(spans: list[Span]) -> None:
    """What holds of every conversation."""
    assert "s3cr3t" not in str(spans)
    for s in spans:
        assert s["attributes"]["messaging.system"] == "nats"
        failed = s["name"] == "request nobody"
        assert s["attributes"].get("error.type") == ("503" if failed else None), s
        if s["kind"] in ("CONSUMER", "SERVER"):
            carried = s["attributes"].get("otel_ebpf.parent.rule") == "traceparent"
            if carried:
                assert (s["trace_id"], s["parent_span_id"]) == (TRACE, SPAN)
            else:
                parent = parent_of(s, spans)
                assert parent is not None
                assert parent["name"] == s["name"]


@pytest.mark.parametrize("way", ["core", "verbose", "go"])
def test_messages_and_requests_are_spans_on_both_sides(server: NatsServer, way: str) -> None:
    client: Program | GoClient
    if way == "go":
        client = GoClient("nats", server.url, MESSAGES)
    else:
        client = Program(PROGRAMS, way, server.url)
    with client as program, Agent(pids=[program.pid, server.pid]) as agent:
        program.go()
        assert program.line() == "done"
        received, handed_on = server.counts()
        # Its monitoring was asked, too.
        spans = [s for s in agent.stop() if "messaging.system" in s["attributes"]]
    sent = {"publish events.new": MESSAGES, "request sum": MESSAGES, "request nobody": 1}
    got = {"deliver events.new": MESSAGES, "deliver sum": MESSAGES}
    if way != "go":
        sent["publish events.big"] = got["deliver events.big"] = 1
    assert named(spans, "PRODUCER") == sent
    assert named(spans, "CONSUMER") == got
    assert named(spans, "SERVER") == sent
    assert named(spans, "CLIENT") == got
    assert_well(spans)
    # Answers are messages, too.
    assert received == sum(sent.values()) + MESSAGES
    assert handed_on == sum(got.values()) + MESSAGES
    carried = [s for s in spans if s["attributes"].get("otel_ebpf.parent.rule") == "traceparent"]
    assert len(carried) == 4 * (MESSAGES if way == "go" else MESSAGES // 2)
    asked = {s["span_id"]: s for s in spans if s["name"] == "request sum"}
    assert all(s["end_time_unix_nano"] > s["start_time_unix_nano"] for s in asked.values())
    groups = {
        s["attributes"].get("messaging.consumer.group.name")
        for s in spans
        if s["name"] == "deliver sum"
    }
    assert groups == {"workers"}


def test_jetstreams_messages_are_processed_until_they_are_acknowledged(server: NatsServer) -> None:
    with (
        Program(PROGRAMS, "stream", server.url) as program,
        Agent(pids=[program.pid, server.pid]) as agent,
    ):
        program.go()
        assert program.line() == "done"
        spans = agent.stop()
    half = MESSAGES // 2
    for kind in ("PRODUCER", "SERVER"):
        sent = named(spans, kind)
        assert (sent["request orders.new"], sent["request orders.old"]) == (half, half)
        assert sent["request $JS.API.STREAM.CREATE.ORDERS"] == 1
    for kind in ("CONSUMER", "CLIENT"):
        assert named(spans, kind) == {"deliver orders.new": half, "deliver orders.old": half}
    types = {s["attributes"]["messaging.operation.type"] for s in spans if s["kind"] == "CONSUMER"}
    assert types == {"process"}
    assert_well(spans)


def test_a_refused_login_is_told_without_its_words(server: NatsServer) -> None:
    shout = shutil.which("python3") or "python3"
    code = (
        "import socket, sys; sys.stdin.readline()\n"
        f"s = socket.create_connection(('127.0.0.1', {server.port})); s.recv(4096)\n"
        's.sendall(b\'CONNECT {"user":"me","pass":"s3cr3t-wrong"}\\r\\nPING\\r\\n\')\n'
        "while s.recv(4096): pass\n"
    )
    program = subprocess.Popen([shout, "-c", code], stdin=subprocess.PIPE, text=True)
    with Agent(pids=[program.pid, server.pid]) as agent:
        program.communicate("\n", timeout=60)
        spans = agent.stop()
    assert {(s["name"], s["attributes"]["error.type"]) for s in spans} == {
        ("connect", "authorization_violation")
    }
    assert {s["kind"] for s in spans} == {"CLIENT", "SERVER"}
    assert "s3cr3t" not in str(spans)
