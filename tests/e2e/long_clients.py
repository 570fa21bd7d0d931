"""Clients that send and receive messages far longer than what is captured of them, between short
ones, for test_long_messages.py.

Run: python -m tests.e2e.long_clients NAME PORT

Each is a function of a server's port that returns ``(prepare, speak)``: ``prepare()`` is called
before anything is traced, ``speak(make)`` makes the calls, each within ``make(name)``, a context
manager that notes when. What is said is that of mix_speakers.
"""

from __future__ import annotations

import http.client
import json
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.accuracy.mix_brokers import answer_nats
from tests.accuracy.mix_names import Named
from tests.mariadb_server import PASSWORD as MARIADB_PASSWORD
from tests.nats_server import PASSWORD as NATS_PASSWORD
from tests.nats_server import USER as NATS_USER
from tests.postgresql_server import PASSWORD as POSTGRESQL_PASSWORD

SHORT, LONG, LONGEST = 10, 100 << 10, 5 << 20
SIZES = (SHORT, SHORT, LONG, SHORT, SHORT, LONGEST, SHORT, SHORT)
ASKED, ANSWERED, ROW, AFTER = range(4)
"""Which are long: requests, answers, requests among others that do not wait for each other; and
short ones after all that, with silences in between."""
SILENCE = 0.06

Make = Callable[..., AbstractContextManager[None]]
Client = tuple[Callable[[], object], Callable[[Make], object]]


def each(way: int) -> list[tuple[str, int]]:
    """(name, size) of the calls of one way."""
    sizes = SIZES if way != AFTER else (SHORT,) * 6
    return [(Named(False, way, number).text, size) for number, size in enumerate(sizes)]


def one_by_one(make: Make, way: int, ask: Callable[[str, int], object]) -> None:
    """Each call after the one before."""
    for name, size in each(way):
        if way == AFTER:
            time.sleep(SILENCE)
        with make(name):
            ask(name, size)


def row(make: Make) -> AbstractContextManager[None]:
    """All of them at once."""
    return make(*(name for name, _ in each(ROW)))


def nothing() -> None:
    pass


def redis(port: int) -> Client:
    import redis as module

    client = module.Redis(port=port, single_connection_client=True)

    def put(name: str, size: int) -> None:
        client.set(name, "x" * size)

    def get(name: str, size: int) -> None:
        assert len(client.get(name) or b"") == size

    def prepare() -> None:
        for name, size in each(ANSWERED):
            put(name, size)
        client.close()

    def speak(make: Make) -> None:
        one_by_one(make, ASKED, put)
        one_by_one(make, ANSWERED, get)
        pipeline = client.pipeline(transaction=False)
        for name, size in each(ROW):
            pipeline.set(name, "x" * size)
        with row(make):
            pipeline.execute()
        one_by_one(make, AFTER, put)
        client.close()

    return prepare, speak


def postgresql(port: int) -> Client:
    import psycopg

    where = f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable"

    def speak(make: Make) -> None:
        with psycopg.connect(f"{where} password={POSTGRESQL_PASSWORD}", autocommit=True) as c:

            def ask(name: str, size: int) -> None:
                c.execute(f"SELECT 7 AS {name}, length('{'x' * size}')")

            def get(name: str, size: int) -> None:
                c.execute(f"SELECT 7 AS {name}, repeat('x', {size})").fetchall()

            one_by_one(make, ASKED, ask)
            one_by_one(make, ANSWERED, get)
            with row(make), c.pipeline():
                for name, size in each(ROW):
                    c.execute(f"SELECT 7 AS {name}, length(%s)", ["x" * size])
            one_by_one(make, AFTER, ask)

    return nothing, speak


def mysql(port: int) -> Client:
    import pymysql

    def speak(make: Make) -> None:
        with (
            pymysql.connect(host="127.0.0.1", port=port, user="shopper", database="shop",
                            password=MARIADB_PASSWORD) as connection,
            connection.cursor() as cursor,
        ):  # fmt: skip

            def ask(name: str, size: int) -> None:
                cursor.execute(f"SELECT 7 AS {name}, length('{'x' * size}')")

            def get(name: str, size: int) -> None:
                cursor.execute(f"SELECT 7 AS {name}, repeat('x', {size})")

            one_by_one(make, ASKED, ask)
            one_by_one(make, ANSWERED, get)

    return nothing, speak


