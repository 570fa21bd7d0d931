"""Kinds of connections: kept alive, pipelined, IPv6, older than the agent, short-lived."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.agent import Agent
from tests.e2e.query import only, parent_of, select
from tests.e2e.raw import Connection
from tests.e2e.services import Service, python_command
from tests.gobuild import build_go

pytestmark = [
    pytest.mark.kernel,
]
HERE = Path(__file__).resolve().parent


@pytest.fixture
def target() -> Iterator[Service]:
    with Service("target", [build_go(HERE / "target")]) as service:
        yield service


def test_every_request_of_a_kept_connection_is_a_span_of_its_own(target: Service) -> None:
    with Agent(pids=[target.pid]) as agent, Connection("127.0.0.1", target.port) as connection:
        for number in range(50):
            assert connection.get(f"/hello?n={number}")[0] == 200
        spans = agent.stop()
        port = connection.local_port
    found = select(spans, "SERVER", "/hello")
    assert [span["attributes"]["url.query"] for span in found] == [f"n={n}" for n in range(50)]
    assert len({span["trace_id"] for span in found}) == 50
    for span in found:
        attributes = span["attributes"]
        assert attributes["http.request.method"] == "GET"
        assert attributes["http.response.status_code"] == 200
        assert attributes["url.scheme"] == "http"
        assert attributes["network.protocol.version"] == "1.1"
        assert attributes["network.peer.address"] == "127.0.0.1"
        assert attributes["network.peer.port"] == port
        assert span["name"] == "GET"


def test_pipelined_requests_pair_with_their_responses_in_order(target: Service) -> None:
    codes = [200, 404, 503, 201]
    with Agent(pids=[target.pid]) as agent, Connection("127.0.0.1", target.port) as connection:
        for code in codes:
            connection.send(f"/status?code={code}")
        assert [connection.receive()[0] for _ in codes] == codes
        spans = agent.stop()
    found = {
        span["attributes"]["url.query"]: span["attributes"]["http.response.status_code"]
        for span in select(spans, "SERVER", "/status")
    }
    assert found == {f"code={code}": code for code in codes}


def test_a_server_error_is_an_error_and_a_missing_page_is_not(target: Service) -> None:
    with Agent(pids=[target.pid]) as agent, Connection("127.0.0.1", target.port) as connection:
        connection.get("/status?code=503")
        connection.get("/no-such-page")
        spans = agent.stop()
    failed = only(spans, "SERVER", "/status")
    assert failed["status"]["code"] in {2, "ERROR"}
    assert failed["attributes"]["error.type"] == "503"
    missing = only(spans, "SERVER", "/no-such-page")
    assert missing["status"]["code"] in {0, "UNSET"}
    assert missing["attributes"]["http.response.status_code"] == 404


@pytest.mark.parametrize(
    ("listen", "connect", "family"),
    [
        ("[::1]:0", "::1", "ipv6"),
        # A dual-stack socket: the kernel calls the peer ::ffff:127.0.0.1.
        ("[::]:0", "127.0.0.1", "ipv4"),
        ("0.0.0.0:0", "127.0.0.1", "ipv4"),
    ],
)
def test_addresses_of_both_families_and_v4_mapped(listen: str, connect: str, family: str) -> None:
    with ExitStack() as stack:
        service = Service("target", [build_go(HERE / "target"), "-listen", listen])
        stack.enter_context(service)
        with Agent(pids=[service.pid]) as agent:
            with Connection(connect, service.port) as connection:
                connection.get("/hello")
                port = connection.local_port
            spans = agent.stop()
    span = only(spans, "SERVER", "/hello")
    assert span["attributes"]["network.peer.address"] == connect
    assert span["attributes"]["network.peer.port"] == port
    assert span["attributes"].get("network.type", family) == family


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_client_and_server_spans_join_over_either_family(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    target = build_go(HERE / "target")
    with ExitStack() as stack:
        back = stack.enter_context(Service("back", [target, "-listen", f"{host}:0"]))
        next_url = f"http://{host}:{back.port}"
        front = stack.enter_context(Service("front", [target, "-next", next_url]))
        with Agent(pids=[front.pid, back.pid]) as agent:
            for _ in range(5):
                front.get("/hop")
            spans = agent.stop()
    servers = select(spans, "SERVER", "/hello", back.pid)
    assert len(servers) == 5
    for server in servers:
        client = parent_of(server, spans)
        assert client is not None
        assert client["kind"] == "CLIENT"
        root = parent_of(client, spans)
        assert root is not None
        assert root["resource"]["process.pid"] == front.pid


def test_a_v4_mapped_server_joins_with_its_ipv4_client() -> None:
    target = build_go(HERE / "target")
    with ExitStack() as stack:
        back = stack.enter_context(Service("back", [target, "-listen", "[::]:0"]))
        next_url = f"http://127.0.0.1:{back.port}"
        front = stack.enter_context(Service("front", [target, "-next", next_url]))
        with Agent(pids=[front.pid, back.pid]) as agent:
            front.get("/hop")
            spans = agent.stop()
    server = only(spans, "SERVER", "/hello")
    client = parent_of(server, spans)
    assert client is not None
    assert client["kind"] == "CLIENT"


@pytest.mark.parametrize("language", ["go", "python"])
def test_connections_older_than_the_agent_work_from_their_next_message(language: str) -> None:
    command: list[str | Path] = [build_go(HERE / "target")]
    if language == "python":
        command = [*python_command(HERE / "target.py")]
    with Service("target", command) as service, ExitStack() as stack:
        connections = [
            stack.enter_context(Connection("127.0.0.1", service.port)) for _ in range(10)
        ]
        ports = {connection.local_port for connection in connections}
        for connection in connections:
            connection.get("/hello?when=before")
        with Agent(pids=[service.pid]) as agent:
            for connection in connections:
                for number in range(3):
                    connection.get(f"/hello?when=after-{number}")
            spans = agent.stop()
    found = select(spans, "SERVER", "/hello")
    assert len(found) == 30
    assert {s["attributes"]["network.peer.port"] for s in found} == ports
    assert not [s for s in found if "before" in s["attributes"]["url.query"]]


def test_a_pooled_client_connection_older_than_the_agent_still_joins_its_server() -> None:
    target = build_go(HERE / "target")
    with ExitStack() as stack:
        back = stack.enter_context(Service("back", [target]))
        front = stack.enter_context(Service("front", [target, "-next", back.url]))
        front.get("/hop")
        with Agent(pids=[front.pid, back.pid]) as agent:
            for _ in range(10):
                front.get("/hop")
            spans = agent.stop()
    servers = select(spans, "SERVER", "/hello", back.pid)
    assert len(servers) == 10
    roots = {span["span_id"] for span in select(spans, "SERVER", "/hop", front.pid)}
    for server in servers:
        client = parent_of(server, spans)
        assert client is not None
        # The caller may be unknown for such a connection; another's it may never be.
        assert client["parent_span_id"] in roots | {""}
    given = [client["parent_span_id"] for client in select(spans, "CLIENT") if client]
    known = [parent for parent in given if parent]
    assert len(set(known)) == len(known)


@pytest.mark.parametrize("language", ["go", "python"])
def test_200_rapid_short_connections_are_200_spans(language: str) -> None:
    command: list[str | Path] = [build_go(HERE / "target")]
    if language == "python":
        command = [*python_command(HERE / "target.py")]
    with Service("target", command) as service, Agent(pids=[service.pid]) as agent:

        def work(first: int) -> None:
            for number in range(first, 200, 4):
                with Connection("127.0.0.1", service.port) as connection:
                    connection.get(f"/hello?n={number}", {"Connection": "close"})

        threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spans = agent.stop()
    found = select(spans, "SERVER", "/hello")
    assert sorted(int(s["attributes"]["url.query"][2:]) for s in found) == list(range(200))
    assert not [span for span in found if span["parent_span_id"]]


def test_a_reset_in_the_middle_of_an_answer_is_an_error(target: Service) -> None:
    with Agent(pids=[target.pid]) as agent:
        connection = Connection("127.0.0.1", target.port)
        connection.send("/big?bytes=200000000")
        connection.socket.recv(4096)
        connection.close()  # with bytes unread: the kernel resets it
        spans = agent.wait_spans(1)
        agent.stop()
    span = only(spans, "SERVER", "/big")
    assert span["status"]["code"] in {2, "ERROR"}
    assert span["attributes"]["error.type"]
