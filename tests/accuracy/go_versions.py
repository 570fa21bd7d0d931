"""What works for which Go, and what it costs: real services built with each version, the share of
their calls that have the right parent, and how often uprobes are hit for one request."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measure import counting, uprobe_hits
from tests.e2e import relay, truth
from tests.e2e import test_go_databases as databases
from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.raw import Connection
from tests.e2e.services import Service
from tests.e2e.test_go_tls import ask, connect
from tests.gobuild import build_go
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.redis_server import RedisServer

VERSIONS: dict[str, tuple[str, str]] = {
    # Go -> the versions of grpc-go and golang.org/x/net that its programs have here.
    "go1.15.15": ("v1.40.0", "v0.0.0-20210525063256-abc453219eb5"),
    "go1.19.13": ("v1.60.1", "v0.20.0"),
    "go1.21.13": ("v1.60.1", "v0.20.0"),
    "go1.24.13": ("v1.72.0", "v0.40.0"),
    "go1.26.8": ("v1.85.0", "v0.60.0"),
    "go1.27.4": ("v1.85.0", "v0.60.0"),
}
WAYS = {
    "HTTP/1": "http1",
    "HTTPS (HTTP/1)": "https",
    "HTTP/2, net/http": "h2",
    "HTTP/2, golang.org/x/net": "x",
    "HTTP/2 with TLS, net/http": "h2s",
    "gRPC": "grpc",
    "gRPC with TLS": "grpcs",
    "Redis (go-redis), by the handler": "seq redis",
    "Redis (go-redis), by a pool of workers": "pool redis",
    "PostgreSQL (database/sql), by the handler": "seq pq",
    "PostgreSQL (database/sql), by a pool of workers": "pool pq",
}
"""Rows of the table, and what the services call them."""
CLIENTS: dict[str, tuple[str, dict[str, str]]] = {
    # Go -> the language and the versions of the databases' clients that its program has.
    "go1.15.15": ("1.15", {databases.OLD_REDIS: "v8.11.4", databases.PQ: "v1.10.9"}),
    "go1.19.13": ("1.19", {databases.OLD_REDIS: "v8.11.5", databases.PQ: "v1.10.9"}),
    "go1.21.13": (
        "1.21",
        dict(zip(databases.MODULES, ("v9.5.1", "v5.5.5", "v1.10.9"), strict=True)),
    ),
    "go1.24.13": (
        "1.21",
        dict(zip(databases.MODULES, ("v9.7.3", "v5.7.5", "v1.10.9"), strict=True)),
    ),
    "go1.26.8": ("1.21", databases.MODULES),
    "go1.27.4": ("1.21", databases.MODULES),
}
MODES = ("ctx", "par", "pool")
CALLS = 3


@dataclass
class Cell:
    """One way with one Go.

    Attributes:
        right, wrong, absent: of the calls that the service made, by their parents.
        served, asked: uprobe hits for one request, on the server's side and the client's.
        rules: by which rule, for the right ones.
    """

    right: int = 0
    wrong: int = 0
    absent: int = 0
    served: float = 0.0
    asked: float = 0.0
    rules: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Calls that were seen."""
        return self.right + self.wrong + self.absent


def _sum(counter: Counter[tuple[str, str]]) -> Counter[str]:
    rules: Counter[str] = Counter()
    for (_, rule), number in counter.items():
        rules[rule] += number
    return rules


@contextmanager
def _hits(agent: Agent) -> Iterator[Callable[[], int]]:
    """How many hits there were since it was asked the last time."""
    last = uprobe_hits(agent.pid)

    def since() -> int:
        nonlocal last
        now = uprobe_hits(agent.pid)
        found, last = now - last, now
        return found

    yield since


def _cell(requests: int, served: int, asked: int) -> Cell:
    each = served / requests
    return Cell(served=each, asked=max(0.0, (asked - each * requests) / (requests * CALLS)))


@contextmanager
def _own(program: Path) -> Iterator[str]:
    """A file of its own: uprobes are the file's, and hit by other processes of it as well."""
    with tempfile.TemporaryDirectory() as folder:
        yield str(shutil.copy(program, folder))