def memcached(port: int) -> Client:
    from pymemcache.client.base import Client as Module

    client = Module(("127.0.0.1", port), default_noreply=False)

    def put(name: str, size: int) -> None:
        client.set(name, "x" * size)

    def get(name: str, size: int) -> None:
        assert len(client.get(name)) == size

    def prepare() -> None:
        for name, size in each(ANSWERED):
            put(name, size)
        client.close()

    def speak(make: Make) -> None:
        one_by_one(make, ASKED, put)
        one_by_one(make, ANSWERED, get)
        with row(make):
            client.set_many({name: "x" * size for name, size in each(ROW)})
        one_by_one(make, AFTER, put)
        client.close()

    return prepare, speak


def mongodb(port: int) -> Client:
    import pymongo

    def connected() -> Any:
        return pymongo.MongoClient(port=port, maxPoolSize=1)

    def prepare() -> None:
        with connected() as client:
            for name, size in each(ANSWERED):
                client.shop[name].insert_one({"text": "x" * size})

    def speak(make: Make) -> None:
        with connected() as client:

            def put(name: str, size: int) -> None:
                client.shop[name].insert_one({"text": "x" * size})

            def get(name: str, size: int) -> None:
                found = list(client.shop[name].find())
                assert [len(one["text"]) for one in found] == [size]

            one_by_one(make, ASKED, put)
            one_by_one(make, ANSWERED, get)

    return prepare, speak


def kafka(port: int) -> Client:
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    where: dict[str, Any] = {"bootstrap.servers": f"127.0.0.1:{port}"}
    produces = {**where, "linger.ms": 0, "message.max.bytes": 2 * LONGEST}

    def sender() -> Callable[[str, int], None]:
        producer = Producer(produces)

        def send(name: str, size: int) -> None:
            producer.produce(name, b"x" * size, partition=0)
            assert producer.flush(60) == 0

        return send

    def prepare() -> None:
        names = [name for way in (ASKED, ANSWERED) for name, _ in each(way)]
        most = {"max.message.bytes": str(2 * LONGEST)}
        admin = AdminClient(where)
        asked = admin.create_topics([NewTopic(name, 1, config=most) for name in names])
        for made in asked.values():
            made.result(60)
        send = sender()
        for name, size in each(ANSWERED):
            send(name, size)

    def speak(make: Make) -> None:
        one_by_one(make, ASKED, sender())
        consumer = Consumer({**where, "group.id": "long", "enable.auto.commit": False,
                             "auto.offset.reset": "earliest"})  # fmt: skip

        def take(name: str, size: int) -> None:
            consumer.assign([TopicPartition(name, 0, 0)])
            message = consumer.poll(60)
            assert message is not None
            assert len(message.value() or b"") == size

        one_by_one(make, ANSWERED, take)
        consumer.close()

    return prepare, speak


def mqtt(port: int) -> Client:
    from paho.mqtt.client import Client as Module
    from paho.mqtt.client import MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    def speak(make: Make) -> None:
        got: queue.Queue[Any] = queue.Queue()
        taken: queue.Queue[Any] = queue.Queue()
        consumer, client = (Module(CallbackAPIVersion.VERSION2, protocol=MQTTv5) for _ in range(2))
        for one in (consumer, client):
            one.on_connect = one.on_subscribe = one.on_publish = lambda *_: got.put(1)
            one.connect("127.0.0.1", port)
            one.loop_start()
            got.get(timeout=60)
        consumer.on_message = lambda _, __, message: taken.put(len(message.payload))
        consumer.subscribe("ok/#", 1)
        got.get(timeout=60)

        def send(name: str, size: int) -> None:
            client.publish(f"ok/{name}", b"x" * size, qos=1)
            got.get(timeout=60)
            assert taken.get(timeout=60) == size

        one_by_one(make, ASKED, send)
        with row(make):
            for name, size in each(ROW):
                client.publish(f"ok/{name}", b"x" * size, qos=1)
            for _ in SIZES:
                got.get(timeout=60)
                taken.get(timeout=60)
        one_by_one(make, AFTER, send)
        for one in (consumer, client):
            one.disconnect()
            one.loop_stop()

    return nothing, speak


