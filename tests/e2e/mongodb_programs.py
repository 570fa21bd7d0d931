"""Programs that call MongoDB, for test_mongodb.py. Each waits for a line before it begins."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern


def commands(uri: str) -> None:
    """Every kind of call, an error or two, and threads that share a client."""
    client: Any = pymongo.MongoClient(uri)
    shop = client.shop
    shop.items.insert_many([{"_id": n, "name": f"s3cr3t-{n}", "kind": n % 3} for n in range(500)])
    shop.items.insert_one({"_id": "one", "name": "s3cr3t"})
    assert len(list(shop.items.find({"kind": 1}, batch_size=50))) == 167
    shop.items.update_one({"_id": 3}, {"$set": {"name": "s3cr3t"}})
    shop.items.delete_many({"_id": {"$in": [4, 5, 6]}})
    shop.items.count_documents({"kind": 2})
    list(shop.items.aggregate([{"$match": {"kind": 1}}, {"$group": {"_id": "$kind"}}]))
    shop.items.find_one_and_update({"_id": 8}, {"$set": {"name": "x"}})
    shop.items.distinct("kind")
    shop.items.create_index("kind")
    shop.list_collection_names()
    with contextlib.suppress(PyMongoError):
        shop.items.insert_one({"_id": "one"})
    with contextlib.suppress(OperationFailure):
        shop.command("nothingOfTheKind", 1)
    shop.big.insert_many([{"_id": n, "text": "x" * 100_000} for n in range(5)])
    assert len(list(shop.big.find())) == 5

    def work(number: int) -> None:
        shop.threads.insert_one({"_id": number})
        assert shop.threads.find_one({"_id": number})["_id"] == number

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    client.close()
    # This server answers though it is not to; so nothing may follow.
    client = pymongo.MongoClient(uri)
    unasked = client.shop.get_collection("unasked", write_concern=WriteConcern(w=0))
    unasked.insert_one({"_id": "w0"})
    watched: Any = pymongo.MongoClient(uri)
    while not watched.shop.unasked.find_one():
        pass
    client.close()
    watched.close()


async def tasks(uri: str) -> None:
    """Forty tasks at once over a pool of connections."""
    client: Any = pymongo.AsyncMongoClient(uri)

    async def one(number: int) -> None:
        await client.shop.tasks.insert_one({"_id": number})
        assert (await client.shop.tasks.find_one({"_id": number}))["_id"] == number

    await asyncio.gather(*(one(n) for n in range(40)))
    await client.close()


def logins(uri: str) -> None:
    """Makes a user, logs in as it, and as somebody it is not. SCRAM, as the server has it."""
    boss: Any = pymongo.MongoClient(uri)
    boss.shop.command("createUser", "clerk", pwd="s3cr3t-pwd", roles=[])
    where = uri.replace("boss:s3cr3t-boss", "clerk:{}").replace(
        "authSource=admin", "authSource=shop"
    )
    clerk: Any = pymongo.MongoClient(where.format("s3cr3t-pwd"))
    clerk.shop.items.find_one({"a": 1})
    other: Any = pymongo.MongoClient(where.format("s3cr3t-no"))
    with contextlib.suppress(OperationFailure):
        other.shop.items.find_one({"a": 1})
        raise AssertionError("it let anybody in")
    for client in (boss, clerk, other):
        client.close()


def serve(uri: str) -> None:
    """HTTP with a thread for each connection; /ID asks for the field ID."""
    client: Any = pymongo.MongoClient(uri)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            client.shop.items.find_one({self.path[1:]: 1})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def midway(uri: str) -> None:
    """A connection that is in use already."""
    client: Any = pymongo.MongoClient(uri)
    client.shop.items.find_one({"a": 1})
    print("connected", flush=True)
    sys.stdin.readline()
    for _ in range(5):
        client.shop.items.find_one({"a": 1})
    print("done", flush=True)


def main() -> None:
    what, uri = sys.argv[1:]
    if what == "serve":
        serve(uri)
    elif what == "midway":
        midway(uri)
    else:
        sys.stdin.readline()
        if what == "tasks":
            asyncio.run(tasks(uri))
        elif what == "logins":
            logins(uri)
        else:
            commands(uri)
        print("done", flush=True)


if __name__ == "__main__":
    main()
