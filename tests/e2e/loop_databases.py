"""An asyncio service that asks Redis, PostgreSQL and MariaDB, for each request in queries that name
it.

    loop_databases.py REDIS_PORT POSTGRESQL_PORT MARIADB_PORT PASSWORD

Prints its port. ``/N`` gets id-N and id-N-too at once, sleeps, and selects id_N: with psycopg on a
connection of its own, with asyncpg and aiomysql on pools of fewer connections than requests.
"""

from __future__ import annotations

import asyncio
import random
import sys

import aiomysql
import asyncpg
import psycopg
import redis.asyncio
from aiohttp import web


async def main() -> None:
    cache = redis.asyncio.Redis(port=int(sys.argv[1]), max_connections=100)
    password = sys.argv[4]
    where = f"host=127.0.0.1 port={sys.argv[2]} user=postgres password={password}"
    pool = asyncpg.create_pool(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        user="postgres",
        password=password,
        min_size=0,
        max_size=8,
        ssl=False,
    )
    mysql = await aiomysql.create_pool(
        host="127.0.0.1",
        port=int(sys.argv[3]),
        user="shopper",
        password=password,
        minsize=0,
        maxsize=8,
    )
    await pool

    async def handle(request: web.Request) -> web.Response:
        number = request.match_info["number"]
        await asyncio.gather(cache.get(f"id-{number}"), cache.get(f"id-{number}-too"))
        await asyncio.sleep(random.random() / 100)
        async with await psycopg.AsyncConnection.connect(where) as database:
            await database.execute(f"SELECT 1 AS id_{number}")  # type: ignore[arg-type]
        assert await pool.fetchval(f"SELECT 2 AS id_{number}") == 2
        async with mysql.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(f"SELECT 3 AS id_{number}")
            assert await cursor.fetchone() == (3,)
        return web.Response(text=number)

    app = web.Application()
    app.router.add_get("/{number}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
