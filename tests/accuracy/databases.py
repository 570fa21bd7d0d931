"""Parents of databases' calls against the truth: each call names, in its text, the request for
which it is made.

    sudo .venv/bin/python -m tests.accuracy.databases [--requests N] [--write-docs]

Prints a Markdown table; exits 1 when a parent was wrong, or less than 99 % of the calls have
theirs.
"""

from __future__ import annotations

import argparse
import http.client
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from tests.accuracy.mix_hosts import Place
from tests.accuracy.mixing import hosts
from tests.accuracy.score import ABSENT, MISSING, RIGHT, WRONG
from tests.e2e import test_go_databases as go
from tests.e2e.agent import Agent
from tests.e2e.services import ROOT, Service, python_command
from tests.gobuild import build_go
from tests.mariadb_server import MariadbServer
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.redis_server import RedisServer

CONCURRENCIES = (1, 16, 64)
CALLS = 3
"""Of one request."""
RECALL = 99.0
HERE = Path(__file__).resolve().parent
DOCUMENT = ROOT / "docs" / "accuracy-databases.md"
_NAMED = re.compile(r"([a-z]+\.\d+\.\d+)_(\d+)")

_SHOWN = ("db.query.text", "db.collection.name", "messaging.destination.name")
"""Where a span has what its call says."""

GO_CLIENTS = {"redis": "redis", "pgx": "postgresql", "pq": "postgresql", "mysql": "mariadb",
              "mysqlprepared": "mariadb"}  # fmt: skip
GO_MODES = ("seq", "go", "pool")
PYTHON_MODES = ("kept", "shared")
PYTHON_CLIENTS = ("redis", "postgresql", "mariadb")
MORE = ("memcached", "mongodb", "amqp")
"""Other servers that the Python program calls."""


class Cell(NamedTuple):
    """What calls have in common."""

    program: str
    client: str
    mode: str
    concurrency: int


class Servers(NamedTuple):
    """The databases, running."""

    redis: RedisServer
    postgresql: PostgresqlServer
    mariadb: MariadbServer