def amqp(port: int) -> Client:
    import pika  # type: ignore[import-untyped]

    def speak(make: Make) -> None:
        url = pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/")
        with pika.BlockingConnection(url) as connection, pika.BlockingConnection(url) as second:
            channel, consumer = connection.channel(), second.channel()
            channel.confirm_delivery()
            taken = consumer.consume("mix")

            def send(name: str, size: int) -> None:
                channel.basic_publish("mix", f"ok.{name}", b"x" * size)
                method, _, body = next(taken)
                assert len(body) == size
                consumer.basic_ack(method.delivery_tag)

            one_by_one(make, ASKED, send)
            plain = connection.channel()
            with row(make):
                for name, size in each(ROW):
                    plain.basic_publish("mix", f"ok.{name}", b"x" * size)
                for _ in SIZES:
                    method, _, _ = next(taken)
                    consumer.basic_ack(method.delivery_tag)
            one_by_one(make, AFTER, send)
            consumer.cancel()

    return nothing, speak


def nats(port: int) -> Client:
    import asyncio

    import nats as module

    def speak(make: Make) -> None:
        answer_nats(port)
        loop = asyncio.new_event_loop()
        login: dict[str, Any] = {"user": NATS_USER, "password": NATS_PASSWORD}
        connection: Any = loop.run_until_complete(
            module.connect(f"nats://127.0.0.1:{port}", **login)
        )

        async def request(name: str, size: int) -> None:
            answer = await connection.request(f"ok.{name}", b"x" * size, timeout=60)
            assert len(answer.data) == size

        async def requests() -> None:
            await asyncio.gather(*(request(name, size) for name, size in each(ROW)))

        def ask(name: str, size: int) -> None:
            loop.run_until_complete(request(name, size))

        one_by_one(make, ASKED, ask)
        with row(make):
            loop.run_until_complete(requests())
        one_by_one(make, AFTER, ask)
        loop.run_until_complete(connection.close())

    return nothing, speak


def web(port: int) -> Client:
    def speak(make: Make) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def post(name: str, size: int) -> None:
            connection.request("POST", f"/ok/{name}", b"x" * size)
            connection.getresponse().read()

        def get(name: str, size: int) -> None:
            connection.request("GET", f"/ok/{name}/{size}")
            assert len(connection.getresponse().read()) == size

        one_by_one(make, ASKED, post)
        one_by_one(make, ANSWERED, get)
        connection.close()

    return nothing, speak


def grpc(port: int) -> Client:
    import grpc as module

    most = [(f"grpc.max_{way}_message_length", 2 * LONGEST) for way in ("send", "receive")]

    def speak(make: Make) -> None:
        with module.insecure_channel(f"127.0.0.1:{port}", most) as channel:

            def ask(name: str, size: int) -> None:
                assert len(channel.unary_unary(f"/mix.Mix/{name}")(b"x" * size)) == size

            one_by_one(make, ASKED, ask)

    return nothing, speak


CLIENTS: dict[str, Callable[[int], Client]] = {
    "redis": redis,
    "postgresql": postgresql,
    "mysql": mysql,
    "memcached": memcached,
    "mongodb": mongodb,
    "kafka": kafka,
    "mqtt": mqtt,
    "amqp": amqp,
    "nats": nats,
    "fastcgi": web,
    "uwsgi": web,
    "http": web,
    "grpc": grpc,
}


def main() -> None:
    prepare, speak = CLIENTS[sys.argv[1]](int(sys.argv[2]))
    prepare()
    print("prepared", flush=True)
    sys.stdin.readline()
    made: list[tuple[str, str, int, int]] = []

    @contextmanager
    def make(*names: str) -> Iterator[None]:
        began = time.time_ns()
        yield
        ended = time.time_ns()
        made.extend((name, "", began, ended) for name in names)

    speak(make)
    print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
