"""The Python services of the accuracy harness, with the standard library (and requests).

``threading`` is a ThreadingHTTPServer that keeps connections alive; ``pool`` hands each
connection to a fixed pool of threads and closes it after one response. Both serve the
calls of a plan and make the calls below them in the way the plan names, with the truth
headers that ``tests/accuracy/target/main.go`` describes.
"""

from __future__ import annotations

import argparse
import http.client
import json
import queue
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

import requests

plan: dict[str, Any] = {"services": {}, "nodes": {}}
local = threading.local()
shared: dict[str, queue.LifoQueue[http.client.HTTPConnection]] = {}
shared_lock = threading.Lock()
executor = ThreadPoolExecutor(8, thread_name_prefix="fanout")


def exchange(connection: http.client.HTTPConnection, method: str, path: str,
             body: bytes | None, headers: dict[str, str]) -> int:  # fmt: skip
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    response.read()
    return response.status


def call(transport: str, child: str, parent: str) -> None:
    node = plan["nodes"][child]
    address = plan["services"][node["service"]]
    method, body = ("POST", b"body " * 60) if node["post"] else ("GET", None)
    headers = {"X-Truth-Id": child, "X-Truth-Parent": parent}
    path = "/call/" + child
    if node.get("before_ms"):
        time.sleep(random.random() * node["before_ms"] / 1000)
    if transport == "requests":
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.trust_env = False
        status = local.session.request(
            method, f"http://{address}{path}", data=body, headers=headers, timeout=30
        ).status_code
    elif transport == "fresh":
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            status = exchange(connection, method, path, body, headers)
        finally:
            connection.close()
    elif transport == "pooled":
        connections = local.__dict__.setdefault("connections", {})
        if address not in connections:
            connections[address] = http.client.HTTPConnection(address, timeout=30)
        status = exchange(connections[address], method, path, body, headers)
    elif transport == "shared":
        with shared_lock:
            idle = shared.setdefault(address, queue.LifoQueue())
        try:
            connection = idle.get_nowait()
        except queue.Empty:
            connection = http.client.HTTPConnection(address, timeout=30)
        status = exchange(connection, method, path, body, headers)
        idle.put(connection)
    else:
        raise ValueError(f"unknown transport {transport!r}")
    if status != 200:
        raise RuntimeError(f"call {child}: status {status}")


def perform(node: dict[str, Any], parent: str) -> None:
    transport, calls = node["transport"], node["calls"]
    if node["mode"] == "sequential":
        for child in calls:
            call(transport, child, parent)
    elif node["mode"] == "executor":
        for future in [executor.submit(call, transport, child, parent) for child in calls]:
            future.result()
    elif node["mode"] == "submitted":
        for child in calls:
            executor.submit(call, transport, child, parent).result()
    elif node["mode"] == "threads":
        errors: list[BaseException] = []

        def run(child: str) -> None:
            try:
                call(transport, child, parent)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(child,)) for child in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
    else:
        raise ValueError(f"unknown mode {node['mode']!r}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    keep_alive = True

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, text: str) -> None:
        body = text.encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if not self.keep_alive:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/load":
            plan.update(json.loads(body))
            return self.answer(200, str(len(plan["nodes"])))
        if self.path == "/pending":
            return self.answer(200, "0 0")
        name = self.path.removeprefix("/call/")
        node = plan["nodes"].get(name)
        if node is None:
            return self.answer(404, "no such call in the plan")
        if node["sleep_ms"]:
            time.sleep(node["sleep_ms"] / 1000)
        try:
            perform(node, name)
        except Exception as error:
            print(f"call {name}: {error!r}", file=sys.stderr, flush=True)
            return self.answer(500, repr(error))
        return self.answer(200, name)

    do_POST = do_GET


class ClosingHandler(Handler):
    keep_alive = False


class KeepAliveServer(ThreadingHTTPServer):
    request_queue_size = 256


class PoolServer(HTTPServer):
    """One accepting thread, a fixed number of workers, one request a connection."""

    request_queue_size = 256

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool = ThreadPoolExecutor(16, thread_name_prefix="worker")

    def process_request(self, request: Any, client_address: Any) -> None:
        self.pool.submit(self.work, request, client_address)

    def work(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)


class HandedServer(PoolServer):
    """One thread accepts and reads requests; workers do what they ask for and answer."""

    def process_request(self, request: Any, client_address: Any) -> None:
        handler = ReadHandler(request, client_address, self)
        self.pool.submit(self.answer, handler, request)

    def answer(self, handler: ReadHandler, request: socket.socket) -> None:
        try:
            handler.do_GET()
            handler.wfile.flush()
        except Exception:
            self.handle_error(request, None)
        finally:
            self.shutdown_request(request)


class ReadHandler(ClosingHandler):
    """Reads one request; what it asks for is done by somebody else."""

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        self.parse_request()
        self.close_connection = True

    def finish(self) -> None:
        pass


SERVERS: dict[str, tuple[Callable[..., HTTPServer], type[Handler]]] = {
    "threading": (KeepAliveServer, Handler),
    "pool": (PoolServer, ClosingHandler),
    "handed": (HandedServer, ClosingHandler),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("server", choices=["threading", "pool", "handed"])
    arguments.add_argument("--listen", default="127.0.0.1:0")
    chosen = arguments.parse_args()
    host, _, port = chosen.listen.rpartition(":")
    make, handler = SERVERS[chosen.server]
    server = make((host, int(port)), handler)
    print("listening", f"{host}:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
