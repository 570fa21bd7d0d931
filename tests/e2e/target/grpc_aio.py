"""gRPC by grpcio's asyncio, as grpc_echo.py: ``serve``, ``call ADDRESS``. ``relay ADDRESS`` serves,
and asks for what it is asked for at ADDRESS, saying for which request in the metadata."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio


async def unary(request: bytes, _: Any) -> bytes:
    return request


async def fail(_: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    return b""


async def hang(_: bytes, __: Any) -> bytes:
    await asyncio.sleep(30)
    return b""


async def several(request: bytes, _: Any) -> AsyncIterator[bytes]:
    for _ in range(5):
        yield request * 3000


async def chat(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """``channel``: where to ask in turn, or None."""

    def __init__(self, channel: Any = None) -> None:
        self._channel = channel

    async def _relay(self, request: bytes, context: Any) -> bytes:
        given = dict(context.invocation_metadata())
        metadata = (("x-truth-parent", given["x-truth-id"]),)
        answer = self._channel.unary_unary("/shop.Echo/Unary")(request, metadata=metadata)
        return bytes(await answer)

    def service(self, details: Any) -> Any:
        return {
            "/shop.Echo/Unary": grpc.unary_unary_rpc_method_handler(
                self._relay if self._channel else unary
            ),
            "/shop.Echo/Fail": grpc.unary_unary_rpc_method_handler(fail),
            "/shop.Echo/Hang": grpc.unary_unary_rpc_method_handler(hang),
            "/shop.Echo/List": grpc.unary_stream_rpc_method_handler(several),
            "/shop.Echo/Chat": grpc.stream_stream_rpc_method_handler(chat),
        }.get(details.method)


async def serve(channel: Any = None) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(channel),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


async def relay(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        await serve(channel)


async def one(channel: Any, method: str, number: int) -> str:
    path = f"/shop.Echo/{method}"
    try:
        if method == "List":
            async for _ in channel.unary_stream(path)(b"hello", timeout=20):
                pass
        elif method == "Chat":
            async for _ in channel.stream_stream(path)(iter([b"a", b"b", b"c"]), timeout=20):
                pass
        else:
            limit = 0.5 if method == "Hang" else 20
            truth = (("x-truth-id", f"r{number}"),)
            await channel.unary_unary(path)(b"hello", timeout=limit, metadata=truth)
    except grpc.RpcError as error:
        return f"{method} {error}".partition("\n")[0]
    return ""


async def call(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        print("listening", address, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            _, method, times = line.split()
            for said in await asyncio.gather(*(one(channel, method, n) for n in range(int(times)))):
                if said:
                    print(said)
            print("done", flush=True)


if __name__ == "__main__":
    parts: dict[str, Any] = {"serve": serve, "call": call, "relay": relay}
    asyncio.run(parts[sys.argv[1]](*sys.argv[2:]))
