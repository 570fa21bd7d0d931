"""Clients of the mix. Each call says in its text whether it is meant to fail, so a reply that was
given to another call shows.

Run: python -m tests.accuracy.mix_speakers NAME PORT SECONDS THREADS CALLS_A_SECOND

Waits for a line on its input, calls, and prints a JSON object: how many calls went well and how
many failed, as they were meant to.
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.mariadb_server import PASSWORD as MARIADB_PASSWORD
from tests.postgresql_server import PASSWORD as POSTGRESQL_PASSWORD

Call = Callable[[bool, int], int]
"""Makes one call or several that are, or are not, meant to fail; gives their number."""


@contextlib.contextmanager
def redis(port: int) -> Iterator[Call]:
    import redis as module

    client = module.Redis(port=port, single_connection_client=True)
    client.set("bad", "no number")

    def call(bad: bool, number: int) -> int:
        if number % 3:
            if not bad:
                client.get(f"ok{number % 7}")
                return 1
            with contextlib.suppress(module.ResponseError):
                client.incr("bad")
            return 1
        many = 2 + number % 5
        pipeline = client.pipeline(transaction=False)
        for _ in range(many):
            pipeline.incr("bad") if bad else pipeline.get("ok")
        pipeline.execute(raise_on_error=False)
        return many

    yield call
    client.close()


def _sql(execute: Callable[[str], Any], error: type[Exception]) -> Call:
    def call(bad: bool, number: int) -> int:
        if not bad:
            execute(f"SELECT {number} AS ok")
            return 1
        with contextlib.suppress(error):
            execute(f"SELECT {number} FROM bad_{number % 5}")
        return 1

    return call


@contextlib.contextmanager
def postgresql(port: int) -> Iterator[Call]:
    import psycopg

    where = f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable"
    with psycopg.connect(f"{where} password={POSTGRESQL_PASSWORD}", autocommit=True) as connection:
        yield _sql(connection.execute, psycopg.Error)


@contextlib.contextmanager
def mysql(port: int) -> Iterator[Call]:
    import pymysql

    connection = pymysql.connect(
        host="127.0.0.1", port=port, user="shopper", password=MARIADB_PASSWORD, database="shop"
    )
    with connection, connection.cursor() as cursor:
        yield _sql(cursor.execute, pymysql.Error)


@contextlib.contextmanager
def memcached(port: int) -> Iterator[Call]:
    from pymemcache.client.base import Client
    from pymemcache.exceptions import MemcacheClientError

    client = Client(("127.0.0.1", port), default_noreply=False)
    client.set("bad", "no number")

    def call(bad: bool, number: int) -> int:
        if not bad:
            client.get(f"ok{number % 7}")
            return 1
        with contextlib.suppress(MemcacheClientError):
            client.incr("bad", 1)
        return 1

    yield call
    client.close()


@contextlib.contextmanager
def http(port: int) -> Iterator[Call]:
    def call(bad: bool, number: int) -> int:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/{'bad' if bad else 'ok'}", timeout=30)
        return 1

    yield call


@contextlib.contextmanager
def grpc(port: int) -> Iterator[Call]:
    import grpc as module

    with module.insecure_channel(f"127.0.0.1:{port}") as channel:
        ways = {bad: channel.unary_unary(f"/mix.Mix/{'Bad' if bad else 'Ok'}") for bad in (0, 1)}

        def call(bad: bool, number: int) -> int:
            with contextlib.suppress(module.RpcError):
                ways[bad](b"asked" * (number % 50))
            return 1

        yield call


@contextlib.contextmanager
def mongodb(port: int) -> Iterator[Call]:
    import pymongo

    client: Any = pymongo.MongoClient(port=port, maxPoolSize=1)

    def call(bad: bool, number: int) -> int:
        if not bad:
            list(client.shop.ok.find({f"field{number % 7}": number}))
            return 1
        with contextlib.suppress(pymongo.errors.OperationFailure):
            client.shop.command(f"bad_{number % 5}", number)
        return 1

    yield call
    client.close()


@contextlib.contextmanager
def kafka(port: int) -> Iterator[Call]:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "linger.ms": 0})
    for topic in ("ok", "bad"):
        producer.list_topics(topic, timeout=30)

    def call(bad: bool, number: int) -> int:
        ended: list[Any] = []
        producer.produce(
            "bad" if bad else "ok", b"message" * (number % 50), partition=number % 2,
            on_delivery=lambda error, _: ended.append(error),
        )  # fmt: skip
        producer.flush(60)
        assert [error is not None for error in ended] == [bad]
        return 1

    yield call


@contextlib.contextmanager
def mqtt(port: int) -> Iterator[Call]:
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    ended: queue.Queue[bool] = queue.Queue()
    client.on_connect = lambda *_: ended.put(True)
    client.on_publish = lambda _, __, ___, code, ____: ended.put(code.is_failure)
    client.connect("127.0.0.1", port)
    client.loop_start()
    ended.get(timeout=60)

    def call(bad: bool, number: int) -> int:
        client.publish("bad" if bad else "ok", b"message" * (number % 50), qos=1)
        assert ended.get(timeout=60) == bad
        return 1

    yield call
    client.disconnect()
    client.loop_stop()


SPEAKERS: dict[str, Callable[[int], contextlib.AbstractContextManager[Call]]] = {
    "redis": redis,
    "postgresql": postgresql,
    "mysql": mysql,
    "memcached": memcached,
    "mongodb": mongodb,
    "kafka": kafka,
    "mqtt": mqtt,
    "fastcgi": http,
    "uwsgi": http,
    "http": http,
    "grpc": grpc,
}


def main() -> None:
    name, port, seconds, threads, pace = sys.argv[1], *map(int, sys.argv[2:6])
    made: Counter[str] = Counter()
    sys.stdin.readline()
    ends = time.monotonic() + seconds

    def speak(number: int) -> None:
        chance = random.Random(number)
        with SPEAKERS[name](port) as call:
            while time.monotonic() < ends:
                bad = chance.random() < 0.4
                calls = call(bad, chance.randrange(1000))
                made["bad" if bad else "ok"] += calls
                time.sleep(chance.random() * 2 * calls * threads / pace)

    speakers = [threading.Thread(target=speak, args=(number,)) for number in range(threads)]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join()
    print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
