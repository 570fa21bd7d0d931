"""gRPC by grpcio, without generated code: ``grpc_echo.py serve``, or ``call ADDRESS`` for the
calls on standard input, ``METHOD PATH N`` a line, as tests/targets/go/h2app has them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


def unary(request: bytes, _: Any) -> bytes:
    return request


def fail(_: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    return b""


def hang(_: bytes, context: Any) -> bytes:
    done = __import__("threading").Event()
    context.add_callback(done.set)
    done.wait(30)
    return b""


def several(request: bytes, _: Any) -> Iterator[bytes]:
    for _ in range(5):
        yield request * 3000


def chat(requests: Iterable[bytes], _: Any) -> Iterator[bytes]:
    yield from requests


METHODS = {
    "/shop.Echo/Unary": grpc.unary_unary_rpc_method_handler(unary),
    "/shop.Echo/Fail": grpc.unary_unary_rpc_method_handler(fail),
    "/shop.Echo/Hang": grpc.unary_unary_rpc_method_handler(hang),
    "/shop.Echo/List": grpc.unary_stream_rpc_method_handler(several),
    "/shop.Echo/Chat": grpc.stream_stream_rpc_method_handler(chat),
}


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, details: Any) -> Any:
        return METHODS.get(details.method)


def serve() -> None:
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


def one(channel: Any, method: str) -> str:
    path = f"/shop.Echo/{method}"
    try:
        if method == "List":
            list(channel.unary_stream(path)(b"hello", timeout=20))
        elif method == "Chat":
            list(channel.stream_stream(path)(iter([b"a", b"b", b"c"]), timeout=20))
        else:
            limit = 0.5 if method == "Hang" else 20
            channel.unary_unary(path)(b"hello", timeout=limit)
    except grpc.RpcError as error:
        return f"{method} {error}".partition("\n")[0]
    return ""


def call(address: str) -> None:
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(100) as pool:
        print("listening", address, flush=True)
        for line in sys.stdin:
            _, method, times = line.split()
            for said in pool.map(lambda _, m=method: one(channel, m), range(int(times))):
                if said:
                    print(said)
            print("done", flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call(sys.argv[2])
