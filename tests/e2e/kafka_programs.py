"""Programs that call Kafka by librdkafka, for test_kafka.py. Each waits for a line first."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

USER, PASSWORD = "shop", "s3cr3t-pa55word"
SECRET_KEY, SECRET_VALUE = b"secret-key", b"secret-value"


def traceparent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def create(address: str, *topics: NewTopic) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics(list(topics)).values():
        future.result()


def produce(
    address: str, topic: str, numbers: Sequence[int], together: bool = False, **settings: Any
) -> list[int]:
    """One message for each number, which is its trace; returns their offsets."""
    offsets: list[int] = []

    def delivered(error: Any, message: Message) -> None:
        assert error is None, error
        offset = message.offset()
        offsets.append(-1 if offset is None else offset)

    said = {name.replace("_", "."): value for name, value in settings.items()}
    producer = Producer({"bootstrap.servers": address, "client.id": "shop", **said})
    producer.list_topics(topic, timeout=20)
    for number in numbers:
        producer.produce(
            topic,
            SECRET_VALUE,
            key=SECRET_KEY,
            partition=0,
            headers={"traceparent": traceparent(number)},
            on_delivery=delivered,
        )
        if not together:
            producer.flush()
    producer.flush()
    return offsets


def consume(address: str, group: str, topics: list[str], number: int, **settings: Any) -> None:
    """Receives that many messages, and commits."""
    said = {name.replace("_", "."): value for name, value in settings.items()}
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "client.id": f"{group}-client",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **said,
        }
    )
    consumer.subscribe(topics)
    got = 0
    while got < number:
        message = consumer.poll(20)
        assert message is not None, f"{got} of {number}"
        if message.error():
            continue
        got += 1
    consumer.commit(asynchronous=False)
    consumer.close()


def ends(address: str, topics: list[str]) -> dict[str, int]:
    """The broker's own count of messages, by topic (partition 0 holds all)."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "nobody"})
    found = {}
    for topic in topics:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
        found[topic] = high - low
    consumer.close()
    return found


def calls(address: str, login: str) -> None:
    """Every kind of call a known number of times."""
    names = ["orders", "together", "packed", "none", "idempotent", "big", "mixed"]
    create(address, *(NewTopic(name, 2, 1) for name in names))
    produce(address, "orders", range(1, 6))
    produce(address, "together", range(10, 30), True, linger_ms=200)
    for number, packing in enumerate(("gzip", "snappy", "lz4", "zstd")):
        produce(address, "packed", range(40 + 10 * number, 45 + 10 * number), True,
                linger_ms=200, compression_type=packing)  # fmt: skip
    produce(address, "none", range(80, 83), acks=0)
    produce(address, "idempotent", range(90, 93), enable_idempotence=True)
    big = Producer({"bootstrap.servers": address, "client.id": "shop"})
    for _ in range(3):
        big.produce("big", b"x" * 700_000, partition=0)
        big.flush()
    several = Producer({"bootstrap.servers": address, "client.id": "shop", "linger.ms": 300})
    several.list_topics(timeout=20)
    for partition in (0, 1):
        several.produce("mixed", b"v", partition=partition)
    several.flush()
    consume(address, "billing", ["orders"], 5)
    consume(address, "archive", ["together", "packed", "idempotent", "big"], 20 + 20 + 3 + 3)
    print(json.dumps(ends(address, names)), flush=True)


def failing(address: str, login: str) -> None:
    """Calls that fail, logins that do not and that do."""
    create(address, NewTopic("small", 1, 1, config={"max.message.bytes": "1000"}))
    producer = Producer({"bootstrap.servers": address, "client.id": "shop"})
    failed: list[str] = []
    producer.produce(
        "small", b"x" * 5000, on_delivery=lambda e, _: failed.append(e.name() if e else "")
    )
    producer.flush()
    try:
        create(address, NewTopic("small", 1, 1))
    except KafkaException as error:
        failed.append(error.args[0].name())
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        for password in (PASSWORD, "wr0ng-pa55word"):
            client = Producer(
                {
                    "bootstrap.servers": login,
                    "security.protocol": "SASL_PLAINTEXT",
                    "sasl.mechanism": mechanism,
                    "sasl.username": USER,
                    "sasl.password": password,
                    "log_level": 0,
                    "reconnect.backoff.ms": 10_000,
                    "error_cb": lambda _: None,
                }
            )
            if password == PASSWORD:
                client.produce("logged-in", b"v", partition=0)
                assert client.flush(20) == 0
            else:
                client.poll(1)
                try:
                    client.list_topics(timeout=1)
                except KafkaException:
                    failed.append(mechanism)
    print(json.dumps(failed), flush=True)


def midway(address: str, login: str) -> None:
    """Connections that are in use already, and go on when told to."""
    create(address, NewTopic("later", 1, 1))
    producer = Producer({"bootstrap.servers": address, "client.id": "shop"})
    consumer = Consumer({"bootstrap.servers": address, "group.id": "late", "client.id": "late",
                         "auto.offset.reset": "earliest"})  # fmt: skip
    consumer.subscribe(["later"])
    producer.produce("later", b"v", headers={"traceparent": traceparent(1)})
    producer.flush()
    assert consumer.poll(30) is not None
    print("connected", flush=True)
    sys.stdin.readline()
    for number in range(2, 7):
        producer.produce("later", b"v", headers={"traceparent": traceparent(number)})
        producer.flush()
        assert consumer.poll(30) is not None
    print("done", flush=True)


def serve(address: str, login: str) -> None:
    """HTTP with a thread for each connection; /now/N sends a message of trace N and waits for
    it, /later/N does not wait, and it is sent when its request is over."""
    create(address, NewTopic("served", 1, 1))
    producer = Producer({"bootstrap.servers": address, "client.id": "shop", "linger.ms": 3})
    producer.list_topics("served", timeout=20)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            way, number = self.path.strip("/").split("/")
            producer.produce("served", b"v", headers={"traceparent": traceparent(int(number))})
            if way == "now":
                producer.flush(20)
            else:
                time.sleep(0.002)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def main() -> None:
    what, address, login = sys.argv[1:]
    if what in ("calls", "failing"):
        sys.stdin.readline()
    {"calls": calls, "failing": failing, "midway": midway, "serve": serve}[what](address, login)


if __name__ == "__main__":
    main()
