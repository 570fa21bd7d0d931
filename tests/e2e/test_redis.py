"""Redis: a real server and real clients under the real agent."""

from __future__ import annotations

import shutil
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
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAMS = Path(__file__).with_name("redis_programs.py")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


def started(what: str, server: RedisServer) -> Program:
    """One part of redis_programs.py."""
    return Program(PROGRAMS, what, server.port, server.path)


def calls(spans: list[Span], kind: str) -> Counter[str]:
    """Spans of a kind by operation, as commandstats names them."""
    return Counter(
        span["attributes"]["db.operation.name"].lower().replace(" ", "|")
        for span in spans
        if span["kind"] == kind
    )


def told(line: str) -> Counter[str]:
    """commandstats, without what clients do on their own account."""
    stats = {word.split("=")[0]: int(word.split("=")[1]) for word in line.split()}
    return Counter({k: v for k, v in stats.items() if k.split("|")[0] not in ("client", "hello")})


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_every_call_is_a_span_on_either_side(server: RedisServer, way: str) -> None:
    with started(way, server) as program, Agent(pids=[program.pid, server.pid]) as agent:
        program.go()
        stats = told(program.line())
        spans = agent.stop()
    # A script's own calls pass on no connection; INFO counts itself when it is over.
    stats["get"] -= 1
    stats["info"] += 1
    for kind in ("CLIENT", "SERVER"):
        assert calls(spans, kind) == stats
    failed = [s for s in spans if "error.type" in s["attributes"]]
    assert {(s["name"], s["attributes"]["error.type"]) for s in failed} == {("INCRBY", "WRONGTYPE")}
    assert all(s["attributes"]["db.response.status_code"] == "WRONGTYPE" for s in failed)
    assert {s["attributes"]["db.system.name"] for s in spans} == {"redis"}
    assert {s["attributes"]["db.namespace"] for s in spans} == {"0"}
    for client, served in joined(spans, "db.query.text"):
        assert served["start_time_unix_nano"] >= client["start_time_unix_nano"]
    (blocked,) = [s for s in spans if s["name"] == "BLPOP" and s["kind"] == "CLIENT"]
    assert blocked["end_time_unix_nano"] - blocked["start_time_unix_nano"] > 900_000_000
    ports = {s["attributes"].get("server.port") for s in spans}
    assert ports == ({server.port} if way == "tcp" else {None})


def test_calls_of_asyncios_tasks(server: RedisServer) -> None:
    with started("tasks", server) as program, Agent(pids=[program.pid, server.pid]) as agent:
        program.go()
        stats = told(program.line())
        spans = agent.stop()
    stats["info"] += 1
    for kind in ("CLIENT", "SERVER"):
        assert calls(spans, kind) == stats


def test_calls_of_a_thread_that_serves_are_its_requests_children(server: RedisServer) -> None:
    with started("serve", server) as program:
        port = int(program.line())
        with Agent(pids=[program.pid, server.pid]) as agent:

            def ask(n: int) -> bytes:
                way = "unix/" if n & 1 else ""
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{way}{n}") as answer:
                    body: bytes = answer.read()
                return body

            with ThreadPoolExecutor(16) as pool:
                list(pool.map(ask, range(100)))
            spans = agent.stop()
    inbound = [s for s in spans if s["kind"] == "SERVER" and "url.path" in s["attributes"]]
    assert len(inbound) == 100
    gets = [s for s in spans if s["kind"] == "CLIENT" and s["name"] == "GET"]
    assert len(gets) == 100
    for get in gets:
        parent = parent_of(get, spans)
        assert parent is not None
        number = parent["attributes"]["url.path"].rsplit("/", 1)[-1]
        assert get["attributes"]["db.query.text"] == f"GET id-{number}"


def test_a_connection_that_was_joined_midway_is_told_once_it_is_certain(
    server: RedisServer,
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
        assert set(texts) == {"GET k"}


def test_the_command_line_client_its_login_and_the_setting_that_keeps_no_text(
    tmp_path: Path,
) -> None:
    cli = shutil.which("redis-cli")
    if cli is None:
        pytest.skip("no redis-cli here")
    with (
        RedisServer(tmp_path, "--requirepass", "s3cr3t") as server,
        Agent("--db-statement", "off", "--internal-calls", pids=[server.pid]) as agent,
    ):
        command = [cli, "-p", str(server.port), "-n", "3"]
        for password in ("s3cr3t", "wrong"):
            subprocess.run(
                [*command, "-a", password, "SET", "k", "v"], check=True, capture_output=True
            )
        spans = agent.stop()
    named = Counter((s["name"], s["attributes"].get("error.type")) for s in spans)
    assert named["AUTH", None] == 1
    assert named["AUTH", "WRONGPASS"] == 1
    assert named["SET", None] == 1
    assert named["SET", "NOAUTH"] == 1
    good = next(s for s in spans if s["name"] == "SET" and "error.type" not in s["attributes"])
    assert good["attributes"]["db.namespace"] == "3"
    assert "s3cr3t" not in str(spans)
    assert not [s for s in spans if "db.query.text" in s["attributes"]]
