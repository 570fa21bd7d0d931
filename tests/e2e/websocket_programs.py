"""WebSocket servers and clients of the tests: websockets and aiohttp.

``server LIBRARY`` prints where it listens. ``client LIBRARY PORT PATH`` waits for lines: ``talk
N`` (a connection with N messages each way, a ping, fragments, and an orderly close), ``slow N``,
``fail N`` (the server closes it with 1011), ``drop N`` (it goes away without a word), ``many N`` (N
connections at once that talk); says ``done``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

TEXT = "0123456789" * 3


async def serve_websockets() -> None:
    from websockets.asyncio.server import serve

    async def handler(connection: Any) -> None:
        async for message in connection:
            if message == "fail":
                await connection.close(1011, "a fault")
                return
            await connection.send(message)

    async with serve(handler, "127.0.0.1", 0) as server:
        print(f"listening 127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", flush=True)
        await asyncio.get_running_loop().create_future()


async def serve_aiohttp() -> None:
    from aiohttp import WSMsgType, web

    async def handler(request: Any) -> Any:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.data == "fail":
                await socket.close(code=1011)
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"listening 127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.get_running_loop().create_future()


async def talk_websockets(port: int, path: str, count: int, end: str = "") -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async with connect(f"ws://127.0.0.1:{port}{path}", proxy=None, compression=None) as connection:
        await (await connection.ping())
        for number in range(count):
            text = TEXT if number % 3 else TEXT * 3000
            # In fragments, every other one.
            await connection.send([text[:7], text[7:]] if number % 2 else text)
            assert await connection.recv() == text
            if end == "slow":
                await asyncio.sleep(0.3)
        if end == "fail":
            await connection.send("fail")
            try:
                await connection.recv()
            except ConnectionClosed as closed:
                assert closed.code == 1011
        elif end == "drop":
            connection.transport.abort()


async def talk_aiohttp(port: int, path: str, count: int, end: str = "") -> None:
    import aiohttp

    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}{path}", compress=15) as socket,
    ):
        await socket.ping()
        for number in range(count):
            text = TEXT if number % 3 else TEXT * 3000
            await socket.send_str(text)
            assert await socket.receive_str() == text
        if end == "fail":
            await socket.send_str("fail")
            await socket.receive()
        elif end == "drop":
            socket._response.connection.transport.abort()


async def client(library: str, port: int, path: str) -> None:
    talk = {"websockets": talk_websockets, "aiohttp": talk_aiohttp}[library]
    print("listening", flush=True)
    for line in sys.stdin:
        word, number, *_ = line.split()
        if word == "many":
            await asyncio.gather(*(talk(port, f"{path}/{n}", 5) for n in range(int(number))))
        else:
            await talk(port, f"{path}/{word}", int(number), word)
        print("done", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run({"websockets": serve_websockets, "aiohttp": serve_aiohttp}[sys.argv[2]]())
    else:
        asyncio.run(client(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
