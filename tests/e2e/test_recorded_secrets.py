"""What is recorded of real logins has none of their secrets, and still tells of the logins."""

from __future__ import annotations

import asyncio
import http.server
import queue
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nats
import paho.mqtt.client as paho
import psycopg
import pytest
import redis
from paho.mqtt.enums import CallbackAPIVersion

from tests.e2e.recording import recorded, recording, replayed
from tests.mariadb_server import MariadbServer
from tests.mosquitto_server import MosquittoServer
from tests.nats_server import NatsServer
from tests.postgresql_server import PostgresqlServer
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]
# Short ones: their last bytes are all of them.
REDIS, MQTT, TOKEN = "r3d!s-", "mq7t-pw", "b3arer-t0ken"
OTHER = {"postgresql": "s3cr3t-pa55word", "mariadb": "s3cr3t-pa55word", "nats": "s3cr3t-password"}


def redis_logins(port: int) -> None:
    url = f"redis://clerk:{REDIS}@127.0.0.1:{port}"
    for more in ("?protocol=2", "?protocol=3"):
        with redis.Redis.from_url(url + more) as client:
            client.set("shop", "open")
    with redis.Redis(port=port, password=REDIS) as client:
        client.config_set("requirepass", REDIS)
        client.execute_command("ACL", "SETUSER", "clerk", "on", f">{REDIS}")
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(f"AUTH {REDIS}\r\n".encode())
        assert plain.recv(100).startswith(b"+OK")


def mqtt_logins(port: int) -> None:
    for version in (paho.MQTTv311, paho.MQTTv5):
        client = paho.Client(CallbackAPIVersion.VERSION2, "client-7", protocol=version)
        client.username_pw_set("clerk", MQTT)
        connected: queue.Queue[Any] = queue.Queue()
        client.on_connect = lambda *words, told=connected: told.put(words)
        client.connect("127.0.0.1", port)
        client.loop_start()
        connected.get(timeout=60)
        client.publish("shop/1", b"x", qos=1).wait_for_publish(60)
        client.disconnect()
        client.loop_stop()


def nats_login(url: str) -> None:
    async def once() -> None:
        client = await nats.connect(url, user="me", password=OTHER["nats"], name="shop")
        await client.publish("shop.1", b"x")
        await client.drain()

    asyncio.run(once())


def postgresql_login(server: PostgresqlServer) -> None:
    words = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres sslmode=disable"
    with psycopg.connect(words, password=OTHER["postgresql"]) as connection:
        connection.execute(f"ALTER ROLE postgres PASSWORD '{OTHER['postgresql']}'")


def mariadb_login(server: MariadbServer) -> None:
    where = {"host": "127.0.0.1", "port": server.port, "unix_socket": None}
    with server.connect(**where) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET PASSWORD = PASSWORD('{OTHER['mariadb']}')")


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Set-Cookie", f"session={TOKEN}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def http_login() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        headers = {"Authorization": f"Bearer {TOKEN}", "Cookie": f"session={TOKEN}"}
        url = f"http://127.0.0.1:{server.server_port}/shop?sig={TOKEN}"
        urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60).close()
        thread.join()


def mosquitto(stack: ExitStack, folder: Path) -> MosquittoServer:
    folder.mkdir()
    server = stack.enter_context(MosquittoServer(folder))
    return server


def test_recordings_of_real_logins(tmp_path: Path) -> None:
    file = tmp_path / "logins.cap"
    with ExitStack() as stack:
        cache = stack.enter_context(
            RedisServer(
                tmp_path, "--requirepass", REDIS, "--user", *f"clerk on >{REDIS} ~* +@all".split()
            )
        )
        broker = mosquitto(stack, tmp_path / "mosquitto")
        bus = stack.enter_context(NatsServer(tmp_path / "nats"))
        postgresql = stack.enter_context(PostgresqlServer())
        mariadb = stack.enter_context(MariadbServer())
        everyone: list[Any] = [cache, broker, bus, postgresql, mariadb]
        logins: list[Callable[[], None]] = [
            lambda: redis_logins(cache.port),
            lambda: mqtt_logins(broker.port),
            lambda: nats_login(bus.url),
            lambda: postgresql_login(postgresql),
            lambda: mariadb_login(mariadb),
            http_login,
        ]
        with recording(file, [server.pid for server in everyone]):
            for login in logins:
                login()
    data = recorded(file)
    secrets = [REDIS, MQTT, TOKEN, *OTHER.values()]
    assert [word for word in secrets if word.encode() in data] == []
    # Nor proofs of a password, by which it could be looked for.
    assert b",p=" not in data
    assert data.count(b"shopper\0\x14" + b"x" * 20) == 2
    # All of it was there, and is told as ever.
    for word in (b"AUTH", b"HELLO", b"SETUSER", b"client-7", b"CONNECT {", b"ALTER ROLE"):
        assert word in data, word
    spans = replayed(file)
    told = Counter((span["kind"], span["name"]) for span in spans)
    for name in ("AUTH", "HELLO", "CONFIG SET", "ACL SETUSER", "ALTER ROLE postgres", "GET"):
        assert told["CLIENT", name] == told["SERVER", name] >= 1, (name, told)
    for name, number in (("publish shop/{id}", 4), ("publish shop.{id}", 2)):
        seen = sum(count for (_, said), count in told.items() if said == name)
        assert seen == number, sorted(told)
    failed = {span["name"] for span in spans if span["attributes"].get("error.type")}
    assert failed <= {"CLIENT MAINT_NOTIFICATIONS", "CLIENT SETINFO"}  # newer than the server


def test_secrets_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "kept.cap"
    with NatsServer(tmp_path / "nats") as bus, recording(file, [bus.pid], "--keep-secrets"):
        nats_login(bus.url)
    assert OTHER["nats"].encode() in recorded(file)
