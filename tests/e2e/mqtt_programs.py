"""Programs that speak MQTT, for test_mqtt.py. Each waits for a line before it begins."""

from __future__ import annotations

import asyncio
import queue
import sys
import urllib.request
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MESSAGES = 20
"""Of each quality of service."""


def client(name: str, port: int, version: Any) -> Any:
    """Connected, its loop in a thread."""
    made = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=version)
    made.username_pw_set("me", "s3cr3t-password")
    connected: queue.Queue[Any] = queue.Queue()
    made.on_connect = lambda *words: connected.put(words[3])
    made.connect("127.0.0.1", port)
    made.loop_start()
    connected.get(timeout=20)
    return made


def publishes(port: int, version: Any) -> None:
    """paho: every quality both ways, and the broker's own count of what it received."""
    consumer, producer = client("consumer", port, version), client("producer", port, version)
    got: queue.Queue[str] = queue.Queue()
    counts: queue.Queue[int] = queue.Queue()

    def heard(_client: Any, _data: Any, message: Any) -> None:
        if message.topic.startswith("$SYS"):
            counts.put(int(message.payload))
        else:
            got.put(message.topic)

    consumer.on_message = heard
    ready: queue.Queue[Any] = queue.Queue()
    consumer.on_subscribe = lambda *words: ready.put(words)
    consumer.subscribe([("shop/#", 2)])
    ready.get(timeout=20)
    properties = None
    if version == paho.MQTTv5:
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    for quality in range(3):
        for _ in range(MESSAGES):
            told = producer.publish(
                f"shop/q{quality}", "s3cr3t-body", quality, properties=properties
            )
            told.wait_for_publish(20)
    producer.publish("shop/big", b"z" * 200_000, 1).wait_for_publish(20)
    for _ in range(3 * MESSAGES + 1):
        got.get(timeout=20)
    # Of the messages themselves it does not count those of quality 2.
    consumer.subscribe("$SYS/broker/publish/bytes/received", 0)
    received = 0
    while received < 3 * MESSAGES * len("s3cr3t-body") + 200_000:
        received = counts.get(timeout=20)
    for one in (producer, consumer):
        one.disconnect()
        one.loop_stop()
    print(received, flush=True)


async def tasks(port: int) -> None:
    """aiomqtt: the same with tasks."""
    async with aiomqtt.Client(
        "127.0.0.1", port, username="me", password="s3cr3t-password", identifier="tasks"
    ) as c:
        await c.subscribe("shop/#", 2)

        async def produce() -> None:
            for quality in range(3):
                for _ in range(MESSAGES):
                    await c.publish(f"shop/q{quality}", b"s3cr3t-body", quality)

        producing = asyncio.create_task(produce())
        got = 0
        async for _ in c.messages:
            got += 1
            if got == 3 * MESSAGES:
                break
        await producing
    print(3 * MESSAGES * len("s3cr3t-body"), flush=True)


def handles(port: int, shop: int) -> None:
    """Calls HTTP within the handler of each message, whose own time it takes; one at a time."""
    consumer, producer = client("consumer", port, 4), client("producer", port, 4)
    done: queue.Queue[bytes] = queue.Queue()

    def heard(_client: Any, _data: Any, message: Any) -> None:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{shop}/{message.payload.decode()}"
        ) as answer:
            done.put(answer.read())

    consumer.on_message = heard
    ready: queue.Queue[Any] = queue.Queue()
    consumer.on_subscribe = lambda *words: ready.put(words)
    consumer.subscribe("orders", 1)
    ready.get(timeout=20)
    for number in range(MESSAGES):
        producer.publish("orders", str(number), 1).wait_for_publish(20)
        done.get(timeout=20)
    for one in (producer, consumer):
        one.disconnect()
        one.loop_stop()
    print("done", flush=True)


def main() -> None:
    what, port = sys.argv[1], int(sys.argv[2])
    sys.stdin.readline()
    if what == "tasks":
        asyncio.run(tasks(port))
    elif what == "handles":
        handles(port, int(sys.argv[3]))
    else:
        publishes(port, paho.MQTTv5 if what == "five" else paho.MQTTv311)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
