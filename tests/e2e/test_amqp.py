"""AMQP 0-9-1: a real RabbitMQ, pika and amqp091-go, under the real agent."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pika  # type: ignore[import-untyped]
import pytest

from tests.e2e.agent import Agent, Span
from tests.e2e.amqp_programs import MESSAGES, SPAN, TRACE
from tests.e2e.program import Program
from tests.e2e.query import parent_of
from tests.e2e.queue_clients import GoClient
from tests.e2e.recording import recorded, recording, replayed
from tests.e2e.services import answering
from tests.rabbitmq_server import RabbitmqServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("amqp_programs.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqServer]:
    with RabbitmqServer(tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running


def named(spans: list[Span], kind: str) -> Counter[str]:
    return Counter(s["name"] for s in spans if s["kind"] == kind)


def only_amqp(spans: list[Span]) -> list[Span]:
    """Without the questions to the broker's management."""
    return [s for s in spans if s["attributes"].get("messaging.system") == "rabbitmq"]


def failed(spans: list[Span]) -> set[tuple[str, str]]:
    return {
        (s["name"], s["attributes"]["error.type"]) for s in spans if "error.type" in s["attributes"]
    }


def counted(server: RabbitmqServer, before: dict[str, int], enough: dict[str, int]) -> None:
    """The broker counts the same, as soon as its statistics are."""
    deadline = time.monotonic() + 20
    while True:
        now = server.counts()
        told = {name: now.get(name, 0) - before.get(name, 0) for name in enough}
        if told == enough or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert told == enough


def test_every_call_and_message_is_a_span_on_both_sides(server: RabbitmqServer) -> None:
    before = server.counts()
    with (
        Program(PROGRAMS, "calls", server.url) as program,
        Agent(pids=[program.pid, server.pid]) as agent,
    ):
        program.go()
        assert program.line() == "done"
        spans = only_amqp(agent.stop())
    sent = {"publish orders": MESSAGES + 1, "publish quick": MESSAGES, "publish nowhere": 1}
    got = {"deliver orders": MESSAGES + 1, "deliver quick": MESSAGES}
    asked = {
        "queue.declare orders": 1,
        "queue.declare quick": 1,
        "queue.declare absent": 1,
        "basic.consume orders": 1,
        "basic.consume quick": 1,
        "basic.cancel": 2,
    }
    assert named(spans, "PRODUCER") == sent
    assert named(spans, "CONSUMER") == {**got, "get orders": 1}
    assert named(spans, "SERVER") == {**sent, **asked, "get orders": 1}
    assert named(spans, "CLIENT") == {**asked, **got}
    assert failed(spans) == {("publish nowhere", "NO_ROUTE"), ("queue.declare absent", "NOT_FOUND")}
    assert "s3cr3t" not in str(spans)
    counts = {"publish": 2 * MESSAGES + 2, "confirm": MESSAGES + 2, "return_unroutable": 1}
    counts |= {"deliver": MESSAGES + 1, "ack": MESSAGES + 1, "deliver_no_ack": MESSAGES}
    counted(server, before, counts)
    carried = [s for s in spans if s["attributes"].get("otel_ebpf.parent.rule") == "traceparent"]
    assert len(carried) == 4 * MESSAGES
    assert {(s["trace_id"], s["parent_span_id"]) for s in carried} == {(TRACE, SPAN)}
    assert {s["attributes"]["messaging.message.id"] for s in carried} == {"m1"}
    ours = [s for s in spans if s["kind"] in ("SERVER", "CONSUMER") and s not in carried]
    for s in ours:
        if s["name"] != "get orders" or s["kind"] == "SERVER":
            parent = parent_of(s, spans)
            assert parent is not None
            assert parent["name"] == s["name"]


def test_gos_client(server: RabbitmqServer) -> None:
    with (
        GoClient("amqp", server.url, MESSAGES) as program,
        Agent(pids=[program.pid, server.pid]) as agent,
    ):
        program.go()
        assert program.line() == "done"
        spans = only_amqp(agent.stop())
    sent, got = {"publish go-orders": MESSAGES}, {"deliver go-orders": MESSAGES}
    asked = {"queue.declare go-orders": 1, "basic.consume go-orders": 1}
    assert named(spans, "PRODUCER") == sent
    assert named(spans, "CONSUMER") == {**got, "get go-orders": 1}
    assert named(spans, "SERVER") == {**sent, **asked, "get go-orders": 1}
    assert named(spans, "CLIENT") == {**asked, **got}
    assert not failed(spans)


def test_calls_within_a_handler_are_the_deliverys_children(server: RabbitmqServer) -> None:
    with (
        answering() as port,
        Program(PROGRAMS, "handles", server.url, port) as program,
        Agent(pids=[program.pid]) as agent,
    ):
        program.go()
        assert program.line() == "done"
        spans = agent.stop()
    calls = [s for s in spans if "url.full" in s["attributes"]]
    parents = [parent_of(call, spans) for call in calls]
    assert len(calls) == MESSAGES
    # What came in one segment with the consumer's confirmation has no number of its own.
    known = [pair for pair in zip(calls, parents, strict=True) if pair[1] is not None]
    assert len({parent["span_id"] for _, parent in known if parent}) >= MESSAGES - 1
    for call, parent in known:
        assert parent is not None
        assert (parent["name"], parent["kind"]) == ("deliver handled", "CONSUMER")
        assert parent["end_time_unix_nano"] > call["end_time_unix_nano"]


def test_a_refused_login_is_told_without_its_words(server: RabbitmqServer) -> None:
    with (
        Program(PROGRAMS, "refused", server.url) as program,
        Agent(pids=[program.pid, server.pid]) as agent,
    ):
        program.go()
        assert program.line() == "done"
        spans = agent.stop()
    assert failed(spans) == {("connect", "ACCESS_REFUSED")}
    assert {s["kind"] for s in spans} == {"CLIENT", "SERVER"}
    assert "s3cr3t" not in str(spans)


def test_recordings_have_nothing_of_a_login(server: RabbitmqServer, tmp_path: Path) -> None:
    file = tmp_path / "login.cap"
    with recording(file, [server.pid]):
        connection = pika.BlockingConnection(pika.URLParameters(server.url))
        connection.channel().queue_declare("shop", exclusive=True)
        connection.close()
    data = recorded(file)
    assert b"queue" in data or b"shop" in data
    assert b"guest" not in data
    assert base64.b64encode(b"guest")[:4] not in data
    names = named(replayed(file), "CLIENT")
    assert names["queue.declare shop"] == names["connect"] == 1, names
