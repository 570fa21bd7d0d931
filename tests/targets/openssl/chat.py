"""WebSocket over TLS: chat.py CERT KEY serves; chat.py ADDRESS N waits for a line and talks."""

import asyncio
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def serves(cert: str, key: str) -> None:
    async def echo(connection: object) -> None:
        async for message in connection:  # type: ignore[attr-defined]
            await connection.send(message)  # type: ignore[attr-defined]

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serve(echo, "127.0.0.1", 0, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"listening 127.0.0.1:{port}", flush=True)
        await asyncio.get_running_loop().create_future()


async def talks(address: str, number: int) -> None:
    context = ssl._create_unverified_context()
    async with connect(f"wss://{address}/chat", ssl=context) as connection:
        for _ in range(number):
            await connection.send("hello")
            await connection.recv()


if sys.argv[2].isdigit():
    sys.stdin.readline()
    asyncio.run(talks(sys.argv[1], int(sys.argv[2])))
else:
    asyncio.run(serves(sys.argv[1], sys.argv[2]))
