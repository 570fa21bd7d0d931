"""Programs that call MariaDB, for test_mysql.py. Each waits for a line before it begins."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import mysql.connector
import pymysql

SECRET = "s3cr3t"
ROWS = 1000


def text_protocol(how: dict[str, Any]) -> None:
    """PyMySQL, which sends texts."""
    c = pymysql.connect(
        **how,
        autocommit=True,
        local_infile=True,
        client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
    )
    cursor = c.cursor()
    cursor.execute("DROP TABLE IF EXISTS items, big")
    cursor.execute("CREATE TABLE items (id int PRIMARY KEY, name varchar(200))")
    cursor.execute("CREATE TABLE big (id int, data longblob)")
    for n in range(10):
        cursor.execute("INSERT INTO items VALUES (%s, %s)", (n, f"it's {SECRET}"))
    cursor.execute(f'SELECT * FROM items WHERE name = "{SECRET}" # {SECRET}')
    with contextlib.suppress(pymysql.err.ProgrammingError):
        cursor.execute("SELECT * FROM nowhere")
    with contextlib.suppress(pymysql.err.IntegrityError):
        cursor.execute("INSERT INTO items VALUES (1, 'twice')")
    cursor.execute("UPDATE items SET name = 'a'; UPDATE items SET name = 'b'; SELECT 3 AS three")
    while cursor.nextset():
        pass
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open("rows.csv", "w") as file:
            file.writelines(f"{n}\t{SECRET * 6}\n" for n in range(100, 100 + ROWS))
        cursor.execute("LOAD DATA LOCAL INFILE 'rows.csv' INTO TABLE items")
        os.chdir("/")
    cursor.execute("SELECT * FROM items")  # more than is captured
    assert len(cursor.fetchall()) == 10 + ROWS
    with c.cursor(pymysql.cursors.SSCursor) as streamed:
        streamed.execute("SELECT * FROM items ORDER BY id")
        assert sum(1 for _ in streamed) == 10 + ROWS
    cursor.execute("INSERT INTO big VALUES (1, %s)", (b"x" * (17 << 20),))  # two packets
    cursor.execute("SELECT data FROM big")
    assert len(cursor.fetchone()[0]) == 17 << 20
    cursor.execute("DROP PROCEDURE IF EXISTS twice")
    cursor.execute("CREATE PROCEDURE twice() BEGIN SELECT 1; SELECT 2; END")
    cursor.callproc("twice")
    while cursor.nextset():
        pass
    cursor.execute("DROP USER IF EXISTS someone")
    cursor.execute(f"CREATE USER someone IDENTIFIED BY '{SECRET}'")
    cursor.execute(f"SET PASSWORD FOR someone = PASSWORD('{SECRET}')")
    c.select_db("mysql")
    cursor.execute("SELECT 'there' AS there")
    c.ping()
    c.begin()
    cursor.execute("DELETE FROM shop.items WHERE id = %s", (5,))
    c.commit()
    c.close()


def prepared_statements(how: dict[str, Any]) -> None:
    """mysql-connector-python, which reads headers of 4 bytes alone, and prepares."""
    c = mysql.connector.connect(**how, autocommit=True, use_pure=True, ssl_disabled=True)
    cursor = c.cursor(prepared=True)
    for n in range(5):
        cursor.execute("SELECT name FROM items WHERE id = %s AND name <> %s", (n, SECRET))
        cursor.fetchall()
    cursor.execute("SELECT id, name FROM items WHERE id > ?", (0,))
    assert len(cursor.fetchall()) > ROWS
    with contextlib.suppress(mysql.connector.Error):
        cursor.execute("SELECT * FROM never WHERE id = ?", (1,))
    cursor.close()
    c.cmd_change_user(how["user"], how["password"], "mysql")
    c.close()


def serve(how: dict[str, Any], local: dict[str, Any]) -> None:
    """HTTP with a thread and a connection for each; /ID reads that row, or /unix/ID."""
    mine = threading.local()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            words = self.path.strip("/").split("/")
            way = "unix" if words[0] == "unix" else "tcp"
            if not hasattr(mine, way):
                said = local if way == "unix" else how
                setattr(mine, way, pymysql.connect(**said, autocommit=True))
            cursor = getattr(mine, way).cursor()
            cursor.execute(f"SELECT {words[-1]} AS row_{words[-1]}")
            body = str(cursor.fetchone()[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def midway(how: dict[str, Any]) -> None:
    """A connection that is in use already, and goes on when told to."""
    c = pymysql.connect(**how, autocommit=True)
    cursor = c.cursor()
    print("connected", flush=True)
    sys.stdin.readline()
    for _ in range(6):
        cursor.execute("SELECT 1 AS later")
        cursor.fetchall()
        time.sleep(0.05)
    print("done", flush=True)


def logins(how: dict[str, Any]) -> None:
    """Users of either kind, with their password and without; and over a compressed connection."""
    modern = {**how, "user": "modern", "password": "s3cr3t-ed25519"}
    for who in (how, modern):
        pymysql.connect(**who).close()
        with contextlib.suppress(pymysql.err.OperationalError):
            pymysql.connect(**{**who, "password": "wr0ng"})
    c = mysql.connector.connect(**how, use_pure=True, ssl_disabled=True, compress=True)
    cursor = c.cursor()
    cursor.execute("SELECT 'compressed'")
    cursor.fetchall()
    c.close()


def main() -> None:
    what, port, path = sys.argv[1:]
    who = {"user": "shopper", "password": "s3cr3t-pa55word", "database": "shop"}
    remote = {**who, "host": "127.0.0.1", "port": int(port)}
    local = {**who, "unix_socket": path}
    if what == "serve":
        serve(remote, local)
    elif what == "midway":
        midway(remote)
    elif what == "logins":
        sys.stdin.readline()
        logins(remote)
    else:
        sys.stdin.readline()
        how = remote if what == "tcp" else local
        text_protocol(how)
        prepared_statements(how)
    print(json.dumps("over"), flush=True)


if __name__ == "__main__":
    main()
