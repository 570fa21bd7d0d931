"""A plain Python service for the end-to-end tests: /hello, and /hop to ``--next``."""

from __future__ import annotations

import argparse
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

local = threading.local()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    next_address = ""

    def do_GET(self) -> None:
        body = b"hello\n"
        if urlsplit(self.path).path == "/hop":
            if not hasattr(local, "connection"):
                local.connection = http.client.HTTPConnection(self.next_address, timeout=30)
            local.connection.request("GET", "/hello")
            body = local.connection.getresponse().read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--next", default="", help="base URL that /hop calls")
    chosen = arguments.parse_args()
    Handler.next_address = urlsplit(chosen.next).netloc
    server = Server(("127.0.0.1", 0), Handler)
    print("listening", f"127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
