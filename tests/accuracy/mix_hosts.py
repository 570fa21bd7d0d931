"""Servers of the mix, each in a folder of its own, with nothing kept."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.cimpl import NewTopic

from tests.accuracy.mix_names import HEADER
from tests.debian import debian_program
from tests.dns_server import DnsServer
from tests.dubbo_program import DubboServer
from tests.e2e.kafka_programs import create
from tests.e2e.proxied import front
from tests.e2e.services import ROOT, Service
from tests.ferretdb_server import FerretdbServer
from tests.kafka_server import KafkaServer
from tests.mariadb_server import MariadbServer
from tests.mosquitto_server import MosquittoServer
from tests.nats_server import NatsServer
from tests.php import php_fpm
from tests.postgresql_server import PostgresqlServer
from tests.rabbitmq_server import RabbitmqServer
from tests.redis_server import RedisServer
from tests.uwsgi_server import uwsgi

_PARAMETERS = (
    "REQUEST_METHOD $request_method", "REQUEST_URI $request_uri", "QUERY_STRING $query_string",
    "PATH_INFO $document_uri", "SERVER_NAME $server_name", "SERVER_PORT $server_port",
    "CONTENT_LENGTH $content_length",
)  # fmt: skip
_PHP = f"""<?php $parts = explode('/', $_SERVER['REQUEST_URI']);
if ($parts[1] == 'bad') {{ http_response_code(500); }}
header('{HEADER}: ' . $parts[2]);
echo str_repeat('x', (int) ($parts[3] ?? 6));"""
_PYTHON = f"""
def application(environ, start):
    _, word, name, *size = environ["PATH_INFO"].split("/")
    environ["wsgi.input"].read()
    headers = [("Content-Type", "text/plain"), ("{HEADER}", name)]
    start("200 OK" if word == "ok" else "500 Internal Server Error", headers)
    return [b"x" * int(size[0] if size else 6)]
"""
_BODIES = "client_max_body_size 16m;"
_FAIL = """
CREATE FUNCTION mix_fail(state text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'as it was meant' USING ERRCODE = state; END $$
"""


@dataclass
class Place:
    """A server's ``port``, and the one where it is ``called``: its own, or that of a web server
    which calls it."""

    port: int
    called: int = 0

    def __post_init__(self) -> None:
        self.called = self.called or self.port


Server = Callable[[Path], AbstractContextManager[Place]]


@contextmanager
def _memcached(_: Path) -> Iterator[Place]:
    program, env = debian_program("memcached", "usr/bin/memcached", ("memcached", "libevent-2.1-7"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [str(program), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "nobody"]
    command += ["-I", "16m", "-m", "128"]
    with subprocess.Popen(command, env=env) as process:
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield Place(port)
        finally:
            process.terminate()


@contextmanager
def _redis(folder: Path) -> Iterator[Place]:
    with RedisServer(folder) as server:
        yield Place(server.port)


@contextmanager
def _postgresql(_: Path) -> Iterator[Place]:
    import psycopg

    with PostgresqlServer() as server:
        with psycopg.connect(server.local, autocommit=True) as connection:
            connection.execute(_FAIL)
        yield Place(server.port)


@contextmanager
def _mysql(_: Path) -> Iterator[Place]:
    with MariadbServer() as server:
        yield Place(server.port)


@contextmanager
def _mongodb(_: Path) -> Iterator[Place]:
    with FerretdbServer() as server:
        yield Place(server.port)


@contextmanager
def _kafka(_: Path) -> Iterator[Place]:
    """Of the topic ``bad`` every message must have a key, and those of the mix have none."""
    most = {"message.max.bytes": "16777216", "replica.fetch.max.bytes": "16777216"}
    with KafkaServer(settings=most) as server:
        bad = NewTopic("bad", 2, config={"cleanup.policy": "compact"})
        create(server.address, NewTopic("ok", 2), bad)
        yield Place(server.port)


@contextmanager
def _mqtt(folder: Path) -> Iterator[Place]:
    """Nobody may publish but to ``ok/...``."""
    allowed = folder / "allowed"
    allowed.write_text("topic readwrite ok/#\n")
    with MosquittoServer(folder, f"acl_file {allowed}") as server:
        yield Place(server.port)


@contextmanager
def _amqp(folder: Path) -> Iterator[Place]:
    """What goes to ``ok...`` has a queue, which keeps the last few messages."""
    import pika  # type: ignore[import-untyped]

    with RabbitmqServer(folder) as server:
        connection = pika.BlockingConnection(pika.URLParameters(server.url))
        channel = connection.channel()
        channel.exchange_declare("mix", "topic")
        channel.queue_declare("mix", arguments={"x-max-length": 100})
        channel.queue_bind("mix", "mix", "ok.#")
        connection.close()
        yield Place(server.port)


@contextmanager
def _nats(folder: Path) -> Iterator[Place]:
    with NatsServer(folder, max_payload=16 << 20) as server:
        yield Place(server.port)


@contextmanager
def _dns(folder: Path) -> Iterator[Place]:
    """``ok-10-1-2-3.mix.test`` has the address 10.1.2.3."""
    with DnsServer(folder, synthesized="mix.test,10.0.0.0/8,ok-") as server:
        yield Place(server.port)


@contextmanager
def _fastcgi(folder: Path) -> Iterator[Place]:
    """php-fpm, which nginx calls."""
    script = folder / "site.php"
    script.write_text(_PHP)
    with php_fpm(folder, 4) as php:
        given = f"SCRIPT_FILENAME {script};HTTP_HOST 127.0.0.1:{php.port}"
        words = "".join(f"fastcgi_param {w};" for w in (*_PARAMETERS, *given.split(";")))
        where = f"location / {{ {words} {_BODIES} fastcgi_pass 127.0.0.1:{php.port}; }}"
        with front(folder, "", where) as nginx:
            yield Place(php.port, nginx.port)


@contextmanager
def _uwsgi(folder: Path) -> Iterator[Place]:
    """uWSGI, which nginx calls."""
    script = folder / "site.py"
    script.write_text(_PYTHON)
    with uwsgi(folder, script, 4) as program:
        given = (*_PARAMETERS, f"HTTP_HOST 127.0.0.1:{program.port}")
        words = "".join(f"uwsgi_param {w};" for w in given)
        where = f"location / {{ {words} {_BODIES} uwsgi_pass 127.0.0.1:{program.port}; }}"
        with front(folder, "", where) as nginx:
            yield Place(program.port, nginx.port)


def _own(kind: str) -> Server:
    @contextmanager
    def serve(_: Path) -> Iterator[Place]:
        command = [sys.executable, "-m", "tests.accuracy.mix_server", kind]
        with Service(kind, command, env={"PYTHONPATH": str(ROOT)}) as service:
            yield Place(service.port)

    return serve


@contextmanager
def _dubbo(_: Path) -> Iterator[Place]:
    server = DubboServer("any")
    with server:
        yield Place(server.port)


SERVERS: dict[str, Server] = {
    "redis": _redis,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "memcached": _memcached,
    "mongodb": _mongodb,
    "kafka": _kafka,
    "mqtt": _mqtt,
    "amqp": _amqp,
    "nats": _nats,
    "dns": _dns,
    "fastcgi": _fastcgi,
    "uwsgi": _uwsgi,
    "http": _own("http"),
    "grpc": _own("grpc"),
    "thrift": _own("thrift"),
    "dubbo": _dubbo,
}
