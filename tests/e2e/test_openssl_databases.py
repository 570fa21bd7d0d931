"""Databases over TLS: what they are asked is told as without, and joined with what they did."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from tests.e2e.agent import Agent, Span, agent_command
from tests.mariadb_server import PASSWORD as MARIADB_PASSWORD
from tests.mariadb_server import MariadbServer
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.pythons import python_with
from tests.redis_server import RedisServer

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, for a certificate"),
]
_REDIS = """
import redis, sys
sys.stdin.readline()
about = {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
client = redis.Redis(port=int(sys.argv[1]), **about)
client.set("key", "v" * 20000)
for _ in range(20):
    assert client.get("key") == b"v" * 20000
with client.pipeline(transaction=False) as pipe:
    for n in range(10):
        pipe.incr("count")
    assert pipe.execute() == list(range(1, 11))
"""
_POSTGRESQL = """
import psycopg, sys
sys.stdin.readline()
where = f"host=127.0.0.1 port={sys.argv[1]} user=postgres password={sys.argv[2]} sslmode=require"
with psycopg.connect(where) as connection:
    connection.execute("create table shelf (name text, number int)")
    for n in range(20):
        connection.execute("insert into shelf values (%s, %s)", ("secret word", n))
    assert connection.execute("select count(*) from shelf").fetchone() == (20,)
"""

_MARIADB = """
import pymysql, ssl, sys
sys.stdin.readline()
where = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "shopper"}
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
client = pymysql.connect(**where, password=sys.argv[2], database="shop", ssl=context)
cursor = client.cursor()
cursor.execute("create table shelf (name text, number int)")
for n in range(20):
    cursor.execute("insert into shelf values (%s, %s)", ("secret word", n))
