"""Go's database clients with real servers: the request for which each call is made."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.e2e.agent import Agent
from tests.e2e.query import Span, select
from tests.e2e.services import TESTS, Service
from tests.gobuild import build_go
from tests.mariadb_server import PASSWORD as MARIADB_PASSWORD
from tests.mariadb_server import MariadbServer
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.redis_server import RedisServer

SOURCE = TESTS / "targets" / "go" / "databases"
OLD_REDIS, PQ = "github.com/go-redis/redis/v8", "github.com/lib/pq"
MODULES = {
    "github.com/redis/go-redis/v9": "v9.23.0",
    "github.com/jackc/pgx/v5": "v5.12.0",
    PQ: "v1.12.3",
}
OLD_MODULES = {OLD_REDIS: "v8.11.4", PQ: "v1.10.9"}
MYSQL = {"github.com/go-sql-driver/mysql": "v1.9.3"}
MODES = ("seq", "go", "pool", "poolnone")
REQUESTS, CALLS = 24, 3
SILENCE = 0.03
"""Seconds after which a connection that is older than the agent is believed to be quiet."""


@pytest.fixture(scope="module")
def program() -> Path:
    return build_go(SOURCE, requires=MODULES, language="1.21")


@pytest.fixture(scope="module")
def mysql_program() -> Path:
    return build_go(SOURCE, flags=("-tags=mysql",), requires=MODULES | MYSQL, language="1.21")


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariadbServer]:
    with MariadbServer() as server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresqlServer]:
    with PostgresqlServer() as server:
        yield server


def _wanted(span: Span) -> str:
    """The request that a call names in its text: "MODE.NUMBER"; "" where it names none."""
    found = re.search(r"([a-z]+\.\d+)_\d+", span["attributes"].get("db.query.text", ""))
    return found[1] if found else ""


def judge(spans: list[Span], pid: int) -> Counter[tuple[str, str]]:
    """(mode, verdict) of each call that names its request; the verdict is a rule if it is right."""
    ids = {
        (s["trace_id"], s["span_id"]): parse_qs(s["attributes"]["url.query"])["id"][0]
        for s in select(spans, "SERVER", "/call", pid)
    }
    said: Counter[tuple[str, str]] = Counter()
    for span in spans:
        wanted = _wanted(span)
        if span["kind"] != "CLIENT" or not wanted:
            continue
        parent = ids.get((span["trace_id"], span["parent_span_id"]))
        verdict = "absent" if not span["parent_span_id"] else "wrong"
        if parent == wanted:
            verdict = span["attributes"]["otel_ebpf.parent.rule"]
        said[wanted.partition(".")[0], verdict] += 1
    return said


def get(front: Service, name: str, db: str, calls: int = CALLS) -> None:
    """One request, named "MODE.NUMBER"."""
    front.get(f"/call?id={name}&mode={name.partition('.')[0]}&n={calls}&db={db}")


def settle(front: Service, agent: Agent, db: str) -> None:
    """Calls from workers until the agent has its probes on the program; they have no parents."""
    for number in itertools.count():
        if "it calls databases" in agent.errors:
            return
        assert number < 600, agent.errors
        front.get(f"/call?id=early_{number}&mode=pool&n=2&db={db}")
        time.sleep(SILENCE)


def check(said: Counter[tuple[str, str]], each: int, ledger: dict[str, int]) -> None:
    """Of ``each`` calls of a mode 99 % have the right parent; without a context none has one."""
    assert not [mode for mode, verdict in said if verdict == "wrong"], said
    for mode in ("seq", "go", "pool"):
        right = sum(n for (m, rule), n in said.items() if m == mode and rule != "absent")
        assert right + said[mode, "absent"] == each, (mode, said)
        assert right >= 0.99 * each, (mode, said, ledger)
    # A worker that got no context says nothing, and nobody guesses.
    assert said["poolnone", "absent"] == each, said


@pytest.mark.parametrize(("db", "named"), [("redis", 1), ("redispipe", 2)])
def test_redis_is_called_for_the_request_of_the_context(
    program: Path, redis: RedisServer, db: str, named: int
) -> None:
    """Each call has ``named`` commands that name the request."""
    with Service("front", [program, "-redis", f"127.0.0.1:{redis.port}"]) as front:
        get(front, "seq.before", db)  # this connection is older than the agent
        with Agent(pids=[front.pid]) as agent:
            settle(front, agent, db)
            names = [f"{mode}.{number}" for number in range(REQUESTS) for mode in MODES]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda name: get(front, name, db), names))
            spans = agent.stop()
    said = judge(spans, front.pid)
    check(said, REQUESTS * CALLS * named, agent.ledger)
    assert agent.ledger["programs_probed_for_each_request"] == 1
    assert {s["attributes"]["db.system.name"] for s in spans if s["kind"] == "CLIENT"} == {"redis"}


@pytest.mark.parametrize("toolchain", ["go1.15.15", "go1.19.13"])
@pytest.mark.parametrize("db", ["redis", "redispipe", "pq"])
def test_older_go_and_the_older_go_redis_that_starts_a_goroutine_for_each_call(
    redis: RedisServer, postgresql: PostgresqlServer, toolchain: str, db: str
) -> None:
    language = toolchain[2:].rpartition(".")[0]
    program = build_go(SOURCE, toolchain=toolchain, requires=OLD_MODULES, language=language)
    url = f"postgres://postgres:{PASSWORD}@127.0.0.1:{postgresql.port}/postgres?sslmode=disable"
    flags = ["-redis", f"127.0.0.1:{redis.port}", "-postgres", url]
    named = 2 if db == "redispipe" else 1
    with Service("front", [program, *flags]) as front, Agent(pids=[front.pid]) as agent:
        settle(front, agent, db)
        names = [f"{mode}.{number}" for number in range(REQUESTS) for mode in MODES]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: get(front, name, db), names))
        spans = agent.stop()
    check(judge(spans, front.pid), REQUESTS * CALLS * named, agent.ledger)


@pytest.mark.parametrize("db", ["pgx", "sqlpgx", "sqlpgxtx", "pq", "pqtx"])
def test_postgresql_is_called_for_the_request_of_the_context(
    program: Path, postgresql: PostgresqlServer, db: str
) -> None:
    """pgx's pool, and database/sql with two drivers; "tx" in transactions."""
    url = f"postgres://postgres:{PASSWORD}@127.0.0.1:{postgresql.port}/postgres?sslmode=disable"
    with Service("front", [program, "-postgres", url]) as front:
        get(front, "seq.before", db)
        with Agent(pids=[front.pid]) as agent:
            settle(front, agent, db)
            names = [f"{mode}.{number}" for number in range(REQUESTS) for mode in MODES]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda name: get(front, name, db), names))
            spans = agent.stop()
    check(judge(spans, front.pid), REQUESTS * CALLS, agent.ledger)
    if db.endswith("tx"):
        transactions(spans, "BEGIN")


