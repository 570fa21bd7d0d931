"""Programs that ask a DNS server, for test_dns.py. Each waits for a line before it begins."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dns.exception
import dns.message
import dns.query

HERE = "127.0.0.1"


def lookups(port: int) -> None:
    """dnspython, of every kind: its sockets are not connected."""
    for _ in range(5):
        dns.query.udp(dns.message.make_query("www.a.test", "A"), HERE, port=port, timeout=5)
    dns.query.udp(dns.message.make_query("www.a.test", "AAAA"), HERE, port=port, timeout=5)
    dns.query.udp(
        dns.message.make_query("www.nx.test", "A", use_edns=True), HERE, port=port, timeout=5
    )
    dns.query.udp(dns.message.make_query("refused.test", "MX"), HERE, port=port, timeout=5)
    dns.query.udp_with_fallback(
        dns.message.make_query("big.test", "TXT"), HERE, port=port, timeout=5
    )
    with socket.create_connection((HERE, port)) as connection:
        asked = [dns.message.make_query(f"{n}.a.test", "A") for n in range(4)]
        for question in asked:  # all before the first answer is read
            dns.query.send_tcp(connection, question)
        for _ in asked:
            dns.query.receive_tcp(connection)


def unanswered(port: int) -> None:
    """Nobody answers; then nobody is there."""
    with socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind((HERE, 0))
        silent = deaf.getsockname()[1]
        question = dns.message.make_query("www.a.test", "A")
        with contextlib.suppress(dns.exception.Timeout):
            dns.query.udp(question, HERE, port=silent, timeout=1)
    with socket.socket(type=socket.SOCK_DGRAM) as asks:
        asks.connect((HERE, silent))
        asks.send(dns.message.make_query("gone.a.test", "A").to_wire())
        with contextlib.suppress(ConnectionRefusedError):
            asks.recv(512)


def others(port: int) -> None:
    """What is no DNS, or not that one: beside one lookup, which is."""
    with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b:
        a.bind((HERE, 0))
        b.connect(a.getsockname())
        for n in range(200):
            b.send(bytes([0xC0, 0, 0, 0, 1, 8]) + n.to_bytes(8, "big") + bytes(1200))
            a.recv(2000)
    with socket.socket(type=socket.SOCK_DGRAM) as asks:
        asks.sendto(dns.message.make_query("printer.local", "A").to_wire(), (HERE, 5353))
    dns.query.udp(dns.message.make_query("www.a.test", "A"), HERE, port=port, timeout=5)


def getaddrinfo(_: int) -> None:
    """glibc's resolver: two queries with one call, on the calling threads."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: socket.getaddrinfo(f"{n}.a.test", 80), range(20)))
    with contextlib.suppress(socket.gaierror):
        socket.getaddrinfo("www.nx.test", 80)


class Handler(BaseHTTPRequestHandler):
    """``/<name>`` is looked up by the thread that serves it."""

    protocol_version = "HTTP/1.1"
    port = 0

    def do_GET(self) -> None:
        name = self.path[1:]
        if self.port == 53:
            found: Any = socket.getaddrinfo(name, 80)[0][4][0]
        else:
            question = dns.message.make_query(name, "A")
            found = str(dns.query.udp(question, HERE, port=self.port, timeout=5).answer[0][0])
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def serve(port: int) -> None:
    Handler.port = port
    server = ThreadingHTTPServer((HERE, 0), Handler)
    server.socket.listen(128)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    what, where = globals()[sys.argv[1]], int(sys.argv[2])
    if what is not serve:
        print("ready", flush=True)
        sys.stdin.readline()
    what(where)
    print("done", flush=True)
    sys.stdin.readline()
