"""The mix's clients of message brokers: see mix_speakers."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tests.accuracy.mix_names import Call, Named, trace_of
from tests.nats_server import PASSWORD as NATS_PASSWORD
from tests.nats_server import USER as NATS_USER


@contextlib.contextmanager
def kafka(port: int) -> Iterator[Call]:
    """Answers say the message's offset in its partition."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "linger.ms": 0})
    for topic in ("ok", "bad"):
        producer.list_topics(topic, timeout=60)

    def call(calls: list[Named]) -> list[str]:
        name = calls[0]
        ended: list[tuple[Any, Any]] = []
        producer.produce(
            name.word, b"message" * (name.number % 50), partition=name.number % 2,
            headers={"traceparent": f"00-{trace_of(name)}-b7ad6b7169203331-01"},
            on_delivery=lambda error, message: ended.append((error, message.offset())),
        )  # fmt: skip
        producer.flush(60)
        ((error, offset),) = ended
        assert (error is not None) == name.bad
        return ["" if error else f"{name.number % 2}:{offset}"]

    yield call


@contextlib.contextmanager
def mqtt(port: int) -> Iterator[Call]:
    """To ``ok/...`` anybody may publish, to ``bad/...`` nobody."""
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    ended: queue.Queue[bool] = queue.Queue()
    client.on_connect = lambda *_: ended.put(True)
    client.on_publish = lambda _, __, ___, code, ____: ended.put(code.is_failure)
    client.connect("127.0.0.1", port)
    client.loop_start()
    ended.get(timeout=60)

    def call(calls: list[Named]) -> list[str]:
        name = calls[0]
        client.publish(f"{name.word}/{name.text}", b"message" * (name.number % 50), qos=1)
        assert ended.get(timeout=60) == name.bad
        return [""]

    yield call
    client.disconnect()
    client.loop_stop()


@contextlib.contextmanager
def amqp(port: int) -> Iterator[Call]:
    """Confirmed publishes; for the failing ones there is no queue."""
    import pika  # type: ignore[import-untyped]
    from pika.exceptions import UnroutableError  # type: ignore[import-untyped]

    connection = pika.BlockingConnection(
        pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/")
    )
    channel = connection.channel()
    channel.confirm_delivery()

    def call(calls: list[Named]) -> list[str]:
        name = calls[0]
        body = b"message" * (name.number % 50)
        with contextlib.suppress(UnroutableError):
            channel.basic_publish("mix", f"{name.word}.{name.text}", body, mandatory=True)
        return [""]

    yield call
    connection.close()


@contextlib.contextmanager
def nats(port: int) -> Iterator[Call]:
    """Requests, which a responder in this process answers, or nobody does. Threads have loops of
    their own."""
    import nats as module
    from nats.errors import NoRespondersError

    answer_nats(port)
    loop = asyncio.new_event_loop()
    connection: Any = loop.run_until_complete(_nats(module, port))

    def call(calls: list[Named]) -> list[str]:
        name = calls[0]
        body = b"message" * (name.number % 50)
        subject = f"{name.word}.{name.text}"
        with contextlib.suppress(NoRespondersError):
            loop.run_until_complete(connection.request(subject, body, timeout=60))
        return [""]

    yield call
    loop.run_until_complete(connection.close())


_answering = threading.Lock()
_answers = threading.Event()


def answer_nats(port: int) -> None:
    """Answers all that is asked of ``ok.*``, until the process ends; begun once."""
    import nats as module

    async def serve() -> None:
        connection = await _nats(module, port)

        async def heard(message: Any) -> None:
            await message.respond(message.data)

        await connection.subscribe("ok.*", cb=heard)
        await connection.flush()
        _answers.set()
        await asyncio.Event().wait()

    if _answering.acquire(blocking=False):
        threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    assert _answers.wait(60)


async def _nats(module: Any, port: int) -> Any:
    return await module.connect(
        f"nats://127.0.0.1:{port}", user=NATS_USER, password=NATS_PASSWORD, connect_timeout=60
    )


BROKERS: dict[str, Callable[[int], contextlib.AbstractContextManager[Call]]] = {
    "kafka": kafka,
    "mqtt": mqtt,
    "amqp": amqp,
    "nats": nats,
}
