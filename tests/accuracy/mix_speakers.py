"""Clients of the mix. Each call has a name of its own, which says whether it is meant to fail, and
which its spans show. Where a reply can say something that spans show, it says the call's own.

Run: python -m tests.accuracy.mix_speakers NAME PORT SECONDS THREADS CALLS_A_SECOND

Says ``prepared``, waits for a line on its input, calls for so long (0: until there is a second
line), and prints the calls as a JSON list of
``[name, mark, began, ended]``: the mark is what the reply says ("": nothing that is shown), the
times are nanoseconds since 1970 around the call. Calls of one thread follow each other.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.accuracy.mix_brokers import BROKERS
from tests.accuracy.mix_names import (
    Call,
    Named,
    address_of,
    errno_of,
    field_of,
    sqlstate_of,
)
from tests.dubbo_program import dubbo_client
from tests.mariadb_server import PASSWORD as MARIADB_PASSWORD
from tests.postgresql_server import PASSWORD as POSTGRESQL_PASSWORD


@contextlib.contextmanager
def redis(port: int) -> Iterator[Call]:
    """One by one, and several in a pipeline. Errors begin with a word that scripts choose."""
    import redis as module

    client = module.Redis(port=port, single_connection_client=True)
    client.ping()

    def ask(to: Any, call: Named) -> None:
        if call.bad:
            to.eval("return redis.error_reply(ARGV[1])", 1, call.text, f"{call.text.upper()} no")
        else:
            to.get(call.text)

    def call(calls: list[Named]) -> list[str]:
        if len(calls) > 1:
            pipeline = client.pipeline(transaction=False)
            for each in calls:
                ask(pipeline, each)
            pipeline.execute(raise_on_error=False)
        else:
            with contextlib.suppress(module.ResponseError):
                ask(client, calls[0])
        return [each.text.upper() if each.bad else "" for each in calls]

    yield call
    client.close()


@contextlib.contextmanager
def postgresql(port: int) -> Iterator[Call]:
    """Failures have the SQLSTATE that is asked for."""
    import psycopg

    where = f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable"
    with psycopg.connect(f"{where} password={POSTGRESQL_PASSWORD}", autocommit=True) as connection:

        def call(calls: list[Named]) -> list[str]:
            name = calls[0]
            if not name.bad:
                connection.execute(f"SELECT 7 AS {name.text}")
                return [""]
            state = sqlstate_of(name)
            with contextlib.suppress(psycopg.Error):
                connection.execute(f"SELECT mix_fail('{state}') AS {name.text}")
            return [state]

        yield call


@contextlib.contextmanager
def mysql(port: int) -> Iterator[Call]:
    """Failures have the number that is asked for."""
    import pymysql

    connection = pymysql.connect(
        host="127.0.0.1", port=port, user="shopper", password=MARIADB_PASSWORD, database="shop"
    )
    with connection, connection.cursor() as cursor:

        def call(calls: list[Named]) -> list[str]:
            name = calls[0]
            if not name.bad:
                cursor.execute(f"SELECT 7 AS {name.text}")
                return [""]
            number = errno_of(name)
            signal = f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}"
            with contextlib.suppress(pymysql.Error):
                cursor.execute(f"BEGIN NOT ATOMIC DECLARE {name.text} INT; {signal}; END")
            return [str(number)]

        yield call


@contextlib.contextmanager
def memcached(port: int) -> Iterator[Call]:
    from pymemcache.client.base import Client
    from pymemcache.exceptions import MemcacheClientError

    client = Client(("127.0.0.1", port), default_noreply=False)

    def call(calls: list[Named]) -> list[str]:
        name = calls[0]
        with contextlib.suppress(MemcacheClientError):
            if name.bad:
                client.raw_command(f"incr {name.text} one")
            else:
                client.get(name.text)
        return [""]

    yield call
    client.close()


@contextlib.contextmanager
def http(port: int) -> Iterator[Call]:
    """The servers give the call's name back in a header."""

    def call(calls: list[Named]) -> list[str]:
        word = "bad" if calls[0].bad else "ok"
        url = f"http://127.0.0.1:{port}/{word}/{calls[0].text}"
        try:
            answer = urllib.request.urlopen(url, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            answer.read()
        return [calls[0].text]

    yield call


@contextlib.contextmanager
def grpc(port: int) -> Iterator[Call]:
    """Threads share a connection, as grpcio has it."""
    import grpc as module

    with module.insecure_channel(f"127.0.0.1:{port}") as channel:
        module.channel_ready_future(channel).result(timeout=60)

        def call(calls: list[Named]) -> list[str]:
            way = channel.unary_unary(f"/mix.Mix/{calls[0].text}")
            with contextlib.suppress(module.RpcError):
                way(b"asked" * (calls[0].number % 50))
            return [""]

        yield call


@contextlib.contextmanager
def mongodb(port: int) -> Iterator[Call]:
    import pymongo

    client: Any = pymongo.MongoClient(port=port, maxPoolSize=1)
    client.admin.command("ping")

    def call(calls: list[Named]) -> list[str]:
        name = calls[0]
        if not name.bad:
            list(client.shop[name.text].find({f"field{name.number % 7}": name.number}))
            return [""]
        with contextlib.suppress(pymongo.errors.OperationFailure):
            client.shop.command(name.text, name.number)
        return [""]

    yield call
    client.close()


@contextlib.contextmanager
def dns(port: int) -> Iterator[Call]:
    """Over UDP and, each fourth call, over TCP. Each name has an address of its own."""
    import dns.message
    import dns.query

    def call(calls: list[Named]) -> list[str]:
        name = calls[0]
        address = address_of(name)
        asked = f"{name.word}-{address.replace('.', '-')}.{'nx' if name.bad else 'mix'}.test"
        ask: Any = dns.query.udp if name.number % 4 else dns.query.tcp
        ask(dns.message.make_query(asked, "A"), "127.0.0.1", port=port, timeout=60)
        return ["" if name.bad else address]

    yield call


@contextlib.contextmanager
def thrift(port: int) -> Iterator[Call]:
    """Failures are exceptions of a number of the call's own."""
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol
    from thrift.Thrift import TMessageType, TType
    from thrift.transport import TSocket, TTransport

    transport = TTransport.TFramedTransport(TSocket.TSocket("127.0.0.1", port))
    transport.open()
    protocol = TBinaryProtocol(transport)

    def call(calls: list[Named]) -> list[str]:
        name = calls[0]
        protocol.writeMessageBegin(name.text, TMessageType.CALL, 0)
        protocol.writeStructBegin("")
        protocol.writeFieldBegin("", TType.STRING, 1)
        protocol.writeString("asked" * (name.number % 50))
        protocol.writeFieldStop()
        protocol.writeMessageEnd()
        transport.flush()
        said, _, _ = protocol.readMessageBegin()
        protocol.readStructBegin()
        _, _, field = protocol.readFieldBegin()
        protocol.skip(TType.STRUCT if name.bad else TType.STRING)
        protocol.readFieldBegin()
        protocol.readMessageEnd()
        assert (said, field) == (name.text, field_of(name) if name.bad else 0)
        return [str(field) if name.bad else ""]

    yield call
    transport.close()


@contextlib.contextmanager
def dubbo(port: int) -> Iterator[Call]:
    """Dubbo's own client, whose threads share a connection."""
    client = dubbo_client(port)

    def call(calls: list[Named]) -> list[str]:
        assert client.ask(calls[0].text) == calls[0].word
        return [""]

    yield call


SPEAKERS: dict[str, Callable[[int], contextlib.AbstractContextManager[Call]]] = {
    "redis": redis,
    "postgresql": postgresql,
    "mysql": mysql,
    "memcached": memcached,
    "mongodb": mongodb,
    **BROKERS,
    "dns": dns,
    "fastcgi": http,
    "uwsgi": http,
    "http": http,
    "grpc": grpc,
    "thrift": thrift,
    "dubbo": dubbo,
}


def main() -> None:
    name, port, seconds, threads, pace = sys.argv[1], *map(int, sys.argv[2:6])
    made: list[tuple[str, str, int, int]] = []
    prepared = threading.Barrier(threads + 1)
    begin, ended = threading.Event(), threading.Event()

    def speak(thread: int) -> None:
        chance, numbers = random.Random(thread), itertools.count()
        with SPEAKERS[name](port) as call:
            prepared.wait()
            begin.wait()
            ends = time.monotonic() + seconds
            while not (ended.is_set() if seconds == 0 else time.monotonic() >= ends):
                many = 2 + chance.randrange(5) if name == "redis" and chance.random() < 0.3 else 1
                bad = [chance.random() < 0.4 for _ in range(many)]
                calls = [Named(each, thread, next(numbers)) for each in bad]
                began = time.time_ns()
                marks = call(calls)
                after = time.time_ns()
                made.extend((c.text, m, began, after) for c, m in zip(calls, marks, strict=True))
                time.sleep(chance.random() * 2 * many * threads / pace)

    with ThreadPoolExecutor(threads) as pool:
        speakers = [pool.submit(speak, number) for number in range(threads)]
        prepared.wait(timeout=120)
        print("prepared", flush=True)
        sys.stdin.readline()
        begin.set()
        if seconds == 0:
            sys.stdin.readline()
            ended.set()
        for speaker in speakers:
            speaker.result()
    print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
