"""Kafka: a real broker, librdkafka and Kafka's own client, under the real agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.request
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agent import Agent, Span, agent_command
from tests.e2e.program import Program
from tests.e2e.query import parent_of
from tests.gobuild import build_go
from tests.javabuild import build_java, java_home
from tests.kafka_server import PASSWORD, VERSION, KafkaServer, kafka_jars

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("kafka_programs.py")
JAVA = Path(__file__).parents[1] / "targets" / "java-kafka"
GO = Path(__file__).parents[1] / "targets" / "go" / "kafka"
RETRIED = {"NOT_LEADER_OR_FOLLOWER", "UNKNOWN_TOPIC_OR_PARTITION", "UNKNOWN_TOPIC_ID"}
"""Of a topic that has just been made: the client asks again."""


def _server(version: str) -> Iterator[KafkaServer]:
    if java_home() is None or shutil.which("mvn") is None:
        pytest.skip("needs a JDK and Maven")
    with KafkaServer(version) as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    yield from _server(VERSION)


def started(what: str, server: KafkaServer) -> Program:
    """One part of kafka_programs.py."""
    return Program(PROGRAMS, what, server.address, f"127.0.0.1:{server.login}")


def said(span: Span, what: str) -> Any:
    return span["attributes"].get(f"messaging.{what}")


def linked(span: Span) -> set[int]:
    """The numbers of the traces that it links to."""
    return {int(link["trace_id"], 16) for link in span.get("links", [])}


def done(spans: list[Span], kind: str, operation: str) -> dict[str, list[Span]]:
    """Those that succeeded, by topic."""
    found: dict[str, list[Span]] = {}
    for span in spans:
        wanted = span["kind"] == kind and said(span, "operation.name") == operation
        if wanted and "error.type" not in span["attributes"]:
            found.setdefault(said(span, "destination.name"), []).append(span)
    return found


def counted(spans: dict[str, list[Span]]) -> Counter[str]:
    """Messages by topic."""
    return Counter(
        {
            topic: sum(said(span, "batch.message_count") for span in of)
            for topic, of in spans.items()
        }
    )


def joined(spans: list[Span]) -> int:
    """How many spans of the broker's have the client's view as parent; both say the same."""
    clients = {s["span_id"]: s for s in spans if s["kind"] != "SERVER"}
    pairs = 0
    for served in (s for s in spans if s["kind"] == "SERVER" and s["parent_span_id"]):
        client = clients.pop(served["parent_span_id"])
        assert served["attributes"]["otel_ebpf.parent.rule"] == "same_host"
        for what in ("operation.name", "destination.name", "client.id", "destination.partition.id"):
            assert said(served, what) == said(client, what)
        assert served["attributes"].get("error.type") == client["attributes"].get("error.type")
        pairs += 1
    return pairs


def test_what_is_sent_and_received_agrees_with_the_broker(server: KafkaServer) -> None:
    with started("calls", server) as program, Agent(pids=[program.pid, server.pid]) as agent:
        program.go()
        told = Counter(json.loads(program.line()))
        program.process.wait(30)
        spans = agent.stop()
    assert "secret-" not in str(spans)
    told["mixed"] += 1  # of the other partition
    sent = {kind: done(spans, kind, "send") for kind in ("PRODUCER", "SERVER")}
    assert counted(sent["PRODUCER"]) == counted(sent["SERVER"]) == told
    for kind in ("PRODUCER", "SERVER"):
        of = sent[kind]
        assert [linked(span) for span in of["orders"]] == [{n} for n in range(1, 6)]
        assert [said(span, "kafka.offset") for span in of["orders"]] == list(range(5))
        assert set().union(*map(linked, of["together"])) == set(range(10, 30))
        packed = {first + n for first in (40, 50, 60, 70) for n in range(5)}
        assert set().union(*map(linked, of["packed"])) == packed
        assert {said(span, "destination.partition.id") for span in of["mixed"]} == {"0", "1"}
        assert {said(span, "client.id") for span in of["orders"]} == {"shop"}
    # Nothing waits for an answer where none will come.
    assert all(int(s["end_time_unix_nano"]) - int(s["start_time_unix_nano"]) < 10_000_000
               for s in sent["PRODUCER"]["none"])  # fmt: skip
    polls = done(spans, "CONSUMER", "poll")
    billed = [s for s in polls["orders"] if said(s, "consumer.group.name") == "billing"]
    assert counted({"orders": billed}) == {"orders": 5}
    assert set().union(*map(linked, billed)) == set(range(1, 6))
    assert "big" in polls
    failed = {s["attributes"]["error.type"] for s in spans if "error.type" in s["attributes"]}
    # Whose coordinator is still to be found, or is being loaded, is asked again, too.
    assert not [e for e in failed - RETRIED if "COORDINATOR" not in e]
    sends = sum(map(len, sent["SERVER"].values()))
    assert joined(spans) >= sends + len(billed)
    assert agent.ledger["internal_calls_left_out"] > 50


def test_failures_are_told_and_logins_leave_nothing(server: KafkaServer, tmp_path: Path) -> None:
    file = tmp_path / "capture.gz"
    with started("failing", server) as program:
        pids = [program.pid, server.pid]
        with Agent(pids=pids) as agent, recorded(file, pids):
            program.go()
            failed = json.loads(program.line())
            program.process.wait(30)
            spans = agent.stop()
    assert failed == ["MSG_SIZE_TOO_LARGE", "TOPIC_ALREADY_EXISTS", "PLAIN", "SCRAM-SHA-256"]
    errors = Counter(
        (span["kind"], span["name"], span["attributes"]["error.type"])
        for span in spans
        if span["attributes"].get("error.type")
    )
    for kind in ("CLIENT", "SERVER"):
        assert errors[kind, "CreateTopics", "TOPIC_ALREADY_EXISTS"] == 1
        assert errors[kind, "SaslAuthenticate", "SASL_AUTHENTICATION_FAILED"] >= 2
    assert errors["PRODUCER", "send small", "MESSAGE_TOO_LARGE"] == 1
    assert errors["SERVER", "send small", "MESSAGE_TOO_LARGE"] == 1
    assert {s["name"] for s in spans if "error.type" not in s["attributes"]} == {
        "CreateTopics", "send logged-in",
    }  # fmt: skip
    # Of logins not even a recording has anything.
    data = zlib.decompressobj(31).decompress(file.read_bytes())
    assert len(data) > 10_000
    for secret in (PASSWORD.encode(), b"wr0ng"):
        assert secret not in data
        assert secret.decode() not in str(spans)


class recorded:
    """``otel-ebpf record`` of these processes into a file."""

    def __init__(self, file: Path, pids: list[int]) -> None:
        words = [word for pid in pids for word in ("--pid", str(pid))]
        self._agent = subprocess.Popen(
            [*agent_command(), "record", *words, str(file)], stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> None:
        assert self._agent.stderr is not None
        for line in self._agent.stderr:
            if "ready" in line:
                return
        raise AssertionError("the recording did not start")

    def __exit__(self, *_: object) -> None:
        self._agent.send_signal(signal.SIGINT)
        self._agent.communicate(timeout=60)


def test_connections_that_are_older_than_the_agent(server: KafkaServer) -> None:
    with started("midway", server) as program:
        assert program.line() == "connected"
        with Agent(pids=[program.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    sent = done(spans, "PRODUCER", "send")["later"]
    assert [linked(span) for span in sent] == [{n} for n in range(2, 7)]
    polls = [s for of in done(spans, "CONSUMER", "poll").values() for s in of]
    # The first may have been asked for before the connection was known.
    assert [linked(span) for span in polls] == [{n} for n in range(7 - len(polls), 7)]
    assert len(polls) in (4, 5)
    # The name of the topic was told before the agent came; its id is told instead.
    assert all(said(s, "destination.name") or s["attributes"]["otel_ebpf.kafka.topic_id"]
               for s in polls)  # fmt: skip
    assert joined(spans) == 5 + len(polls)


def test_no_send_of_a_sender_thread_has_a_wrong_parent(server: KafkaServer) -> None:
    with started("serve", server) as program:
        port = int(program.line())
        with Agent(pids=[program.pid, server.pid]) as agent:

            def ask(path: str) -> None:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}").close()

            # Messages that are sent when their request is over, one request at a time.
            for number in range(1, 41):
                ask(f"later/{number}")
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(ask, [f"now/{number}" for number in range(41, 201)]))
            spans = agent.stop()
    sent = done(spans, "PRODUCER", "send")["served"]
    assert set().union(*map(linked, sent)) == set(range(1, 201))
    for span in sent:
        parent = parent_of(span, spans)
        if parent is not None:
            number = int(parent["attributes"]["url.path"].rsplit("/", 1)[-1])
            assert linked(span) == {number}


def test_gos_clients_and_no_wrong_parent_of_theirs(server: KafkaServer) -> None:
    try:
        program = build_go(GO)
    except RuntimeError as error:
        pytest.skip(str(error))
    with subprocess.Popen([program, server.address], stdout=subprocess.PIPE, text=True) as shop:
        assert shop.stdout is not None
        try:
            port = int(shop.stdout.readline())
            with Agent(pids=[shop.pid, server.pid]) as agent:

                def ask(path: str) -> None:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}").close()

                for way in ("franz", "franz-later", "segmentio"):
                    for number in range(100, 120):
                        ask(f"{way}/{number}")
                    with ThreadPoolExecutor(16) as pool:
                        list(pool.map(ask, [f"{way}/{number}" for number in range(200, 300)]))
                ask("read")
                spans = agent.stop()
        finally:
            shop.kill()
    sent = done(spans, "PRODUCER", "send")
    assert counted(sent) == counted(done(spans, "SERVER", "send"))
    assert counted(sent) == {"franz": 240, "segmentio": 120}
    numbers = {*range(100, 120), *range(200, 300)}
    for topic in sent:
        assert set().union(*map(linked, sent[topic])) == numbers  # franz-go packs by snappy
    for span in (span for of in sent.values() for span in of):
        parent = parent_of(span, spans)
        if parent is not None:
            assert linked(span) == {int(parent["attributes"]["url.path"].rsplit("/", 1)[-1])}
    polls = done(spans, "CONSUMER", "poll")["segmentio"]
    assert 120 <= counted({"": polls})[""] <= 121  # one is older than the agent
    assert {said(span, "consumer.group.name") for span in polls} == {"readers"}


@pytest.mark.parametrize("version", [VERSION, "4.1.0"])
def test_kafkas_own_client_and_the_brokers_counts(
    version: str, request: pytest.FixtureRequest
) -> None:
    home = java_home()
    if home is None:
        pytest.skip("no JDK here")
    if version == VERSION:
        broker = request.getfixturevalue("server")
        _java(broker, version, home)
    else:
        for broker in _server(version):
            _java(broker, version, home)


def _java(broker: KafkaServer, version: str, home: Path) -> None:
    jars = kafka_jars(version)
    classes = build_java(JAVA, home, jars)
    java = subprocess.Popen(
        [home / "bin" / "java", "-cp", os.pathsep.join(map(str, [classes, *jars])), "Shop",
         broker.address, str(broker.jmx)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert java.stdin is not None
    assert java.stdout is not None
    try:
        with Agent("--internal-calls", pids=[java.pid, broker.pid]) as agent:
            java.stdin.write("\n")
            java.stdin.flush()
            before = Counter(json.loads(java.stdout.readline()))
            after = Counter(json.loads(java.stdout.readline()))
            spans = agent.stop()
    finally:
        java.kill()
        java.communicate()
    assert "secret-" not in str(spans)
    # Kafka counts requests, of which one may be of several topics.
    served = Counter(
        name
        for name, _ in {
            (
                {"send": "Produce", "poll": "Fetch"}.get(
                    said(s, "operation.name"), said(s, "operation.name")
                ),
                (s["start_time_unix_nano"], s["attributes"].get("network.peer.port")),
            )
            for s in spans
            if s["kind"] == "SERVER"
        }
    )
    told = after - before
    for call in ("Produce", "Fetch", "JoinGroup", "SyncGroup", "OffsetCommit",
                 "InitProducerId", "EndTxn", "FindCoordinator", "ListOffsets"):  # fmt: skip
        assert served[call] == told[call], call
    sent = done(spans, "PRODUCER", "send")
    assert counted(sent) == {"java": 4, "left": 3, "right": 3, "ledger": 3}
    assert {n for span in sent["left"] for n in linked(span)} == {10, 12, 14}  # gzip
    polls = done(spans, "CONSUMER", "poll")
    # What an aborted transaction wrote is not received.
    assert counted(polls) == {"java": 4, "left": 3, "right": 3, "ledger": 2}
    assert {n for span in polls["ledger"] for n in linked(span)} == {20, 22}
    assert {said(s, "consumer.group.name") for s in polls["java"]} == {"java-readers"}
    names = {s["name"] for s in spans}
    assert {"Metadata", "ApiVersions", "Fetch", "OffsetFetch", "Heartbeat"} & names
