"""An aiohttp service for the benchmark: /hello answers, /hop asks the service that -next names."""

import asyncio
import sys

from aiohttp import ClientSession, TCPConnector, web

NEXT = sys.argv[sys.argv.index("-next") + 1] if "-next" in sys.argv else ""


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello\n")


async def hop(request: web.Request) -> web.Response:
    async with request.app["session"].get(f"{NEXT}/hello") as reply:
        await reply.read()
        return web.Response(status=reply.status, text="hopped\n")


async def main() -> None:
    app = web.Application()
    app.router.add_get("/hello", hello)
    app.router.add_get("/hop", hop)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        app["session"] = session
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        print(f"listening {host}:{port}", flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
