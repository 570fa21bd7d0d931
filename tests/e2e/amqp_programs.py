"""Programs that speak AMQP, for test_amqp.py. Each waits for a line before it begins."""

from __future__ import annotations

import contextlib
import sys
import urllib.request
from typing import Any

import pika  # type: ignore[import-untyped]
from pika.exceptions import (  # type: ignore[import-untyped]
    AMQPError,
    ChannelClosedByBroker,
    UnroutableError,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MESSAGES = 20


def calls(url: str) -> None:
    """Publishes with and without confirmation, deliveries, fetches, failures."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    plain, sure = connection.channel(), connection.channel()
    sure.confirm_delivery()
    for queue in ("orders", "quick"):
        plain.queue_declare(queue, exclusive=True)
    properties = pika.BasicProperties(
        message_id="m1", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}
    )
    for _ in range(MESSAGES):
        sure.basic_publish("", "orders", b"s3cr3t-body", properties)
        plain.basic_publish("", "quick", b"s3cr3t-body")
    sure.basic_publish("", "orders", b"z" * 300_000)
    with contextlib.suppress(UnroutableError):
        sure.basic_publish("", "nowhere", b"s3cr3t", mandatory=True)
    plain.basic_qos(prefetch_count=5)
    for taken, (method, _, _) in enumerate(plain.consume("orders")):
        plain.basic_ack(method.delivery_tag)
        if taken == MESSAGES:
            break
    plain.cancel()
    for taken, _ in enumerate(plain.consume("quick", auto_ack=True)):
        if taken == MESSAGES - 1:
            break
    plain.cancel()
    plain.basic_get("orders", auto_ack=True)
    with contextlib.suppress(ChannelClosedByBroker):
        sure.queue_declare("absent", passive=True)
    connection.close()


def handles(url: str, shop: int) -> None:
    """Calls HTTP within the handler of each message; one waits at a time."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare("handled", exclusive=True)
    channel.basic_qos(prefetch_count=1)
    for number in range(MESSAGES):
        channel.basic_publish("", "handled", str(number).encode())
    done = 0

    def heard(_: Any, method: Any, __: Any, body: bytes) -> None:
        nonlocal done
        with urllib.request.urlopen(f"http://127.0.0.1:{shop}/{body.decode()}") as answer:
            answer.read()
        channel.basic_ack(method.delivery_tag)
        done += 1
        if done == MESSAGES:
            channel.stop_consuming()

    channel.basic_consume("handled", heard)
    channel.start_consuming()
    connection.close()


def refused(url: str) -> None:
    """A login with the wrong password."""
    with contextlib.suppress(AMQPError):
        pika.BlockingConnection(pika.URLParameters(url.replace("guest:guest", "guest:s3cr3t")))


def main() -> None:
    what, url = sys.argv[1], sys.argv[2]
    sys.stdin.readline()
    if what == "handles":
        handles(url, int(sys.argv[3]))
    elif what == "refused":
        refused(url)
    else:
        calls(url)
    print("done", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
