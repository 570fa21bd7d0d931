"""A HTTPS service of Python's, on threads or on asyncio, that may call another one.

``/hop/ID`` calls ``/leaf/ID`` of the next service; everything else is answered with as many
bytes as the query's ``n`` says. Prints ``listening HOST:PORT``.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import http.server
import sys
import threading
import urllib.parse
from typing import Any


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("threads", "asyncio"), required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--next", default="")
    parser.add_argument("--late", action="store_true", help="loads ssl on the first request line")
    return parser.parse_args()


def size(path: str) -> int:
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
    return int(query.get("n", ["5"])[0])


def contexts(chosen: argparse.Namespace) -> tuple[Any, Any]:
    import ssl  # here, so that a process may begin without it

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chosen.cert, chosen.key)
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


def threads(chosen: argparse.Namespace) -> None:
    server_context, client_context = contexts(chosen)
    mine = threading.local()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            if self.path.startswith("/hop/"):
                if not hasattr(mine, "next"):
                    mine.next = http.client.HTTPSConnection(chosen.next, context=client_context)
                mine.next.request("GET", "/leaf/" + self.path[5:])
                mine.next.getresponse().read()
            taken = int(self.headers.get("Content-Length", 0))
            self.rfile.read(taken)
            body = b"x" * size(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = server_context.wrap_socket(server.socket, server_side=True)
    print(f"listening 127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


async def loop(chosen: argparse.Namespace) -> None:
    server_context, client_context = contexts(chosen)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(path: str) -> None:
        host, _, port = chosen.next.partition(":")
        if idle:
            reader, writer = idle.pop()
        else:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=client_context)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {chosen.next}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = [x for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")]
        await reader.readexactly(int(length[0].partition(b":")[2]))
        idle.append((reader, writer))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split()[1].decode()
                if path.startswith("/hop/"):
                    await asyncio.sleep(0.001)
                    await call("/leaf/" + path[5:])
                body = b"x" * size(path)
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    address = server.sockets[0].getsockname()
    print(f"listening 127.0.0.1:{address[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    chosen = arguments()
    if chosen.late:
        sys.stdin.readline()
    if chosen.mode == "threads":
        threads(chosen)
    else:
        asyncio.run(loop(chosen))


if __name__ == "__main__":
    main()
