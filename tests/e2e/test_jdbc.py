"""JDBC: each statement belongs to the request that it names, in its thread or a pool's."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import mariadb_server, postgresql_server
from tests.e2e.agent import Agent
from tests.e2e.query import parent_of, path_of
from tests.e2e.services import Service
from tests.javabuild import build_java, java_home, maven_jars

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.e2e,
    pytest.mark.skipif(not shutil.which("mvn") or not java_home(), reason="needs a JDK and Maven"),
]
TARGET = Path(__file__).resolve().parents[1] / "targets" / "jdbc"
DRIVERS = ("org.postgresql:postgresql:42.7.4", "org.mariadb.jdbc:mariadb-java-client:3.5.1")
SYSTEMS = {"postgresql": "postgresql", "mariadb": "mysql"}
REQUESTS = 100


@contextmanager
def database(kind: str) -> Iterator[list[str]]:
    """URL, user and password of a server's database."""
    if kind == "postgresql":
        with postgresql_server.PostgresqlServer() as server:
            url = f"jdbc:postgresql://127.0.0.1:{server.port}/postgres?sslmode=disable"
            yield [url, "postgres", postgresql_server.PASSWORD]
    else:
        with mariadb_server.MariadbServer() as maria:
            url = f"jdbc:mariadb://127.0.0.1:{maria.port}/shop"
            yield [url, "shopper", mariadb_server.PASSWORD]


SILENCE = 0.06
"""Seconds, more than what a connection that was joined midway must be silent for."""


@pytest.mark.timeout(400)  # the drivers may have to be had first
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_statements_are_their_requests_children(kind: str) -> None:
    home = java_home()
    assert home is not None
    libraries = [*maven_jars(*DRIVERS), build_java(TARGET, home)]
    java: list[str | Path] = [
        home / "bin" / "java",
        "-Xmx128m",
        "-cp",
        os.pathsep.join(map(str, libraries)),
    ]
    with (
        database(kind) as words,
        Service("jdbc", [*java, "JdbcTarget", *words]) as service,
        Agent(pids=[service.pid]) as agent,
    ):
        with ThreadPoolExecutor(8) as pool:
            # The connections are older than the agent: they are believed after a silence.
            for _ in range(5):
                for way in ("own", "handed"):
                    list(pool.map(service.get, (f"/{way}/{n}" for n in range(5000, 5008))))
                    time.sleep(SILENCE)
            for way in ("own", "handed"):
                list(pool.map(service.get, (f"/{way}/{n}" for n in range(REQUESTS))))
        spans = agent.stop(60)
    right, made = Counter[str](), Counter[str]()
    for span in spans:
        named = re.search(r"(?:id|prepared)_(\d+)", span["attributes"].get("db.query.text", ""))
        if span["kind"] != "CLIENT" or named is None or int(named[1]) >= 5000:
            continue
        assert span["attributes"]["db.system.name"] == SYSTEMS[kind]
        made[kind] += 1
        parent = parent_of(span, spans)
        if parent is not None:
            _, way, number = path_of(parent).split("/")
            assert number == named[1], f"{span['attributes']} under {path_of(parent)}"
            right[way] += 1
    assert made[kind] >= 3 * REQUESTS, agent.ledger
    assert right["own"] >= 1.5 * REQUESTS
    # Of what a pool's thread does at one go, its last call is known to be whose result it has.
    assert right["handed"] >= 0.4 * REQUESTS
