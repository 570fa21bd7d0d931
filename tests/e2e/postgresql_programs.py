"""Programs that call PostgreSQL, for test_postgresql.py. Each waits for a line before it begins."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg


def statistics(c: Any) -> str:
    rows = c.execute("SELECT query, calls FROM pg_stat_statements").fetchall()
    return json.dumps(dict(rows))


def commands(where: str) -> None:
    """Every kind of call, a known number of times."""
    with psycopg.connect(where, autocommit=True) as c:
        c.execute("DROP TABLE IF EXISTS items")
        c.execute("SELECT pg_stat_statements_reset()")
        c.execute("CREATE TABLE items (id int PRIMARY KEY, name text)")
        for n in range(20):  # prepared from the sixth on
            c.execute("INSERT INTO items VALUES (%s, %s)", (n, "s3cr3t"))
        c.execute("SELECT * FROM items WHERE id = 3 AND name = 's3cr3t'").fetchall()
        with contextlib.suppress(psycopg.errors.UndefinedTable):
            c.execute("SELECT * FROM nowhere")
        with contextlib.suppress(psycopg.errors.UniqueViolation):
            c.execute("INSERT INTO items VALUES (%s, %s)", (1, "s3cr3t"))
        with c.pipeline():
            for n in range(50):
                c.execute("UPDATE items SET name = %s WHERE id = %s", ("s3cr3t", n))
        with c.cursor().copy("COPY items FROM STDIN") as copy_in:
            for n in range(1000, 21000):
                copy_in.write_row((n, "y" * 20))
        with c.cursor().copy("COPY items TO STDOUT") as copy_out:
            for _ in copy_out:
                pass
        assert len(c.execute("SELECT * FROM items").fetchall()) == 20020
        with c.transaction():
            c.execute("DELETE FROM items WHERE id = %s", (5,))
        with c.transaction(), c.cursor("fetched", binary=True) as cursor:
            cursor.execute("SELECT id FROM items")
            cursor.fetchmany(10)
        c.execute("LISTEN news")
        c.execute("NOTIFY news, 's3cr3t'")
        c.execute("SELECT count(*) FROM items")
        print(statistics(c), flush=True)


def serve(where: str, local: str) -> None:
    """HTTP with a thread and a connection for each; /ID reads that row, or /unix/ID."""
    mine = threading.local()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            words = self.path.strip("/").split("/")
            way = "unix" if words[0] == "unix" else "tcp"
            if not hasattr(mine, way):
                said = local if way == "unix" else where
                setattr(mine, way, psycopg.connect(said, autocommit=True))
            row = getattr(mine, way).execute(f"SELECT {words[-1]} AS row_{words[-1]}").fetchone()
            body = str(row[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def midway(where: str) -> None:
    """A connection that is in use already, and goes on when told to."""
    with psycopg.connect(where, autocommit=True) as c:
        print("connected", flush=True)
        sys.stdin.readline()
        for _ in range(6):
            c.execute("SELECT 1 AS later")
            time.sleep(0.05)
        print("done", flush=True)


def main() -> None:
    what, where, local = sys.argv[1:]
    if what == "serve":
        serve(where, local)
    elif what == "midway":
        midway(where)
    else:
        sys.stdin.readline()
        commands(where if what == "tcp" else local)


if __name__ == "__main__":
    main()
