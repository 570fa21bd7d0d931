"""HTTP with a thread for each connection, which calls Redis, PostgreSQL, MariaDB and others.

    database_target.py REDIS_PORT POSTGRESQL_PORT MARIADB_PORT PASSWORD [NAME=PORT...]

``/call?id=X&n=N&mode=M&db=D``: N calls of D, each of which has X and its number in its text; as
the Go program of tests/targets/go/databases. Modes: "kept", on a connection of the thread's own;
"shared", each on a connection that other threads have used before and will again.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import psycopg
import pymysql
import redis

SHARED = 24
"""Connections to each database that the threads share."""

Call = Callable[[str], None]


def redis_calls(port: int) -> Call:
    client = redis.Redis(port=port, single_connection_client=True)

    def call(name: str) -> None:
        client.set(name, "value")

    return call


def postgresql_calls(port: int, password: str) -> Call:
    where = f"host=127.0.0.1 port={port} user=postgres password={password} sslmode=disable"
    connection = psycopg.connect(where, autocommit=True)

    def call(name: str) -> None:
        connection.execute(f'SELECT %s AS "{name}"', (1,)).fetchone()  # type: ignore[arg-type]

    return call


def mariadb_calls(port: int, password: str) -> Call:
    connection = pymysql.connect(
        host="127.0.0.1", port=port, user="shopper", password=password, autocommit=True
    )

    def call(name: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 AS `{name}`")
            cursor.fetchall()

    return call


def memcached_calls(port: int) -> Call:
    from pymemcache.client.base import Client

    client = Client(("127.0.0.1", port))
    return lambda name: client.get(name) and None


def mongodb_calls(port: int) -> Call:
    import pymongo

    client: Any = pymongo.MongoClient(port=port, maxPoolSize=1)
    return lambda name: client.shop[name].find_one()


def amqp_calls(port: int) -> Call:
    import pika  # type: ignore[import-untyped]

    url = pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/?heartbeat=0")
    channel = pika.BlockingConnection(url).channel()
    channel.confirm_delivery()

    def call(name: str) -> None:
        channel.basic_publish("", name, b"value")

    return call


MORE: dict[str, Callable[[int], Call]] = {
    "memcached": memcached_calls,
    "mongodb": mongodb_calls,
    "amqp": amqp_calls,
}


def main() -> None:
    redis_port, postgresql_port, mariadb_port = map(int, sys.argv[1:4])
    password = sys.argv[4]
    openers: dict[str, Callable[[], Call]] = {
        "redis": lambda: redis_calls(redis_port),
        "postgresql": lambda: postgresql_calls(postgresql_port, password),
        "mariadb": lambda: mariadb_calls(mariadb_port, password),
    }
    for word in sys.argv[5:]:
        name, _, number = word.partition("=")
        openers[name] = partial(MORE[name], int(number))
    shared: dict[str, queue.LifoQueue[Call | None]] = {}
    for name in openers:
        shared[name] = queue.LifoQueue()
        for _ in range(SHARED):
            shared[name].put(None)
    mine = threading.local()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = {k: v[0] for k, v in parse_qs(self.path.partition("?")[2]).items()}
            for number in range(int(asked["n"])):
                self._call(asked["mode"], asked["db"], f"{asked['id']}_{number}")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def _call(self, mode: str, db: str, name: str) -> None:
            if mode == "kept":
                if not hasattr(mine, db):
                    setattr(mine, db, openers[db]())
                getattr(mine, db)(name)
                return
            call = shared[db].get()
            try:
                call = call or openers[db]()
                call(name)
            finally:
                shared[db].put(call)

        def log_message(self, *_: Any) -> None:
            pass

    ThreadingHTTPServer.request_queue_size = 256  # many connect at once
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print("listening", f"127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