cursor.execute("select * from shelf, shelf as other, shelf as third")
assert len(cursor.fetchall()) == 8000
client.close()
"""

_OLD_PACKAGES = ("psycopg2-binary==2.9.6",)
"""Its wheels have OpenSSL 1.1.1."""
_OLD = """
import psycopg2, sys
sys.stdin.readline()
where = f"host=127.0.0.1 port={sys.argv[1]} user=postgres password={sys.argv[2]} sslmode=require"
with psycopg2.connect(where) as connection, connection.cursor() as cursor:
    cursor.execute("create table shelf (name text, number int)")
    for n in range(20):
        cursor.execute("insert into shelf values (%s, %s)", ("secret word", n))
    cursor.execute("select count(*) from shelf")
    assert cursor.fetchone() == (20,)
    assert "so.1.1" in open("/proc/self/maps").read()
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key, which every user may read."""
    home = tmp_path_factory.mktemp("certificate")
    cert, key = home / "cert.pem", home / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-out", cert, "-keyout", key),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def run(
    script: str, *words: str, server: int, folder: Path, python: str | Path = sys.executable
) -> tuple[list[Span], Agent]:
    """The spans of a client, which begins when its OpenSSL has been found, and of the server."""
    command = [python, "-c", script, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as client:
        env = {"OTEL_EBPF_RUN_DIR": str(folder)}
        with Agent(pids=[client.pid, server], env=env) as agent:
            deadline = time.monotonic() + 60
            while not with_openssl(folder):
                assert time.monotonic() < deadline
            assert client.stdin is not None
            client.stdin.write(b"\n")
            client.stdin.close()
            assert client.wait(60) == 0
            return agent.stop(), agent


def with_openssl(folder: Path) -> bool:
    """Whether the agent has found OpenSSL in both programs."""
    said = subprocess.run(
        [*agent_command(), "status", "--json"],
        env={"OTEL_EBPF_RUN_DIR": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip
    counters = json.loads(said.stdout)[0]["counters"] if said.returncode == 0 else {}
    return bool(counters.get("processes_with_openssl", 0) >= 2)


def told(spans: list[Span], kind: str) -> Counter[str]:
    named = [s["attributes"].get("db.operation.name") or s["name"] for s in spans]
    return Counter(n for n, s in zip(named, spans, strict=True) if s["kind"] == kind)


def joined(spans: list[Span]) -> tuple[int, int]:
    """SERVER spans with a CLIENT span as parent, and all."""
    clients = {s["span_id"] for s in spans if s["kind"] == "CLIENT"}
    servers = [s for s in spans if s["kind"] == "SERVER"]
    return sum(s["parent_span_id"] in clients for s in servers), len(servers)


def test_redis(pair: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = map(str, pair)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    flags = ["--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key]
    with RedisServer(tmp_path, *flags, "--tls-auth-clients", "no") as server:
        spans, agent = run(_REDIS, port, server=server.pid, folder=tmp_path)
    for kind in ("CLIENT", "SERVER"):
        found = told(spans, kind)
        assert (found["SET"], found["GET"], found["INCRBY"]) == (1, 20, 10), (found, agent.errors)
    right, every = joined([s for s in spans if s["attributes"].get("db.operation.name") == "GET"])
    assert right >= every - 1, agent.errors


def speaks_tls(server: PostgresqlServer) -> bool:
    try:
        psycopg.connect(f"{server.remote} sslmode=require").close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize(
    "old",
    [
        pytest.param(False, id="the interpreter's"),
        pytest.param(
            True,
            id="1.1.1 in a wheel",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12), reason="no wheel with OpenSSL 1.1.1 for this Python"
            ),
        ),
    ],
)
def test_postgresql(pair: tuple[Path, Path], tmp_path: Path, old: bool) -> None:
    with PostgresqlServer() as server:
        user = os.stat(server.folder).st_uid
        for file in pair:
            place = server.folder / file.name
            place.write_bytes(file.read_bytes())
            place.chmod(0o600)
            os.chown(place, user, -1)
        files = {"ssl_cert_file": "cert.pem", "ssl_key_file": "key.pem"}
        settings = {n: str(server.folder / name) for n, name in files.items()} | {"ssl": "on"}
        with psycopg.connect(server.local, autocommit=True) as connection:
            for name, value in settings.items():
                connection.execute(f"alter system set {name} = '{value}'")
            connection.execute("select pg_reload_conf()")
        deadline = time.monotonic() + 30
        while not speaks_tls(server):
            assert time.monotonic() < deadline
        python = python_with(_OLD_PACKAGES) if old else sys.executable
        spans, agent = run(
            _OLD if old else _POSTGRESQL, str(server.port), PASSWORD,
            server=server.pid, folder=tmp_path, python=python,
        )  # fmt: skip
    for kind in ("CLIENT", "SERVER"):
        found = told(spans, kind)
        assert (found["INSERT"], found["CREATE TABLE"]) == (20, 1), (found, agent.errors)
    assert "secret word" not in str(spans) and PASSWORD not in str(spans)
    right, every = joined([s for s in spans if "INSERT" in s["name"]])
    assert right >= every - 1, agent.errors


def test_mariadb(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """TLS begins behind the server's greeting; both turn to it in the middle of the login."""
    with MariadbServer(tls=pair) as server:
        spans, agent = run(
            _MARIADB, str(server.port), MARIADB_PASSWORD, server=server.pid, folder=tmp_path
        )
    for kind in ("CLIENT", "SERVER"):
        found = told(spans, kind)
        assert (found["INSERT"], found["CREATE TABLE"], found["SELECT"]) == (20, 1, 1), (
            found,
            agent.errors,
        )
    assert {s["attributes"]["db.system.name"] for s in spans} == {"mariadb"}
    assert {s["attributes"]["db.namespace"] for s in spans} == {"shop"}
    assert "secret word" not in str(spans) and MARIADB_PASSWORD not in str(spans)
    right, every = joined([s for s in spans if "INSERT" in s["name"]])
    assert right >= every - 1, agent.errors