def measure_streams(program: Path, protocol: str, requests: int) -> Cell:
    """The relay, served and called over one of its protocols, one request at a time."""
    with (
        _own(program) as own,
        Service("back", [program]) as back,
        Service("front", [own, "-next", back.address]) as front,
        Agent(pids=[front.pid], env=relay.ENV) as agent,
        _hits(agent) as since,
    ):
        front.command[0] = str(program)  # what makes the load
        relay.drive(front, protocol, MODES, [protocol], 20, CALLS, tag="warm")
        since()
        relay.drive(front, protocol, MODES, [protocol], requests, 0, tag="served")
        served = since()
        relay.drive(front, protocol, MODES, [protocol], requests, CALLS, tag="asked")
        cell = _cell(requests, served, since())
        said = relay.judge(agent.stop(), front.pid)
    cell.right, cell.wrong = sum(said.right.values()), sum(said.wrong.values())
    cell.absent, cell.rules = sum(said.absent.values()), _sum(said.rules)
    return cell


def measure_https(program: Path, requests: int) -> Cell:
    """The service of the truth, over HTTPS on both sides."""
    flags = ["-tls", "1.3"]
    with (
        _own(program) as own,
        Service("back", [program, *flags]) as back,
        Service("front", [own, *flags, "-next", f"https://{back.address}"]) as front,
        connect(front) as connection,
        Agent(pids=[front.pid], env=TRUTH_ENV) as agent,
        _hits(agent) as since,
    ):
        modes = ("ctx", "parctx", "pool")
        for number in range(20):
            ask(connection, f"/call?id=ctx.warm{number}&mode=ctx&n={CALLS}")
        since()
        for _ in range(requests):
            ask(connection, "/pid")
        served = since()
        for number in range(requests):
            mode = modes[number % len(modes)]
            ask(connection, f"/call?id={mode}.{number}&mode={mode}&n={CALLS}")
        cell = _cell(requests, served, since())
        said = truth.judge(agent.stop(), front.pid)
    cell.right, cell.wrong = sum(said.right.values()), sum(said.wrong.values())
    cell.absent, cell.rules = sum(said.absent.values()), _sum(said.rules)
    return cell


@contextmanager
def _server(db: str) -> Iterator[list[str]]:
    """A server of the database; yields the flags that name it."""
    if db == "redis":
        with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis:
            yield ["-redis", f"127.0.0.1:{redis.port}"]
        return
    with PostgresqlServer() as server:
        where = f"postgres:{PASSWORD}@127.0.0.1:{server.port}/postgres"
        yield ["-postgres", f"postgres://{where}?sslmode=disable"]


def measure_database(program: Path, db: str, mode: str, requests: int, probed: bool) -> Cell:
    """Calls of a database, by the handler's goroutine or by workers that got its context.
    ``probed``: it takes probes, which the agent has once it has seen the need."""
    with (
        _server(db) as flags,
        Service("front", [program, *flags]) as front,
        Agent(pids=[front.pid]) as agent,
        _hits(agent) as since,
    ):
        if probed:
            databases.settle(front, agent, db)
        since()
        asked = 0
        with Connection("127.0.0.1", front.port) as connection:
            for calls in (0, CALLS):
                served, asked = asked, 0
                for number in range(requests):
                    connection.get(f"/call?id={mode}.{number}&mode={mode}&n={calls}&db={db}")
                asked = since()
        cell = _cell(requests, served, asked)
        spans = agent.stop()
    for (named, verdict), number in databases.judge(spans, front.pid).items():
        if named != mode:
            continue  # until the agent had its probes
        if verdict == "wrong":
            cell.wrong += number
        elif verdict == "absent":
            cell.absent += number
        else:
            cell.right += number
            cell.rules[verdict] += number
    return cell


def measure(
    version: str, ways: list[str], requests: int, say: Callable[[str], None] = lambda _: None
) -> dict[str, Cell | None]:
    """By way what was measured; None: programs of this version have no such way."""
    grpc, xnet = VERSIONS[version]
    modules = {"google.golang.org/grpc": grpc, "golang.org/x/net": xnet}
    cells: dict[str, Cell | None] = {}
    with counting():
        for way in ways:
            protocol = WAYS[way]
            if protocol == "https":
                cell = measure_https(build_go(truth.TRUTH, toolchain=version), requests)
            elif protocol == "h2" and version < "go1.24":
                cells[way] = None
                continue
            elif " " in protocol:
                mode, db = protocol.split()
                language, clients = CLIENTS[version]
                program = build_go(
                    databases.SOURCE, toolchain=version, requires=clients, language=language
                )
                cell = measure_database(
                    program, db, mode, requests,
                    probed=mode != "seq" or (db == "redis" and databases.OLD_REDIS in clients),
                )  # fmt: skip
            else:
                cell = measure_streams(relay.build(version, modules), protocol, requests)
            cells[way] = cell
            say(f"{version} {way}: {cell}")
    return cells
