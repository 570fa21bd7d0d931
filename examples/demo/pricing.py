"""The shop's pricing service: a thread per connection, one call to the back end per price.

Nothing here knows of tracing: the standard library's server and client, no more.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--listen", default="127.0.0.1:0")
arguments.add_argument("--backend", required=True, help="base URL of the back end")
local = threading.local()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    backend = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path != "/price":
            return self.answer(404, "no such page")
        # One keep-alive connection per thread, as a session object would hold it.
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(self.backend, timeout=5)
        local.connection.request("GET", "/stock?" + url.query)
        response = local.connection.getresponse()
        stock = response.read().decode().strip()
        if response.status != 200:
            return self.answer(response.status, stock)
        return self.answer(200, f"9.99 EUR ({stock})")

    def answer(self, status: int, text: str) -> None:
        body = text.encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked, or was asked, is gone: at the demo's end that is no fault."""
        if not isinstance(sys.exc_info()[1], (OSError, http.client.HTTPException)):
            super().handle_error(request, client_address)


def main() -> None:
    chosen = arguments.parse_args()
    Handler.backend = urlsplit(chosen.backend).netloc
    host, _, port = chosen.listen.rpartition(":")
    server = Server((host, int(port)), Handler)
    print("listening", f"{host}:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
