"""How long calls take, by the spans, by the servers' own statistics and by the client's watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from tests.e2e.agent import Agent, Span
from tests.e2e.query import seconds_of
from tests.mariadb_server import MariadbServer
from tests.postgresql_server import PostgresqlServer
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
CALLS = 10
BUSY = "for i = 1, 1000000 do end return 1"


def watched(call: Callable[[], object]) -> float:
    """Makes the calls one by one; how many seconds they took, as their caller sees it."""
    start = time.monotonic()
    for _ in range(CALLS):
        call()
    return time.monotonic() - start


def check(spans: list[Span], operation: str, by_server: float, by_caller: float) -> None:
    """The server's spans last as long as what it has done meanwhile, and no longer than its
    caller has waited. Seconds of all calls; the server's clock may be a little fast."""
    served = [
        s
        for s in spans
        if s["kind"] == "SERVER" and s["attributes"]["db.operation.name"] == operation
    ]
    assert len(served) == CALLS
    assert by_server > 0
    assert by_server * 0.99 <= sum(map(seconds_of, served)) <= by_caller


def test_redis(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path) as server,
        Agent(pids=[server.pid]) as agent,
        redis.Redis(port=server.port, single_connection_client=True) as client,
    ):
        took = watched(lambda: client.eval(BUSY, 0))
        told = client.info("commandstats")["cmdstat_eval"]
        spans = agent.stop()
    assert told["calls"] == CALLS
    check(spans, "EVAL", told["usec"] / 1e6, took)


def test_postgresql() -> None:
    question = "SELECT calls, total_exec_time FROM pg_stat_statements WHERE query LIKE '%pg_sleep%'"
    with PostgresqlServer() as server:
        with (
            Agent(pids=[server.pid]) as agent,
            psycopg.connect(server.remote, autocommit=True) as client,
        ):
            took = watched(lambda: client.execute("SELECT pg_sleep(0.02)"))
            spans = agent.stop()
        with psycopg.connect(server.remote, autocommit=True) as client:
            (told,) = client.execute(question).fetchall()
    assert told[0] == CALLS
    check(spans, "SELECT", told[1] / 1e3, took)


def test_mariadb() -> None:
    question = """
        SELECT count_star, sum_timer_wait FROM events_statements_summary_by_digest
        WHERE digest_text LIKE '%SLEEP%'
    """
    with MariadbServer() as server:
        with Agent(pids=[server.pid]) as agent, server.connect() as client:
            cursor = client.cursor()
            took = watched(lambda: cursor.execute("SELECT SLEEP(0.02)"))
            spans = agent.stop()
        with server.connect(user="root", password="", database="performance_schema") as asks:
            statistics = asks.cursor()
            statistics.execute(question)
            (told,) = statistics.fetchall()
    assert told[0] == CALLS
    check(spans, "SELECT", told[1] / 1e12, took)
