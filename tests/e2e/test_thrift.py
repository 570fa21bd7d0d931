"""Thrift: a real server and three client libraries, under the real agent."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.agent import Agent, Span
from tests.e2e.program import Program
from tests.e2e.query import joined, parent_of
from tests.thrift_code import IDL, generated, go_client, python

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("thrift_programs.py")
CARRIED = "b7ad6b7169203331"
"""The parent that the client with THeader names."""
CALLS = {"price": 5, "ping": 2, "note": 1, "many": 2, "absent": 1}
"""What ``calls`` of thrift_programs.py calls, without a row of requests."""
ROWS = {"framed", "buffered", "framed-compact", "buffered-compact"}
"""Ways of which a row of requests is sent before an answer is read."""
GO_WAYS = ("framed", "buffered", "buffered-compact", "header")


class ThriftProgram(Program):
    """One part of thrift_programs.py."""

    def __init__(self, what: str, *words: object) -> None:
        super().__init__(PROGRAMS, generated("py"), IDL, what, *words, python=python())


class GoProgram(Program):
    """The client in Go."""

    def __init__(self, number: int, *words: object) -> None:
        self.process = subprocess.Popen(
            [go_client(), str(number), *map(str, words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self.process.pid


class Server(ThriftProgram):
    """Attributes: ports, by kind."""

    def __init__(self) -> None:
        super().__init__("serve")
        self.ports: dict[str, int] = json.loads(self.line())

    def counts(self) -> Counter[str]:
        """Calls by method, as it counts them itself."""
        self.go()
        return Counter(json.loads(self.line()))

    def words(self, *kinds: str) -> list[str]:
        return [f"{kind}={self.ports[kind]}" for kind in kinds or self.ports]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    with running:
        yield running


def counted(spans: list[Span], kind: str) -> Counter[str]:
    return Counter(span["attributes"]["rpc.method"] for span in spans if span["kind"] == kind)


def alike(spans: list[Span]) -> None:
    """Each view of a server's has that of its client as parent, and both say the same; but for
    those that carry their parent."""
    spans = [s for s in spans if s["parent_span_id"] != CARRIED]
    joined(spans, "error.type", "rpc.method", "rpc.response.status_code")


def run(programs: list[Program], server: Server) -> list[Span]:
    """The spans of what they do, one after another."""
    with Agent(pids=[server.pid, *(program.pid for program in programs)]) as agent:
        for program in programs:
            program.go()
            assert program.line() == "done"
        return agent.stop()


def test_every_call_is_a_span_on_either_side_whatever_the_way(server: Server) -> None:
    before = server.counts()
    with ThriftProgram("calls", *server.words()) as program:
        spans = run([program], server)
    told = server.counts() - before
    alike(spans)
    for kind in ("CLIENT", "SERVER"):
        found = counted(spans, kind)
        simple = Counter({m: n for m, n in found.items() if "/" not in m})
        named = Counter({m.partition("/")[2]: n for m, n in found.items() if "/" in m})
        assert set(named) == set(CALLS) and named == CALLS
        assert simple.pop("absent") == named.pop("absent") * (len(server.ports) - 1)
        assert simple + named == told
    assert "secret" not in str(spans)
    assert {s["attributes"]["rpc.system.name"] for s in spans} == {"thrift"}
    ends: dict[int, Counter[str]] = {}
    for span in (s for s in spans if s["kind"] == "CLIENT"):
        port = span["attributes"]["server.port"]
        error = span["attributes"].get("error.type", "")
        ends.setdefault(port, Counter())[error] += 1
    for kind, port in server.ports.items():
        rows = kind in ROWS
        assert ends[port] == {
            "": 8 + 2 * rows,
            "exception": 1 + rows,
            "INTERNAL_ERROR": 1,
            "UNKNOWN_METHOD": 1,
        }
    carried = [s for s in spans if s["parent_span_id"] == CARRIED]
    assert {s["attributes"]["server.port"] for s in carried} == {server.ports["header"]}
    # The library sends the pairs with the next call alone.
    assert {s["kind"] for s in carried} == {"CLIENT", "SERVER"}
    assert len(carried) == 2


def test_other_libraries(server: Server) -> None:
    before = server.counts()
    ways = [(way, f"127.0.0.1:{server.ports[way]}") for way in GO_WAYS]
    with (
        ThriftProgram("other", *server.words("framed", "buffered-compact")) as program,
        GoProgram(5, *(word for way in ways for word in way)) as go,
    ):
        spans = run([program, go], server)
    told = server.counts() - before
    for kind in ("CLIENT", "SERVER"):
        assert counted(spans, kind) == told
    alike(spans)
    # Go's library asks for an answer where there will be none: that is no failure.
    failed = [s for s in spans if "error.type" in s["attributes"]]
    assert {(s["name"], s["attributes"]["error.type"]) for s in failed} == {("price", "exception")}
    assert len(failed) == told["price"]


def test_calls_of_a_thread_that_serves_are_its_requests_children(server: Server) -> None:
    with ThriftProgram("front", server.ports["framed"], "framed") as program:
        port = int(program.line())
        with Agent(pids=[program.pid]) as agent:

            def ask(number: int) -> None:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/item{number}").close()

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(ask, range(50)))
            spans = agent.stop()
    calls = [s for s in spans if s["kind"] == "CLIENT"]
    assert len(calls) == 100
    by_parent: Counter[str] = Counter()
    for call in calls:
        parent = parent_of(call, spans)
        assert parent is not None and parent["kind"] == "SERVER"
        assert int(parent["start_time_unix_nano"]) <= int(call["start_time_unix_nano"])
        assert int(parent["end_time_unix_nano"]) >= int(call["end_time_unix_nano"])
        by_parent[parent["span_id"]] += 1
    assert set(by_parent.values()) == {2}


def test_connections_older_than_the_agent(server: Server) -> None:
    """Where calls have no numbers, silences show that nothing else was under way."""
    with ThriftProgram("midway", server.ports["buffered"], "buffered") as program:
        assert program.line() == "connected"
        spans = run([program], server)
    for kind in ("CLIENT", "SERVER"):
        assert counted(spans, kind)["ping"] >= 1
    alike(spans)
