"""PostgreSQL: a real server and real clients under the real agent."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otel_ebpf.protocols.sql import sanitize
from tests.e2e.agent import Agent, Span
from tests.e2e.program import Program
from tests.e2e.query import joined, parent_of
from tests.postgresql_server import PASSWORD, PostgresqlServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("postgresql_programs.py")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer() as running:
        yield running


def started(what: str, server: PostgresqlServer) -> Program:
    """One part of postgresql_programs.py."""
    return Program(PROGRAMS, what, server.remote, server.local)


def normal(text: str) -> str:
    """Our text and pg_stat_statements', which differ in how parameters are named."""
    return re.sub(r"\$\d+", "?", sanitize(text.encode()).text).replace("(?, ?)", "(?)")


def calls(spans: list[Span], kind: str) -> Counter[str]:
    """Calls that succeeded, by their text."""
    return Counter(
        normal(span["attributes"]["db.query.text"])
        for span in spans
        if span["kind"] == kind and "error.type" not in span["attributes"]
    )


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_every_call_is_a_span_on_either_side(server: PostgresqlServer, way: str) -> None:
    with started(way, server) as program, Agent(pids=[program.pid, server.pid]) as agent:
        program.go()
        told = program.line()
        program.process.wait(30)
        spans = agent.stop()
    assert "s3cr3t" not in str(spans)
    stats = Counter({normal(query): count for query, count in json.loads(told).items()})
    # It does not count itself before it is over, nor what was before it was reset.
    stats["SELECT query, calls FROM pg_stat_statements"] += 1
    stats["DROP TABLE IF EXISTS items"] += 1
    for kind in ("CLIENT", "SERVER"):
        assert calls(spans, kind) == stats
    failed = Counter(
        (s["kind"], s["name"], s["attributes"]["error.type"])
        for s in spans
        if "error.type" in s["attributes"]
    )
    assert failed == Counter(
        {
            (kind, name, code): 1
            for kind in ("CLIENT", "SERVER")
            for name, code in (("SELECT nowhere", "42P01"), ("INSERT items", "23505"))
        }
    )
    assert {s["attributes"]["db.namespace"] for s in spans} == {"postgres"}
    inserts = [s for s in spans if s["name"] == "INSERT items" and s["kind"] == "CLIENT"]
    assert {s["attributes"]["db.collection.name"] for s in inserts} == {"items"}
    joined(spans, "db.query.text")


def test_calls_of_a_thread_that_serves_are_its_requests_children(server: PostgresqlServer) -> None:
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
    server: PostgresqlServer,
) -> None:
    with started("midway", server) as program:
        assert program.line() == "connected"
        backends = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        with Agent(pids=[program.pid, *map(int, backends)]) as agent:
            program.go()
            assert program.line() == "done"
            spans = agent.stop()
    for kind in ("CLIENT", "SERVER"):
        texts = [s["attributes"]["db.query.text"] for s in spans if s["kind"] == kind]
        assert 3 <= len(texts) <= 5
        assert set(texts) == {"SELECT ? AS later"}


def test_logins_that_fail_and_the_setting_that_keeps_no_text(server: PostgresqlServer) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql here")
    with Agent("--db-statement", "off", "--internal-calls", pids=[server.pid]) as agent:
        where = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-d", "postgres"]
        for password in (PASSWORD, "wr0ng"):
            env = {**os.environ, "PGPASSWORD": password, "PGSSLMODE": "prefer"}
            subprocess.run(
                [psql, *where, "-c", f"ALTER USER postgres PASSWORD '{PASSWORD}'"],
                env=env,
                capture_output=True,
            )
        spans = agent.stop()
    named = Counter((s["name"], s["attributes"].get("error.type")) for s in spans)
    assert named == Counter(
        {("CONNECT", None): 1, ("CONNECT", "28P01"): 1, ("ALTER USER postgres", None): 1}
    )
    assert PASSWORD not in str(spans)
    assert "wr0ng" not in str(spans)
    assert not [s for s in spans if "db.query.text" in s["attributes"]]
