"""Programs that speak Thrift, for test_thrift.py, by its own library and thriftpy2.

Run by the interpreter of tests/thrift_code.py. Clients wait for a line before they begin.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CODE, IDL = sys.argv[1:3]
sys.path.insert(0, CODE)

import thriftpy2  # noqa: E402
from shop import Newer, Shop  # noqa: E402
from shop.ttypes import Item, NotFound  # noqa: E402
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory  # noqa: E402
from thrift.protocol.TCompactProtocol import TCompactProtocolFactory  # noqa: E402
from thrift.protocol.THeaderProtocol import THeaderProtocolFactory  # noqa: E402
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol  # noqa: E402
from thrift.server.TServer import TThreadedServer  # noqa: E402
from thrift.Thrift import TApplicationException  # noqa: E402
from thrift.TMultiplexedProcessor import TMultiplexedProcessor  # noqa: E402
from thrift.transport import TSocket, TTransport  # noqa: E402
from thrift.transport.THeaderTransport import THeaderTransformID  # noqa: E402
from thriftpy2 import protocol as other_protocols  # noqa: E402
from thriftpy2 import rpc as other_rpc  # noqa: E402
from thriftpy2 import transport as other_transports  # noqa: E402

FRAMED, BUFFERED = TTransport.TFramedTransportFactory(), TTransport.TBufferedTransportFactory()
KINDS: dict[str, tuple[Any, Any]] = {
    "framed": (FRAMED, TBinaryProtocolFactory()),
    "buffered": (BUFFERED, TBinaryProtocolFactory()),
    "framed-compact": (FRAMED, TCompactProtocolFactory()),
    "buffered-compact": (BUFFERED, TCompactProtocolFactory()),
    "header": (BUFFERED, THeaderProtocolFactory()),
    "header-zlib": (BUFFERED, THeaderProtocolFactory()),
    "several": (FRAMED, TBinaryProtocolFactory()),
}
"""By name, transport and protocol; ``several`` has its service behind a name."""


class Handler:
    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self._lock = threading.Lock()

    def _count(self, what: str) -> None:
        with self._lock:
            self.counted[what] += 1

    def price(self, name: str, count: int) -> Item:
        self._count("price")
        if name == "unicorn":
            raise NotFound("secret-unicorn")
        if name == "broken":
            raise ValueError("secret-broken")
        return Item(name, count * 3, ["a", "b"], {"here": 4}, [1.5, 2.5], True)

    def ping(self) -> None:
        self._count("ping")

    def note(self, text: str) -> None:
        self._count("note")

    def many(self, count: int, filler: str) -> list[Item]:
        self._count("many")
        return [
            Item("x", n, [filler, "secret"], {"here": n}, [0.5] * 3, False) for n in range(count)
        ]


def serve() -> None:
    """A port for each kind; says them in one line."""
    handler = Handler()
    ports = {}
    for kind, (transport, protocol) in KINDS.items():
        processor: Any = Shop.Processor(handler)
        if kind == "several":
            processor = TMultiplexedProcessor()
            processor.registerProcessor("shop", Shop.Processor(handler))
        listener = TSocket.TServerSocket("127.0.0.1", 0)
        listener.listen()
        ports[kind] = listener.handle.getsockname()[1]
        listener.listen = lambda: None  # already
        server = TThreadedServer(processor, listener, transport, protocol, daemon=True)
        threading.Thread(target=server.serve, daemon=True).start()
    print(json.dumps(ports), flush=True)
    for _ in sys.stdin:
        print(json.dumps(handler.counted), flush=True)


def connected(kind: str, port: int) -> tuple[Any, Any]:
    """A client of Thrift's own library, and its transport."""
    transports, protocols = KINDS[kind]
    transport = transports.getTransport(TSocket.TSocket("127.0.0.1", port))
    protocol = protocols.getProtocol(transport)
    if kind == "several":
        protocol = TMultiplexedProtocol(protocol, "shop")
    if kind == "header-zlib":
        protocol.trans.add_transform(THeaderTransformID.ZLIB)
    if kind == "header":
        protocol.trans.set_header(
            b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        )
    protocol.trans.open()
    return Newer.Client(protocol), protocol.trans


def calls(port: str, kind: str) -> None:
    """Every kind of answer; then a long one, and long arguments."""
    client, transport = connected(kind, int(port))
    for number in range(3):
        assert client.price("secret-lamp", number).price == number * 3
    client.ping()
    client.note("secret-note")
    for name in ("unicorn", "broken"):
        try:
            client.price(name, 1)
        except (NotFound, TApplicationException):
            pass
        else:
            raise AssertionError(name)
    try:
        client.absent()
    except TApplicationException as error:
        assert error.type == TApplicationException.UNKNOWN_METHOD
    assert len(client.many(3, "y" * 60_000)) == 3
    assert len(client.many(3000, "few")) == 3000
    client.ping()
    if kind in ("framed", "buffered", "framed-compact", "buffered-compact"):
        # Three requests are written before the first answer is read.
        client.send_price("one", 1)
        client.send_ping()
        client.send_price("unicorn", 1)
        client.recv_price()
        client.recv_ping()
        with contextlib.suppress(NotFound):
            client.recv_price()
    transport.close()


def other(port: str, kind: str) -> None:
    """thriftpy2, threads of which each has a connection."""
    shop: Any = thriftpy2.load(IDL, module_name="idl_thrift")
    made = {
        "framed": (
            other_transports.TFramedTransportFactory(), other_protocols.TBinaryProtocolFactory(),
        ),
        "buffered-compact": (
            other_transports.TBufferedTransportFactory(), other_protocols.TCompactProtocolFactory(),
        ),
    }  # fmt: skip
    transports, protocols = made[kind]

    def work() -> None:
        client: Any = other_rpc.make_client(
            shop.Shop, "127.0.0.1", int(port), proto_factory=protocols, trans_factory=transports
        )
        for number in range(10):
            assert client.price("secret", number).price == number * 3
            client.note("secret")
            with contextlib.suppress(shop.NotFound):
                client.price("unicorn", 1)
        client.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def midway(port: str, kind: str) -> None:
    """A connection that is in use already, and has pauses."""
    client, _ = connected(kind, int(port))
    client.ping()
    print("connected", flush=True)
    sys.stdin.readline()
    for _ in range(4):
        time.sleep(0.1)
        client.ping()
    time.sleep(0.1)


def front(port: str, kind: str) -> None:
    """HTTP with a thread for each connection; /NAME asks for the price of NAME."""

    class Front(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            client, transport = connected(kind, int(port))
            for number in range(2):
                client.price(self.path[1:], number)
            transport.close()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def main() -> None:
    what, *words = sys.argv[3:]
    if what == "serve":
        serve()
    elif what == "front":
        front(*words)
    elif what == "midway":
        midway(*words)
        print("done", flush=True)
    else:
        sys.stdin.readline()
        for port, kind in (word.split("=")[::-1] for word in words):
            (calls if what == "calls" else other)(port, kind)
        print("done", flush=True)


if __name__ == "__main__":
    main()
