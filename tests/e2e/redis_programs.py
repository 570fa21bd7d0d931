"""Programs that call Redis, for test_redis.py. Each waits for a line before it begins."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import redis
import redis.asyncio


def commands(c: Any) -> None:
    """Every kind of call once, or a known number of times."""
    c.config_resetstat()
    c.set("k", "v")
    for _ in range(5):
        c.get("k")
    c.incr("n")
    c.lpush("l", 1, 2, 3)
    c.lrange("l", 0, -1)
    c.lrange("missing", 0, -1)
    with contextlib.suppress(redis.ResponseError):
        c.incr("l")
    c.eval("return redis.call('get', KEYS[1])", 1, "k")
    c.hset("h", mapping={f"field{n}": "x" * 50 for n in range(40)})
    c.hgetall("h")
    pipeline = c.pipeline(transaction=False)
    for n in range(300):
        pipeline.set(f"key{n}", "x" * 50)
    pipeline.execute()
    pipeline = c.pipeline(transaction=False)
    for n in range(300):
        pipeline.get(f"key{n}")
    pipeline.execute()
    with c.pipeline(transaction=True) as transaction:
        transaction.set("a", 1).incr("a").execute()
    c.set("big", "z" * 300_000)
    c.get("big")
    c.blpop(["none"], timeout=1)
    subscriber = c.pubsub()
    subscriber.subscribe("news", "sport")
    for _ in range(2):
        subscriber.get_message(timeout=5)
    for _ in range(3):
        c.publish("news", "hello")
        subscriber.get_message(timeout=5)
    subscriber.unsubscribe()
    for _ in range(2):
        subscriber.get_message(timeout=5)
    subscriber.close()
    stats = c.info("commandstats")
    told = {name.removeprefix("cmdstat_"): value["calls"] for name, value in stats.items()}
    print(" ".join(f"{name}={calls}" for name, calls in told.items()), flush=True)


async def tasks(port: int) -> None:
    """Fifty calls at once over a pool, and a pipeline each."""
    c = redis.asyncio.Redis(port=port)

    async def one(n: int) -> None:
        await c.set(f"task{n}", n)
        await c.get(f"task{n}")
        pipeline = c.pipeline(transaction=False)
        pipeline.incr("shared")
        pipeline.get("shared")
        await pipeline.execute()

    await c.config_resetstat()
    await asyncio.gather(*(one(n) for n in range(50)))
    stats = await c.info("commandstats")
    print(
        " ".join(f"{n.removeprefix('cmdstat_')}={v['calls']}" for n, v in stats.items()), flush=True
    )
    await c.aclose()


def serve(port: int, path: str) -> None:
    """HTTP with a thread for each connection; /ID reads key ID over TCP, or /unix/ID."""
    clients = {"tcp": redis.Redis(port=port), "unix": redis.Redis(unix_socket_path=path)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            words = self.path.strip("/").split("/")
            c = clients["unix" if words[0] == "unix" else "tcp"]
            c.incr("served")
            value: Any = c.get(f"id-{words[-1]}") or b"none"
            self.send_response(200)
            self.send_header("Content-Length", str(len(value)))
            self.end_headers()
            self.wfile.write(value)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def midway(port: int) -> None:
    """A connection that is in use already, and goes on when told to."""
    c = redis.Redis(port=port, single_connection_client=True)
    c.set("k", "v")
    print("connected", flush=True)
    sys.stdin.readline()
    import time

    for _ in range(6):
        c.get("k")
        time.sleep(0.05)
    print("done", flush=True)


def main() -> None:
    what, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if what == "serve":
        serve(port, path)
    elif what == "midway":
        midway(port)
    else:
        sys.stdin.readline()
        if what == "tasks":
            asyncio.run(tasks(port))
        else:
            commands(
                redis.Redis(port=port) if what == "tcp" else redis.Redis(unix_socket_path=path)
            )


if __name__ == "__main__":
    main()
