"""All protocols at once on one host: no span of a protocol that was not spoken on its port, and no
call with another's reply."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.accuracy.mix_speakers import SPEAKERS
from tests.debian import debian_program
from tests.e2e.agent import Agent, Span
from tests.e2e.query import path_of
from tests.e2e.services import ROOT, Service
from tests.mariadb_server import MariadbServer
from tests.postgresql_server import PostgresqlServer
from tests.redis_server import RedisServer

THREADS = 4
_BAD = re.compile(r"\bbad(_\d+)?\b")


@dataclass
class Verdict:
    """What became of one protocol's calls, each seen by its client and by its server.

    Attributes:
        made: calls by how they were meant to end, as their client counted them.
        clients, servers: spans of these calls, by how they ended.
        wrong: spans whose end is not what the call was meant for.
        others: names of spans on this port that are no such calls.
    """

    made: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def right(self) -> bool:
        """All calls are there from both sides, with their own ends, and nothing else is."""
        every = self.made == self.clients == self.servers
        return every and not self.wrong and not self.others


@contextmanager
def _memcached(_: Path) -> Iterator[int]:
    program, env = debian_program("memcached", "usr/bin/memcached", ("memcached", "libevent-2.1-7"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [str(program), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "nobody"]
    with subprocess.Popen(command, env=env) as process:
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


@contextmanager
def _redis(folder: Path) -> Iterator[int]:
    with RedisServer(folder) as server:
        yield server.port


@contextmanager
def _postgresql(_: Path) -> Iterator[int]:
    with PostgresqlServer() as server:
        yield server.port


@contextmanager
def _mysql(_: Path) -> Iterator[int]:
    with MariadbServer() as server:
        yield server.port


def _own(kind: str) -> Callable[[Path], contextmanager]:  # type: ignore[valid-type]
    @contextmanager
    def serve(_: Path) -> Iterator[int]:
        command = [sys.executable, "-m", "tests.accuracy.mix_server", kind]
        with Service(kind, command, env={"PYTHONPATH": str(ROOT)}) as service:
            yield service.port

    return serve


SERVERS = {
    "redis": _redis,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "memcached": _memcached,
    "http": _own("http"),
    "grpc": _own("grpc"),
}


def asked(span: Span) -> str:
    """What the span's call says of itself."""
    attributes = span["attributes"]
    for name in ("db.query.text", "rpc.method"):
        if name in attributes:
            return str(attributes[name])
    return path_of(span)


def protocol_of(span: Span) -> str:
    """As the speakers are called."""
    attributes = span["attributes"]
    system = str(attributes.get("db.system.name", ""))
    if system:
        return {"mariadb": "mysql"}.get(system, system)
    return "grpc" if "rpc.method" in attributes else "http"


def judge(spans: list[Span], names: dict[int, str]) -> dict[str, Verdict]:
    """By speaker; ``names``: by the port of its server."""
    said = {name: Verdict() for name in names.values()}
    for span in spans:
        attributes = span["attributes"]
        port = attributes.get("server.port") or attributes.get("network.local.port")
        verdict = said[names[int(port)]]
        text = asked(span)
        if text.lower().startswith("set "):
            continue  # how a client prepares itself
        meant = "bad" if _BAD.search(text.lower()) else "ok" if "ok" in text.lower() else ""
        if protocol_of(span) != names[int(port)] or not meant:
            verdict.others[f"{span['kind']} {span['name']} {text}"] += 1
            continue
        ended = "bad" if span["status"].get("code") == "ERROR" else "ok"
        (verdict.clients if span["kind"] == "CLIENT" else verdict.servers)[ended] += 1
        if ended != meant:
            verdict.wrong.append(f"{span['kind']} {text}: {ended}")
    return said


def run(names: list[str], seconds: int, pace: int) -> tuple[dict[str, Verdict], dict[str, int]]:
    """Speaks all of ``names`` for ``seconds``, ``pace`` calls a second each; and the ledger."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        ports = {stack.enter_context(SERVERS[name](folder)): name for name in names}
        speakers = {}
        for port, name in ports.items():
            words = [name, str(port), str(seconds), str(THREADS), str(pace)]
            speakers[name] = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.accuracy.mix_speakers", *words],
                    cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
            )  # fmt: skip
            stack.callback(speakers[name].kill)
        flags = [word for port in ports for word in ("--port", str(port))]
        agent = stack.enter_context(Agent(*flags))
        for speaker in speakers.values():
            assert speaker.stdin is not None
            speaker.stdin.write("\n")
            speaker.stdin.flush()
        made = {name: json.loads(s.communicate()[0] or "{}") for name, s in speakers.items()}
        spans = agent.stop(120)
    said = judge(spans, ports)
    for name, verdict in said.items():
        verdict.made.update(made[name])
    return said, agent.ledger


assert SERVERS.keys() == SPEAKERS.keys()