def transactions(spans: list[Span], begins: str) -> None:
    """Each of a transaction's statements goes where the one between them goes."""
    whole = {begins: CALLS, "SELECT": CALLS, "COMMIT": CALLS}
    parents: dict[str, Counter[str]] = {}
    for span in spans:
        statement = span["name"].upper()  # a driver's ping is none of them
        if span["kind"] == "CLIENT" and span["parent_span_id"] and statement in whole:
            parents.setdefault(span["parent_span_id"], Counter())[statement] += 1
    complete = sum(counts == whole for counts in parents.values())
    assert complete >= 0.99 * 3 * REQUESTS, Counter(str(counts) for counts in parents.values())


@pytest.mark.parametrize("db", ["mysql", "mysqlprepared", "mysqltx"])
def test_mariadb_is_called_for_the_request_of_the_context(
    mysql_program: Path, mariadb: MariadbServer, db: str
) -> None:
    """database/sql with go-sql-driver; "tx" in transactions."""
    name = f"shopper:{MARIADB_PASSWORD}@tcp(127.0.0.1:{mariadb.port})/shop"
    with Service("front", [mysql_program, "-mysql", name]) as front:
        get(front, "seq.before", db)
        with Agent(pids=[front.pid]) as agent:
            settle(front, agent, db)
            names = [f"{mode}.{number}" for number in range(REQUESTS) for mode in MODES]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda name: get(front, name, db), names))
            spans = agent.stop()
    check(judge(spans, front.pid), REQUESTS * CALLS, agent.ledger)
    if db.endswith("tx"):
        transactions(spans, "START")


def test_calls_on_the_handlers_goroutine_need_no_probe(program: Path, redis: RedisServer) -> None:
    with (
        Service("front", [program, "-redis", f"127.0.0.1:{redis.port}"]) as front,
        Agent(pids=[front.pid]) as agent,
    ):
        names = [f"seq.{number}" for number in range(200)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: get(front, name, "redis"), names))
        spans = agent.stop()
    assert judge(spans, front.pid) == {("seq", "goroutine"): 200 * CALLS}
    assert agent.ledger.get("programs_probed_for_each_request", 0) == 0