@contextmanager
def servers() -> Iterator[Servers]:
    """Fresh ones that take many connections."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield Servers(
            stack.enter_context(RedisServer(folder)),
            stack.enter_context(PostgresqlServer({"max_connections": "400"})),
            stack.enter_context(MariadbServer("--max-connections=600")),
        )


def ask(service: Service, names: Sequence[str], concurrency: int, client: str) -> None:
    """One request for each name, "MODE.CONCURRENCY.NUMBER", over as many connections."""
    mine = threading.local()
    opened: list[http.client.HTTPConnection] = []

    def one(name: str) -> None:
        if not hasattr(mine, "connection"):
            mine.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
            opened.append(mine.connection)
        mode = name.partition(".")[0]
        mine.connection.request("GET", f"/call?id={name}&mode={mode}&n={CALLS}&db={client}")
        answer = mine.connection.getresponse()
        assert answer.status == 200, (answer.read(), service.errors)
        answer.read()

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(one, names))
    for connection in opened:
        connection.close()


def judge(spans: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Counter[tuple[str, str]]:
    """("MODE.CONCURRENCY", verdict) of each call of the requests ``names``."""
    requests = {}
    for span in spans:
        asked = parse_qs(span["attributes"].get("url.query", "")).get("id")
        if span["kind"] == "SERVER" and asked:
            requests[span["trace_id"], span["span_id"]] = asked[0]
    verdicts: dict[tuple[str, str], str] = {}
    for span in spans:
        shown = (str(span["attributes"].get(name, "")) for name in _SHOWN)
        found: list[Any] = next((all_ for text in shown if (all_ := _NAMED.findall(text))), [])
        for request, number in found if span["kind"] in ("CLIENT", "PRODUCER") else ():
            parent = requests.get((span["trace_id"], span["parent_span_id"]))
            verdict = RIGHT if parent == request else WRONG
            if not span["parent_span_id"]:
                verdict = ABSENT
            # A call that has two spans by mistake must not count as one that is right.
            seen = verdicts.get((request, number))
            verdicts[request, number] = verdict if seen in (None, verdict) else WRONG
    said: Counter[tuple[str, str]] = Counter()
    for name in names:
        for number in range(CALLS):
            verdict = verdicts.get((name, str(number)), MISSING)
            said[name.rpartition(".")[0], verdict] += 1
    return said


def measure_one(
    program: str,
    command: Sequence[str | Path],
    client: str,
    modes: Sequence[str],
    requests: int,
    concurrencies: Sequence[int],
) -> dict[Cell, Counter[str]]:
    """One program with one client, under an agent of its own."""
    names: list[str] = []
    with Service(program, command) as service, Agent(pids=[service.pid]) as agent:
        if program == "go":
            go.settle(service, agent, client)
        for concurrency in concurrencies:
            some = [f"{m}.{concurrency}.{n}" for n in range(requests) for m in modes]
            ask(service, some, concurrency, client)
            names += some
        spans = agent.stop(120)
    cells: dict[Cell, Counter[str]] = {}
    for (key, verdict), count in judge(spans, names).items():
        mode, _, concurrency_ = key.partition(".")
        cell = Cell(program, client, mode, int(concurrency_))
        cells.setdefault(cell, Counter())[verdict] += count
    return cells


def measure(
    running: Servers,
    requests: int,
    concurrencies: Sequence[int] = CONCURRENCIES,
    clients: Sequence[str] = tuple(GO_CLIENTS),
    more: Mapping[str, Place] | None = None,
) -> dict[Cell, Counter[str]]:
    """Both programs, with ``requests`` of each mode at each concurrency; ``more``: servers that
    only the Python program calls."""
    built = build_go(go.SOURCE, flags=("-tags=mysql",), requires=go.MODULES | go.MYSQL,
                     language="1.21")  # fmt: skip
    local = "127.0.0.1"
    postgres = f"postgres://postgres:{PASSWORD}@{local}:{running.postgresql.port}/postgres"
    mysql = f"shopper:{PASSWORD}@tcp({local}:{running.mariadb.port})/shop"
    command: list[str | Path] = [built, "-redis", f"{local}:{running.redis.port}"]
    command += ["-postgres", f"{postgres}?sslmode=disable", "-mysql", mysql]
    cells: dict[Cell, Counter[str]] = {}
    for client in clients:
        cells |= measure_one("go", command, client, GO_MODES, requests, concurrencies)
    ports = [str(server.port) for server in running]
    command = [*python_command(HERE / "database_target.py", *ports, PASSWORD)]
    places = more or {}
    command += [f"{name}={place.port}" for name, place in places.items()]
    for client in (*PYTHON_CLIENTS, *places):
        cells |= measure_one("python", command, client, PYTHON_MODES, requests, concurrencies)
    return cells


def precision(counts: Counter[str]) -> float:
    """Per cent of the parents that were given."""
    given = counts[RIGHT] + counts[WRONG]
    return 100.0 * counts[RIGHT] / given if given else 100.0


def recall(counts: Counter[str]) -> float:
    """Per cent of all calls."""
    return 100.0 * counts[RIGHT] / counts.total()


def kept(counts: Counter[str]) -> bool:
    """Whether no parent is wrong, and enough are there."""
    return not counts[WRONG] and recall(counts) >= RECALL


_MODES = {
    "seq": "handler's goroutine",
    "go": "a goroutine for each call",
    "pool": "workers that get the context",
    "kept": "a connection for each thread",
    "shared": "connections of a pool",
}
_CLIENTS = {
    ("go", "redis"): ("Redis", "go-redis"),
    ("go", "pgx"): ("PostgreSQL", "pgx's pool"),
    ("go", "pq"): ("PostgreSQL", "database/sql, lib/pq"),
    ("go", "mysql"): ("MariaDB", "database/sql, go-sql-driver, text"),
    ("go", "mysqlprepared"): ("MariaDB", "database/sql, go-sql-driver, prepared"),
    ("python", "redis"): ("Redis", "redis-py"),
    ("python", "postgresql"): ("PostgreSQL", "psycopg"),
    ("python", "mariadb"): ("MariaDB", "PyMySQL"),
    ("python", "memcached"): ("Memcached", "pymemcache"),
    ("python", "mongodb"): ("FerretDB", "pymongo"),
    ("python", "amqp"): ("RabbitMQ, confirmed publishes", "pika"),
}


def table(cells: Mapping[Cell, Counter[str]]) -> str:
    """In Markdown."""
    lines = [
        "| Database | Client | Called from | At once | Calls | right | wrong | absent | no span | "
        "precision % | recall % |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell, counts in sorted(cells.items(), key=lambda item: item[0].program):
        database, client = _CLIENTS[cell.program, cell.client]
        where = {"go": "Go", "python": "Python, threads"}[cell.program]
        numbers = [cell.concurrency, counts.total()]
        numbers += [counts[verdict] for verdict in (RIGHT, WRONG, ABSENT, MISSING)]
        shares = [f"{int(x * 100) / 100:g}" for x in (precision(counts), recall(counts))]
        words = [database, client, f"{where}: {_MODES[cell.mode]}", *map(str, numbers), *shares]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


INTRODUCTION = """# Accuracy of calls to databases and brokers

This page is written by `sudo .venv/bin/python -m tests.accuracy.databases --write-docs`; do not
edit it by hand.

Services without any instrumentation call real servers, three calls for each request, and each
call's text names the request for which it is made. The tracer knows nothing of that. A call is
**right** when its parent is that request's span, **wrong** when it is any other, **absent** without
one, and has **no span** when it was not told of. Precision is right / (right + wrong), recall
right / all calls.
"""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400, help="of each row (default 400)")
    parser.add_argument("--write-docs", action="store_true", help=f"write {DOCUMENT.name}")
    said = parser.parse_args(words)
    with servers() as running, ExitStack() as stack:
        cells = measure(running, said.requests, more=hosts(stack, MORE))
    shown = table(cells)
    print(shown)
    if said.write_docs:
        DOCUMENT.write_text(f"{INTRODUCTION}\n{shown}")
    return 0 if all(kept(counts) for counts in cells.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
