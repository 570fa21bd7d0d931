"""A site by hypercorn: HTTP/2 without TLS. ``serve BACK`` prints where it listens; a request asks
BACK, over HTTP/1, for what it is asked for, and says for which one. ``call URL``: httpx asks for
PATH over HTTP/2, for each line ``METHOD PATH N`` of standard input N times at once."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import httpx


async def serve(back: str) -> None:
    from hypercorn.asyncio import serve as run
    from hypercorn.config import Config

    client = httpx.AsyncClient(trust_env=False)

    async def site(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        truth = dict(scope["headers"]).get(b"x-truth-id", b"").decode()
        url = f"http://{back}{scope['path']}"
        answer = await client.get(url, headers={"x-truth-parent": truth})
        status = {"type": "http.response.start", "status": answer.status_code, "headers": []}
        await send(status)
        await send({"type": "http.response.body", "body": answer.content})

    config = Config()
    with socket.create_server(("127.0.0.1", 0)) as listens:
        config.bind = [f"fd://{listens.fileno()}"]
        print(f"listening 127.0.0.1:{listens.getsockname()[1]}", flush=True)
        await run(site, config)  # type: ignore[arg-type]


async def call(url: str) -> None:
    secure = url.startswith("https")
    async with httpx.AsyncClient(
        http1=secure, http2=True, verify=False, trust_env=False, timeout=30
    ) as client:
        print("listening", url, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            _, path, times = line.split()

            async def one(number: int, path: str = path) -> None:
                truth = {"x-truth-id": f"{path}.{number}"}
                answer = await client.get(f"{url}{path}/{number}", headers=truth)
                if (answer.status_code, answer.http_version) != (200, "HTTP/2"):
                    print(answer, answer.http_version)

            await asyncio.gather(*(one(number) for number in range(int(times))))
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run({"serve": serve, "call": call}[sys.argv[1]](sys.argv[2]))
