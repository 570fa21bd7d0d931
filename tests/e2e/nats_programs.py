"""Programs that speak NATS, for test_nats.py. Each waits for a line before it begins."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import nats
from nats.errors import NoRespondersError

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MESSAGES = 20


async def connected(url: str, **more: Any) -> Any:
    return await nats.connect(url, user="me", password="s3cr3t-password", name="shop", **more)


async def core(url: str, verbose: bool) -> None:
    """Messages with and without headers, requests with and without who answers them."""
    c = await connected(url, verbose=verbose)
    got: asyncio.Queue[Any] = asyncio.Queue()

    async def heard(message: Any) -> None:
        await got.put(message)

    async def answers(message: Any) -> None:
        await message.respond(b"s3cr3t")

    await c.subscribe("events.>", cb=heard)
    await c.subscribe("sum", "workers", cb=answers)
    await c.flush()
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    for number in range(MESSAGES):
        await c.publish("events.new", b"s3cr3t-body", headers=headers if number & 1 else None)
    await c.publish("events.big", b"z" * 200_000)
    for _ in range(MESSAGES + 1):
        await asyncio.wait_for(got.get(), 20)
    for _ in range(MESSAGES):
        await c.request("sum", b"s3cr3t", timeout=20)
    with contextlib.suppress(NoRespondersError):
        await c.request("nobody", b"", timeout=20)
    await c.drain()


async def stream(url: str) -> None:
    """JetStream: publishes that are acknowledged, messages that are fetched and acknowledged."""
    c = await connected(url)
    js = c.jetstream()
    await js.add_stream(name="ORDERS", subjects=["orders.*"])
    for number in range(MESSAGES):
        await js.publish(f"orders.{'new' if number & 1 else 'old'}", b"s3cr3t-body")
    pulling = await js.pull_subscribe("orders.*", "worker")
    for message in await pulling.fetch(MESSAGES, timeout=20):
        await message.ack()
    await c.drain()


def main() -> None:
    what, url = sys.argv[1], sys.argv[2]
    sys.stdin.readline()
    asyncio.run(stream(url) if what == "stream" else core(url, what == "verbose"))
    print("done", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
