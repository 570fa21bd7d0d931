"""asyncio with redis.asyncio, psycopg, asyncpg and aiomysql: each query belongs to the request that
it names."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.agent import Agent
from tests.e2e.query import parent_of
from tests.mariadb_server import MariadbServer
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.pythons import DATABASE_PACKAGES, python_with
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
PROGRAM = Path(__file__).with_name("loop_databases.py")
REQUESTS = 120


@pytest.mark.timeout(300)  # the packages may have to be had first
def test_queries_of_asyncio_drivers_are_their_requests_children(tmp_path: Path) -> None:
    python = python_with(DATABASE_PACKAGES)
    with RedisServer(tmp_path) as cache, PostgresqlServer() as database, MariadbServer() as other:
        ports = [str(server.port) for server in (cache, database, other)]
        words: list[str | Path] = [python, PROGRAM, *ports, PASSWORD]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            port = int(program.stdout.readline())
            with Agent(pids=[program.pid]) as agent:

                def ask(number: int) -> None:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}").read()

                with ThreadPoolExecutor(16) as pool:
                    list(pool.map(ask, range(REQUESTS)))
                spans = agent.stop(60)
            program.kill()
    seen = {"redis": 0, "postgresql": 0, "mariadb": 0}
    for span in spans:
        query = span["attributes"].get("db.query.text", "")
        named = re.search(r"id[-_](\d+)", query)
        if span["kind"] != "CLIENT" or named is None:
            continue
        parent = parent_of(span, spans)
        assert parent is not None, query
        assert parent["attributes"]["url.path"] == f"/{named[1]}", query
        seen[span["attributes"]["db.system.name"]] += 1
    assert seen == {"redis": 2 * REQUESTS, "postgresql": 2 * REQUESTS, "mariadb": REQUESTS}
