"""WebSocket between real programs, and through nginx: one long span on either side."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.agent import Agent, Span
from tests.e2e.http2_programs import Caller
from tests.e2e.proxied import front
from tests.e2e.query import parent_of, path_of, seconds_of
from tests.e2e.services import Service
from tests.nodes import npm_packages
from tests.pythons import python_with

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("websocket_programs.py")
NODE = Path(__file__).with_name("websocket_node.js")
PACKAGES = ("aiohttp>=3.10,<4", "websockets>=15,<17")
LONG = 30 * 3000


def server(library: str) -> Service:
    if library == "node":
        modules = npm_packages(("ws@8",))
        if modules is None:
            pytest.skip("needs npm")
        return Service("node", [shutil.which("node") or "", NODE], env={"NODE_PATH": str(modules)})
    return Service(library, [python_with(PACKAGES), PROGRAMS, "server", library])


def client(library: str, port: int, path: str) -> Caller:
    return Caller([python_with(PACKAGES), PROGRAMS, "client", library, str(port), path])


def told(span: Span, way: str) -> tuple[int, int]:
    """Messages and bytes."""
    attributes = span["attributes"]
    name = f"otel_ebpf.websocket.{way}"
    return attributes[f"{name}.messages"], attributes[f"{name}.bytes"]


def sockets(spans: list[Span], path: str) -> list[Span]:
    """Those of a path, each the child of the request that asked for it."""
    found = [s for s in spans if s["name"] == "websocket" and path_of(s) == path]
    for span in found:
        assert span["attributes"]["otel_ebpf.parent.rule"] == "upgrade"
        assert span["attributes"]["network.protocol.name"] == "websocket"
        asked = parent_of(span, spans)
        assert asked is not None
        assert asked["attributes"]["http.response.status_code"] == 101
        assert (asked["kind"], path_of(asked)) == (span["kind"], path)
        assert asked["resource"] == span["resource"]
        assert int(span["start_time_unix_nano"]) >= int(asked["end_time_unix_nano"])
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [("websockets", "websockets"), ("aiohttp", "aiohttp"), ("node", "websockets")],
)
def test_both_sides_have_a_span_with_the_same_counts(one: str, other: str) -> None:
    with (
        server(one) as service,
        client(other, service.port, "/chat") as caller,
        Agent(pids=[service.pid, caller.pid]) as agent,
    ):
        for word, count in (("talk", 10), ("fail", 1), ("drop", 1)):
            assert caller.call(word, str(count)) == []
        agent.wait_spans(12)
        spans = agent.stop()
    assert Counter((s["kind"], s["name"]) for s in spans) == {
        (kind, name): 3 for kind in ("CLIENT", "SERVER") for name in ("GET", "websocket")
    }
    paths = {"talk": (10, None), "fail": (2, "1011"), "drop": (1, "connection_closed")}
    assert len({s["trace_id"] for s in spans}) == 3
    for path, (count, error) in paths.items():
        pair = sockets(spans, f"/chat/{path}")
        asker, answerer = sorted(pair, key=lambda s: s["kind"])
        assert told(asker, "sent") == told(answerer, "received"), (answerer, agent.ledger)
        assert told(asker, "received") == told(answerer, "sent")
        assert told(asker, "sent")[0] == count
        assert told(asker, "received")[0] == count - (path == "fail")
        if other != "aiohttp":  # which compresses
            assert told(asker, "received")[1] == {10: 4 * LONG + 6 * 30, 2: LONG, 1: LONG}[count]
        for span in pair:
            attributes = span["attributes"]
            assert "otel_ebpf.websocket.counts" not in attributes
            assert attributes.get("error.type") in (error, "connection_reset" if error else None)
            assert attributes.get("otel_ebpf.websocket.close_code") == {
                "talk": 1000, "fail": 1011, "drop": None}[path]  # fmt: skip
        assert asker["attributes"]["url.full"].startswith(f"ws://127.0.0.1:{service.port}/chat")
        assert answerer["attributes"]["url.scheme"] == "ws"
    for reason in ("desyncs", "gaps", "segments_of_unknown_protocol"):
        assert agent.ledger.get(reason, 0) == 0, (reason, agent.ledger)


@contextmanager
def proxy(port: int, home: Path) -> Iterator[tuple[int, int]]:
    """nginx before a WebSocket server; its pid and port."""
    text = f"""location / {{
      proxy_pass http://127.0.0.1:{port};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }}"""
    with front(home, "", text) as nginx:
        yield nginx.pid, nginx.port


@pytest.mark.parametrize("number", [5, 20])
def test_through_nginx_each_hop_has_its_own(tmp_path: Path, number: int) -> None:
    """Twenty at once move more within some 40 ms than the rings hold: what is lost then is told."""
    due = 8 * number
    with (
        server("websockets") as service,
        proxy(service.port, tmp_path) as (nginx, port),
        client("websockets", port, "/chat") as caller,
        Agent(pids=[service.pid, nginx, caller.pid]) as agent,
    ):
        assert caller.call("many", str(number)) == []
        if number == 5:
            agent.wait_spans(due, 60)
        spans = agent.stop()
    assert len(spans) + agent.ledger.get("requests_in_flight_at_end", 0) == due, agent.ledger
    if number == 20 and agent.ledger["records_lost"]:
        return
    assert agent.ledger["records_lost"] == 0
    for each in range(number):
        path = f"/chat/{each}"
        four = sockets(spans, path)
        assert Counter((s["kind"], s["resource"]["process.pid"]) for s in four) == {
            ("CLIENT", caller.pid): 1,
            ("SERVER", nginx): 1,
            ("CLIENT", nginx): 1,
            ("SERVER", service.pid): 1,
        }
        assert len({s["trace_id"] for s in four}) == 1
        for span in four:
            ways = ("sent", "received") if span["kind"] == "CLIENT" else ("received", "sent")
            assert [told(span, way) for way in ways] == [(5, 2 * LONG + 3 * 30)] * 2
            assert span["attributes"]["otel_ebpf.websocket.close_code"] == 1000
            assert span["status"]["code"] == "UNSET"
    for span in spans:
        asked = parent_of(span, spans)
        if span["resource"]["process.pid"] == nginx and span["kind"] == "CLIENT":
            assert asked is not None
            assert asked["resource"]["process.pid"] == nginx


def test_it_lasts_as_long_as_the_connection(tmp_path: Path) -> None:
    with (
        server("aiohttp") as service,
        client("websockets", service.port, "/one") as caller,
        Agent(pids=[service.pid, caller.pid]) as agent,
    ):
        assert caller.call("slow", "3") == []
        agent.wait_spans(4)
        spans = agent.stop()
    for span in sockets(spans, "/one/slow"):
        assert seconds_of(span) > 0.9
        asked = parent_of(span, spans)
        assert asked is not None
        assert seconds_of(asked) < 0.9
