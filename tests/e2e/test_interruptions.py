"""Every protocol is spoken while the agent ends, is killed and begins again, and while the
Collector is away: no span is wrong, nothing is lost in silence, and connections that were there
before are followed again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest

from tests.accuracy.mix_hosts import SERVERS, Place
from tests.accuracy.mixing import (
    CLIENT,
    ENV,
    SERVER,
    Made,
    Speaker,
    Verdict,
    asked,
    hosts,
    judge,
    protocol_of,
    side_of,
)
from tests.e2e.agent import Agent, Span
from tests.e2e.collector import Collector, ReadSpan

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

PACE, THREADS = 20, 2
ENOUGH = 20 * len(SERVERS)
"""Spans."""
MIDWAY = {
    "nats": ("PRODUCER publish ", "SERVER publish "),
    "grpc": ("CLIENT grpc ", "SERVER grpc "),
}
"""What else they say: answers to requests that were not seen, and methods that are named by what
was not seen."""
KINDS = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
STATUS = {0: "UNSET", 2: "ERROR"}


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Place]]:
    with ExitStack() as stack:
        yield hosts(stack, list(SERVERS))


@contextmanager
def speaking(places: Mapping[str, Place]) -> Iterator[dict[str, Speaker]]:
    """All of them, prepared, until they are told to end."""
    with ExitStack() as stack:
        speakers = {
            name: stack.enter_context(
                Speaker("accuracy.mix_speakers", name, place.called, 0, THREADS, PACE)
            )
            for name, place in places.items()
        }
        for speaker in speakers.values():
            speaker.await_prepared()
        for speaker in speakers.values():
            speaker.go()
        yield speakers


def ended(speakers: Mapping[str, Speaker]) -> dict[str, list[Made]]:
    """What they have said."""
    for speaker in speakers.values():
        speaker.go()
    return {name: speaker.calls() for name, speaker in speakers.items()}


def agent(places: Mapping[str, Place], output: str = "json", **env: str) -> Agent:
    flags = [word for place in places.values() for word in ("--port", str(place.port))]
    return Agent(*flags, output=output, env={**ENV, **env})


def followed(spans: list[Span]) -> bool:
    """Each protocol is, by both sides."""
    found = {(protocol_of(span), side_of(span)) for span in spans if asked(span)}
    return found >= {(n, s) for n in SERVERS for s in (CLIENT, SERVER)}


def test_an_agent_that_begins_among_calls_gives_no_wrong_span(places: dict[str, Place]) -> None:
    ports = {place.port: name for name, place in places.items()}
    with speaking(places) as speakers:
        with agent(places) as first:
            first.wait_spans(followed, 60)
            heard = [first.stop(60)]
        with agent(places) as second:
            second.wait_spans(followed, 60)
            second.kill()
            # Its last line may be cut short.
            heard.append([json.loads(line) for line in second.output.split("\n")[:-1]])
        with agent(places) as third:
            third.wait_spans(followed, 60)
            made = ended(speakers)
            heard.append(third.stop(60))
    for spans in heard:
        for name, verdict in judge(spans, ports, made).items():
            assert not verdict.wrong, (name, verdict.wrong[:5])
            # As the agent begins and ends, it may see a call and not its answer, and says so.
            assert len(verdict.lost) <= 3 * THREADS, (name, verdict.lost)
            assert set(verdict.others) <= {*MIDWAY.get(name, ())}, (name, verdict.others)
            assert max(verdict.seen.values(), default=0) <= 1, name
            assert verdict.spans(CLIENT) and verdict.spans(SERVER), (name, len(spans))


def plain(span: ReadSpan) -> Span:
    """As the agent prints it."""
    return {
        "name": span["name"],
        "kind": KINDS[span["kind"]],
        "start_time_unix_nano": span["start"],
        "end_time_unix_nano": span["end"],
        "attributes": span["attributes"],
        "status": {"code": STATUS[span["status"]]},
        "links": [{"trace_id": trace} for trace in span["links"]],
    }


def test_a_collector_that_was_away_gets_all_spans(
    places: dict[str, Place], collector: Collector
) -> None:
    ports = {place.port: name for name, place in places.items()}
    where = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_endpoint,
    }
    with agent(places, "otlp", **where) as running, speaking(places) as speakers:
        collector.wait_spans(ENOUGH, 60)
        collector.stop()
        running.wait_said("sent again", 60)
        collector.start()
        known = len(collector.spans())
        collector.wait_spans(known + ENOUGH, 60)
        made = ended(speakers)
        running.stop(60)
    lost = running.ledger["records_lost"] + running.ledger["spans_dropped"]
    said: dict[str, Verdict] = judge(map(plain, collector.spans()), ports, made)
    assert not lost, running.ledger
    for name, verdict in said.items():
        assert verdict.right, (name, verdict.missing()[:5], verdict.wrong[:5], verdict.others)
