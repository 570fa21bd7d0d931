"""MQTT: a real broker, paho and aiomqtt, under the real agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agent import Agent, Span
from tests.e2e.mqtt_programs import MESSAGES, SPAN, TRACE
from tests.e2e.program import Program
from tests.e2e.query import parent_of
from tests.e2e.queue_clients import GoClient
from tests.e2e.services import answering
from tests.mosquitto_server import MosquittoServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("mqtt_programs.py")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MosquittoServer]:
    with MosquittoServer(tmp_path) as running:
        yield running


def named(spans: list[Span], kind: str) -> Counter[str]:
    return Counter(s["name"] for s in spans if s["kind"] == kind and "$SYS" not in s["name"])


@pytest.mark.parametrize("way", ["four", "five", "tasks"])
def test_every_message_is_a_span_on_both_sides_of_the_broker(
    server: MosquittoServer, way: str
) -> None:
    with (
        Program(PROGRAMS, way, server.port) as program,
        Agent(pids=[program.pid, server.pid]) as agent,
    ):
        program.go()
        received = int(program.line())
        spans = agent.stop()
    sent = {f"publish shop/q{quality}": MESSAGES for quality in range(3)}
    got = {f"deliver shop/q{quality}": MESSAGES for quality in range(3)}
    if way != "tasks":
        sent["publish shop/big"] = got["deliver shop/big"] = 1
    assert named(spans, "PRODUCER") == sent
    found = named(spans, "CONSUMER")
    if agent.ledger.get("segments_out_of_step"):
        # What follows a message longer than the capture may begin in the same read, unseen:
        # the consumer's view then ends there, and says so.
        found["deliver shop/big"] = 1
    assert found == got, agent.ledger
    # The bytes of messages that the broker says it received, and what it handed on.
    served = [s for s in spans if s["kind"] == "SERVER" and s["name"].startswith("publish")]
    assert len(served) == sum(sent.values())
    assert sum(s["attributes"]["messaging.message.body.size"] for s in served) == received
    assert {name: n for name, n in named(spans, "CLIENT").items() if "deliver" in name} == got
    for s in spans:
        attributes = s["attributes"]
        assert attributes["messaging.system"] == "mqtt"
        assert attributes["server.port"] == server.port
        if "$SYS" not in s["name"]:
            assert "error.type" not in attributes
    assert not [s for s in spans if s["name"] in ("connect", "ping")]
    assert "s3cr3t" not in str(spans)
    carried = [s for s in spans if s["attributes"].get("otel_ebpf.parent.rule") == "traceparent"]
    if way == "five":
        assert len(carried) == 4 * 3 * MESSAGES
        assert {(s["trace_id"], s["parent_span_id"]) for s in carried} == {(TRACE, SPAN)}
    else:
        assert not carried
    others = [s for s in spans if s["kind"] in ("CONSUMER", "SERVER") and s not in carried]
    for s in others:
        parent = parent_of(s, spans)
        assert parent is not None
        assert parent["name"] == s["name"]


def test_gos_client(server: MosquittoServer) -> None:
    with (
        GoClient("mqtt", f"tcp://127.0.0.1:{server.port}", MESSAGES) as program,
        Agent(pids=[program.pid, server.pid]) as agent,
    ):
        program.go()
        assert program.line() == "done"
        spans = agent.stop()
    sent = {f"publish go/q{quality}": MESSAGES for quality in range(3)}
    got = {f"deliver go/q{quality}": MESSAGES for quality in range(3)}
    assert named(spans, "PRODUCER") == sent
    assert named(spans, "CONSUMER") == got, f"{agent.ledger} {agent.errors}"
    assert named(spans, "SERVER") == {**sent, "subscribe go/#": 1}
    assert named(spans, "CLIENT") == {**got, "subscribe go/#": 1}
    assert "s3cr3t" not in str(spans)


def test_calls_within_a_handler_are_the_deliverys_children(tmp_path: Path) -> None:
    # The next message comes when the one before was acknowledged: paho reads ahead.
    with (
        MosquittoServer(tmp_path, "max_inflight_messages 1") as server,
        answering() as port,
        Program(PROGRAMS, "handles", server.port, port) as program,
        Agent(pids=[program.pid]) as agent,
    ):
        program.go()
        assert program.line() == "done"
        spans = agent.stop()
    calls = [s for s in spans if s["attributes"].get("url.full")]
    assert len(calls) == MESSAGES
    parents = [parent_of(call, spans) for call in calls]
    assert len({p["span_id"] for p in parents if p}) == MESSAGES
    for call, parent in zip(calls, parents, strict=True):
        assert parent is not None
        assert (parent["name"], parent["kind"]) == ("deliver orders", "CONSUMER")
        assert parent["start_time_unix_nano"] < call["start_time_unix_nano"]
        assert parent["end_time_unix_nano"] > call["end_time_unix_nano"]


def test_a_refused_login_is_told_without_its_words(tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("")
    with (
        MosquittoServer(tmp_path, f"password_file {tmp_path / 'passwords'}") as server,
        Program(PROGRAMS, "four", server.port) as program,
        Agent(pids=[server.pid]) as agent,
    ):
        program.go()
        spans = agent.wait_spans(1, 30)
        agent.stop()
    assert {s["name"] for s in spans} == {"connect"}
    assert {s["attributes"]["error.type"] for s in spans} == {"NOT_AUTHORIZED"}
    assert "s3cr3t" not in str(spans)
