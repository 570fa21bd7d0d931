"""MariaDB: a real server and real clients under the real agent."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.agent import Agent, Span
from tests.e2e.program import Program
from tests.e2e.query import joined, parent_of
from tests.mariadb_server import MariadbServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("mysql_programs.py")
STATISTICS = (
    "SELECT event_name, count_star, sum_errors FROM events_statements_summary_by_user_by_event_name"
    " WHERE user = 'shopper'"
)


@pytest.fixture(scope="module")
def server() -> Iterator[MariadbServer]:
    with MariadbServer("--max-allowed-packet=64M") as running:
        yield running


def started(what: str, server: MariadbServer) -> Program:
    """One part of mysql_programs.py."""
    return Program(PROGRAMS, what, server.port, server.path)


def statistics(server: MariadbServer) -> Counter[tuple[str, str]]:
    """What the server has counted for the program's user: (event, "all" or "errors")."""
    with server.connect(user="root", password="", database="performance_schema") as connection:
        cursor = connection.cursor()
        cursor.execute(STATISTICS)
        counted: Counter[tuple[str, str]] = Counter()
        for name, every, errors in cursor.fetchall():
            kind, _, event = name.removeprefix("statement/").partition("/")
            if kind != "sp" and event not in ("Quit", "Close stmt"):  # these have no answer
                counted[event.lower(), "all"] += every
                counted[event.lower(), "errors"] += errors
    return counted


EVENTS = {
    "PING": "ping",
    "RESET": "reset stmt",
    "CHANGE USER": "change user",
    "PREPARE": "prepare",
    "SET": "set_option",
    "CALL": "call_procedure",
}
"""Operations that the server has other names for."""


def events(span: Span) -> list[str]:
    """What the server counts for a call, by its statements."""
    attributes = span["attributes"]
    operation = attributes["db.operation.name"]
    if operation == "USE":
        return ["init db"]
    if operation == "CONNECT":
        return []
    texts = attributes.get("db.query.text", "").split("; ")
    prepared = " WHERE id = ? AND name <> ?" in texts[0] or "WHERE id > ?" in texts[0]
    if prepared and operation == "SELECT":
        return ["execute"]
    if "db.operation.batch.size" in attributes:
        return [text.split()[0].lower() for text in texts]
    return [EVENTS.get(operation, operation.replace(" ", "_").lower())]


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_every_call_is_a_span_on_either_side(server: MariadbServer, way: str) -> None:
    before = statistics(server)
    with (
        started(way, server) as program,
        Agent("--internal-calls", pids=[program.pid, server.pid]) as agent,
    ):
        program.go()
        assert program.line() == '"over"'
        program.process.wait(30)
        spans = agent.stop()
    counted = statistics(server) - before
    assert "s3cr3t" not in str(spans)
    assert {s["attributes"]["db.system.name"] for s in spans} == {"mariadb"}
    for kind in ("CLIENT", "SERVER"):
        seen: Counter[tuple[str, str]] = Counter()
        for span in spans:
            if span["kind"] == kind:
                for event in events(span):
                    seen[event, "all"] += 1
                    seen[event, "errors"] += "error.type" in span["attributes"]
        assert +seen == +counted, kind
    failed = Counter(
        (s["kind"], s["name"], s["attributes"]["error.type"], s["status"]["message"])
        for s in spans
        if "error.type" in s["attributes"]
    )
    assert failed == Counter(
        {
            (kind, name, code, f"SQLSTATE {state}"): 1
            for kind in ("CLIENT", "SERVER")
            for name, code, state in (
                ("SELECT nowhere", "1146", "42S02"),
                ("PREPARE SELECT never", "1146", "42S02"),
                ("INSERT items", "1062", "23000"),
            )
        }
    )
    names = {
        s["attributes"]["db.query.text"]: s for s in spans if "db.query.text" in s["attributes"]
    }
    assert names["SELECT ? AS there"]["attributes"]["db.namespace"] == "mysql"
    assert names["SELECT * FROM items"]["attributes"]["db.namespace"] == "shop"
    assert names["CALL `twice`()"]["attributes"]["db.stored_procedure.name"] == "twice"
    assert names["SET PASSWORD FOR someone = PASSWORD(?)"]
    for client, served in joined(spans, "db.query.text"):
        assert int(served["start_time_unix_nano"]) >= int(client["start_time_unix_nano"])
        assert int(served["end_time_unix_nano"]) <= int(client["end_time_unix_nano"])


def test_calls_of_a_thread_that_serves_are_its_requests_children(server: MariadbServer) -> None:
    with started("serve", server) as program:
        port = int(program.line())
        with Agent(pids=[program.pid, server.pid]) as agent:

            def ask(n: int) -> bytes:
                way = "unix/" if n & 1 else ""
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{way}{n}") as answer:
                    body: bytes = answer.read()
                return body

            with ThreadPoolExecutor(16) as pool:
                assert list(pool.map(ask, range(64))) == [str(n).encode() for n in range(64)]
            spans = agent.stop()
    selects = [s for s in spans if s["kind"] == "CLIENT" and s["name"] == "SELECT"]
    assert len(selects) == 64
    for select in selects:
        parent = parent_of(select, spans)
        assert parent is not None
        number = parent["attributes"]["url.path"].rsplit("/", 1)[-1]
        assert select["attributes"]["db.query.text"] == f"SELECT ? AS row_{number}"


def test_a_connection_that_was_joined_midway_is_told_once_it_is_certain(
    server: MariadbServer,
) -> None:
    with started("midway", server) as program:
        assert program.line() == "connected"
        with Agent(pids=[program.pid, server.pid]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    for kind in ("CLIENT", "SERVER"):
        texts = [s["attributes"]["db.query.text"] for s in spans if s["kind"] == kind]
        assert 3 <= len(texts) <= 5
        assert set(texts) == {"SELECT ? AS later"}


def test_logins_and_what_they_say(server: MariadbServer) -> None:
    """mysql_native_password and ed25519; compression is recognised, and said."""
    with (
        started("logins", server) as program,
        Agent("--internal-calls", "--db-statement", "off", pids=[program.pid, server.pid]) as agent,
    ):
        program.go()
        assert program.line() == '"over"'
        spans = agent.stop()
    named = Counter(
        (s["kind"], s["attributes"].get("error.type")) for s in spans if s["name"] == "CONNECT"
    )
    assert named == Counter(
        {(kind, code): n for kind in ("CLIENT", "SERVER") for code, n in ((None, 3), ("1045", 2))}
    )
    for secret in ("s3cr3t", "wr0ng", "modern", "shopper"):
        assert secret not in str(spans)
    assert not [s for s in spans if "db.query.text" in s["attributes"]]
    assert agent.ledger["compressed_connections_left_out"] == 2
    assert "compressed" in agent.errors
