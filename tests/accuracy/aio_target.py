"""An asyncio service of the accuracy harness: aiohttp, or uvicorn with Starlette and httpx.

Serves the calls of a plan and makes the calls below them in the way the plan names, with the
truth headers that ``tests/accuracy/target/main.go`` describes. Runs on CPython 3.8 and newer.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

plan: dict[str, Any] = {"services": {}, "nodes": {}}
background: set[asyncio.Task[None]] = set()
failed = 0
local = threading.local()
send: Callable[[str, str, str, bytes, dict[str, str]], Awaitable[int]]


async def call(transport: str, child: str, parent: str, pause: int = 0) -> None:
    node = plan["nodes"][child]
    address = plan["services"][node["service"]]
    if pause:
        await asyncio.sleep(random.random() * pause / 1000)
    method, body = ("POST", b"body " * 60) if node["post"] else ("GET", b"")
    headers = {"X-Truth-Id": child, "X-Truth-Parent": parent}
    status = await send(transport, method, f"http://{address}/call/{child}", body, headers)
    if status != 200:
        raise RuntimeError(f"call {child}: status {status}")


def call_from_thread(child: str, parent: str) -> None:
    address = plan["services"][plan["nodes"][child]["service"]]
    connections = local.__dict__.setdefault("connections", {})
    if address not in connections:
        connections[address] = http.client.HTTPConnection(address, timeout=30)
    headers = {"X-Truth-Id": child, "X-Truth-Parent": parent}
    connections[address].request("GET", "/call/" + child, headers=headers)
    response = connections[address].getresponse()
    response.read()
    if response.status != 200:
        raise RuntimeError(f"call {child}: status {response.status}")


async def fan(calls: Sequence[Awaitable[None]]) -> None:
    await asyncio.gather(*calls)


async def leftover(calls: Sequence[Awaitable[None]]) -> None:
    global failed
    await asyncio.sleep(0.02)
    try:
        for each in calls:
            await each
    except Exception as error:
        failed += 1
        print(f"leftover: {error!r}", file=sys.stderr, flush=True)


async def perform(node: dict[str, Any], parent: str) -> None:
    mode, pause = node["mode"], node.get("pause_ms", 0)
    calls = [call(node["transport"], child, parent, pause) for child in node["calls"]]
    if mode == "sequential":
        for each in calls:
            await each
    elif mode == "parallel":
        await asyncio.gather(*calls)
    elif mode == "nested":
        await asyncio.gather(fan(calls[:1]), fan(calls[1:]))
    elif mode == "wait":
        done, _ = await asyncio.wait([asyncio.ensure_future(each) for each in calls])
        for task in done:
            task.result()
    elif mode == "shield":
        for each in calls:
            await asyncio.shield(each)
    elif mode == "wait_for":
        for each in calls:
            await asyncio.wait_for(each, 30)
    elif mode == "task":
        for each in calls:
            await asyncio.ensure_future(each)
    elif mode == "later":
        tasks = [asyncio.ensure_future(each) for each in calls]
        await asyncio.sleep(0.05)
        for task in tasks:
            await task
    elif mode == "group":
        async with getattr(asyncio, "TaskGroup")() as group:  # noqa: B009 - since 3.11
            for each in calls:
                group.create_task(each)
    elif mode == "to_thread":
        for each, child in zip(calls, node["calls"]):  # noqa: B905 - since 3.10
            each.close()
            await getattr(asyncio, "to_thread")(call_from_thread, child, parent)  # noqa: B009
    elif mode == "background":
        task = asyncio.ensure_future(leftover(calls))
        background.add(task)
        task.add_done_callback(background.discard)
    else:
        raise ValueError(f"unknown mode {mode!r}")


async def respond(path: str, body: bytes) -> tuple[int, str]:
    if path == "/load":
        plan.update(json.loads(body))
        return 200, str(len(plan["nodes"]))
    if path == "/pending":
        return 200, f"{len(background)} {failed}"
    name = path[len("/call/") :]
    node = plan["nodes"].get(name)
    if node is None:
        return 404, "no such call in the plan"
    if node["sleep_ms"]:
        await asyncio.sleep(node["sleep_ms"] / 1000)
    try:
        await perform(node, name)
    except Exception as error:
        print(f"call {name}: {error!r}", file=sys.stderr, flush=True)
        return 500, repr(error)
    return 200, name


async def serve_aiohttp(listener: socket.socket) -> None:
    import aiohttp
    from aiohttp import web

    global send
    free = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    limited = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=4))

    async def request(
        transport: str, method: str, url: str, body: bytes, headers: dict[str, str]
    ) -> int:
        session = limited if transport == "limited" else free
        async with session.request(method, url, data=body or None, headers=headers) as response:
            await response.read()
            return response.status

    send = request

    async def handle(incoming: web.Request) -> web.Response:
        status, text = await respond(incoming.path, await incoming.read())
        return web.Response(status=status, text=text)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=1024).start()
    announce(listener)
    await asyncio.Event().wait()


async def serve_starlette(listener: socket.socket) -> None:
    import httpx
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    global send
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    client = httpx.AsyncClient(limits=limits, timeout=60, trust_env=False)

    async def request(_: str, method: str, url: str, body: bytes, headers: dict[str, str]) -> int:
        response = await client.request(method, url, content=body or None, headers=headers)
        return int(response.status_code)

    send = request

    async def handle(incoming: Request) -> PlainTextResponse:
        status, text = await respond(incoming.url.path, await incoming.body())
        return PlainTextResponse(text, status)

    app = Starlette(routes=[Route("/{rest:path}", handle, methods=["GET", "POST"])])
    config = uvicorn.Config(app, log_level="error", loop="none", backlog=1024)
    server = uvicorn.Server(config)
    announce(listener)
    await server.serve([listener])


def announce(listener: socket.socket) -> None:
    listener.listen(1024)
    print("listening", f"127.0.0.1:{listener.getsockname()[1]}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("server", choices=["aiohttp", "starlette"])
    arguments.add_argument("--uvloop", action="store_true")
    chosen = arguments.parse_args()
    if chosen.uvloop:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    serve = serve_aiohttp if chosen.server == "aiohttp" else serve_starlette
    asyncio.run(serve(listener))


if __name__ == "__main__":
    main()
