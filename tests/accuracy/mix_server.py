"""The mix's own servers. Run: python -m tests.accuracy.mix_server http|grpc|thrift

``/ok/...``, ``/mix.Mix/ok...`` and ``ok...`` go well, all else fails. Prints
``listening HOST:PORT``.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.accuracy.mix_names import HEADER, field_of, name_of


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, word, name, *size = self.path.split("/")
        body = b"x" * int(size[0] if size else 6)
        self.send_response(200 if word == "ok" else 500)
        self.send_header("Content-Length", str(len(body)))
        self.send_header(HEADER, name)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

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

    class Every(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(ok if "/ok" in call.method else bad)

    most = [(f"grpc.max_{way}_message_length", 16 << 20) for way in ("send", "receive")]
    server = grpc.server(ThreadPoolExecutor(8), options=most)
    server.add_generic_rpc_handlers((Every(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


def serve_thrift() -> None:
    """Any method. What fails has an exception declared, with the call's number."""
    from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
    from thrift.server.TServer import TThreadedServer
    from thrift.Thrift import TMessageType, TProcessor, TType
    from thrift.transport import TSocket, TTransport

    class Every(TProcessor):  # type: ignore[misc]
        def process(self, asked: Any, answer: Any) -> None:
            name, _, number = asked.readMessageBegin()
            asked.skip(TType.STRUCT)
            asked.readMessageEnd()
            answer.writeMessageBegin(name, TMessageType.REPLY, number)
            answer.writeStructBegin("")
            if name.startswith("ok"):
                answer.writeFieldBegin("", TType.STRING, 0)
                answer.writeString("x" * 6)
            else:
                answer.writeFieldBegin("", TType.STRUCT, field_of(name_of(name)))
                answer.writeFieldStop()
            answer.writeFieldStop()
            answer.writeMessageEnd()
            answer.trans.flush()

    listener = TSocket.TServerSocket("127.0.0.1", 0)
    listener.listen()
    print(f"listening 127.0.0.1:{listener.handle.getsockname()[1]}", flush=True)
    listener.listen = lambda: None  # already
    framed = TTransport.TFramedTransportFactory()
    TThreadedServer(Every(), listener, framed, TBinaryProtocolFactory(), daemon=True).serve()


if __name__ == "__main__":
    {"http": serve_http, "grpc": serve_grpc, "thrift": serve_thrift}[sys.argv[1]]()
