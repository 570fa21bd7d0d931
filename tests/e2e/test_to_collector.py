"""From the kernel to a real Collector: what arrives there is what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.collector import Collector, ReadSpan
from tests.e2e.raw import Connection
from tests.e2e.services import Service
from tests.gobuild import build_go

pytestmark = [
    pytest.mark.kernel,
]
HERE = Path(__file__).resolve().parent
SERVER, CLIENT = 2, 3


@pytest.fixture
def chain() -> Iterator[tuple[Service, Service]]:
    with ExitStack() as stack:
        target = build_go(HERE / "target")
        back = stack.enter_context(
            Service("back", [target], env={"OTEL_SERVICE_NAME": "stock-keeper"})
        )
        front = stack.enter_context(Service("front", [target, "-next", back.url]))
        yield front, back


def environment(collector: Collector, protocol: str) -> dict[str, str]:
    http = protocol == "http/protobuf"
    return {
        **TRUTH_ENV,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": (
            collector.http_endpoint if http else collector.grpc_endpoint
        ),
    }


def tree_of(root: ReadSpan, spans: list[ReadSpan]) -> list[ReadSpan]:
    return sorted(
        (span for span in spans if span["trace_id"] == root["trace_id"]),
        key=lambda span: span["start"],
    )


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_trees_arrive_whole_with_names_resources_and_headers(
    chain: tuple[Service, Service], collector: Collector, protocol: str
) -> None:
    front, back = chain
    count = 20
    with Agent(
        output="otlp", pids=[front.pid, back.pid], env=environment(collector, protocol)
    ) as agent:
        with Connection("127.0.0.1", front.port) as connection:
            for number in range(count):
                connection.get("/hop", {"X-Truth-Id": f"call-{number}"})
        agent.stop()
    spans = collector.wait_spans(3 * count)
    assert len(spans) == 3 * count
    roots = [span for span in spans if not span["parent_span_id"]]
    assert len({root["trace_id"] for root in roots}) == count
    truth = sorted(
        value for root in roots for value in root["attributes"]["http.request.header.x-truth-id"]
    )
    assert truth == sorted(f"call-{number}" for number in range(count))
    for root in roots:
        top, client, server = tree_of(root, spans)
        assert [top["kind"], client["kind"], server["kind"]] == [SERVER, CLIENT, SERVER]
        assert client["parent_span_id"] == top["span_id"]
        assert server["parent_span_id"] == client["span_id"]
        assert top["start"] <= client["start"] <= server["start"] < server["end"]
        assert top["name"] == client["name"] == server["name"] == "GET"
        assert client["attributes"]["server.port"] == back.port
        assert client["attributes"]["url.full"] == f"{back.url}/hello"
        assert server["attributes"]["url.path"] == "/hello"
        assert top["resource"]["process.pid"] == front.pid
        assert server["resource"]["process.pid"] == back.pid
        assert server["resource"]["service.name"] == "stock-keeper"
        assert top["resource"]["service.name"] != "stock-keeper"
        assert top["resource"]["service.instance.id"] != server["resource"]["service.instance.id"]
        assert client["attributes"]["otel_ebpf.parent.rule"]
        assert "otel_ebpf.parent.rule" not in top["attributes"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_traced_collector_shows_no_span_of_the_agents_own_export(
    chain: tuple[Service, Service], collector: Collector, protocol: str
) -> None:
    front, back = chain
    pids = [front.pid, back.pid, collector.pid]
    with Agent(output="otlp", pids=pids, env=environment(collector, protocol)) as agent:
        with Connection("127.0.0.1", front.port) as connection:
            connection.get("/hop")
            collector.wait_spans(3)
            # Whatever the first export had set off would be sent with the second.
            connection.get("/hop")
            collector.wait_spans(6)
        agent.stop()
    spans = collector.spans()
    assert {span["resource"]["process.pid"] for span in spans} == {front.pid, back.pid}
    assert len(spans) == 6


def test_a_collector_that_goes_away_and_comes_back_costs_no_span(
    chain: tuple[Service, Service], collector: Collector
) -> None:
    front, back = chain
    with Agent(
        output="otlp", pids=[front.pid, back.pid], env=environment(collector, "grpc")
    ) as agent:
        with Connection("127.0.0.1", front.port) as connection:
            connection.get("/hop?when=before")
            collector.wait_spans(3)
            collector.stop()
            for number in range(10):
                connection.get(f"/hop?when=away-{number}")
            collector.start()
            connection.get("/hop?when=after")
            spans = collector.wait_spans(36, timeout=40)
        agent.stop()
    assert len({span["span_id"] for span in spans}) == len(spans) == 36


def test_sampling_keeps_whole_trees_or_none(
    chain: tuple[Service, Service], collector: Collector
) -> None:
    front, back = chain
    env = {
        **environment(collector, "grpc"),
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.5",
    }
    with Agent(output="otlp", pids=[front.pid, back.pid], env=env) as agent:
        with Connection("127.0.0.1", front.port) as connection:
            for _ in range(200):
                connection.get("/hop")
        agent.stop()
    spans = collector.spans()
    sizes = Counter(span["trace_id"] for span in spans)
    # 200 fair coins fall outside of 60 to 140 heads once in 60 million times.
    assert 60 <= len(sizes) <= 140
    # A link that is honestly absent tears a tree in two, and each part has a coin of its own.
    absent = sum(n for name, n in agent.ledger.items() if name.startswith("no_parent"))
    torn = [size for size in sizes.values() if size != 3]
    assert len(torn) <= 2 * absent
    assert absent <= 5
