"""The mix's own servers. Run: python -m tests.accuracy.mix_server http|grpc

``/ok`` and ``/mix.Mix/Ok`` go well, ``/bad`` and ``/mix.Mix/Bad`` fail. Prints
``listening HOST:PORT``.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"answer"
        self.send_response(200 if self.path == "/ok" else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def serve_http() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(f"listening 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def serve_grpc() -> None:
    import grpc

    def ok(asked: bytes, context: Any) -> bytes:
        return asked

    def bad(asked: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.INTERNAL, "as it was meant")
        return b""

    server = grpc.server(ThreadPoolExecutor(8))
    ways = {
        "Ok": grpc.unary_unary_rpc_method_handler(ok),
        "Bad": grpc.unary_unary_rpc_method_handler(bad),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("mix.Mix", ways),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve_http() if sys.argv[1] == "http" else serve_grpc()
