"""HTTP/3 by aioquic, which brings a TLS of its own: `serve CERT KEY`, or `ask PORT PATH`.

The server prints `listening PORT`, the client `ready`; each line that the client reads is one
request on its connection, and each line that it prints an answer's length.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any

from aioquic.asyncio import connect, serve
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Http(QuicConnectionProtocol):  # type: ignore[misc]
    """Both sides: a server answers each request, a client hands out answers' lengths."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.http = H3Connection(self._quic)
        self.answers: asyncio.Queue[int] = asyncio.Queue()

    def quic_event_received(self, event: Any) -> None:
        for told in self.http.handle_event(event):
            if isinstance(told, HeadersReceived) and not self._quic.configuration.is_client:
                self.http.send_headers(told.stream_id, [(b":status", b"200")])
                self.http.send_data(told.stream_id, b"quick", end_stream=True)
                self.transmit()
            elif isinstance(told, DataReceived) and self._quic.configuration.is_client:
                self.answers.put_nowait(len(told.data))


async def serving(cert: str, key: str) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(cert, key)
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Http)
    print("listening", server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


async def asking(port: int, path: str) -> None:
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE
    )
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with connect(
        "127.0.0.1", port, configuration=configuration, create_protocol=Http
    ) as http:
        while True:
            stream = http._quic.get_next_available_stream_id()
            names = (b":method", b":scheme", b":authority", b":path")
            values = (b"GET", b"https", b"localhost", path.encode())
            http.http.send_headers(stream, list(zip(names, values, strict=True)), end_stream=True)
            http.transmit()
            print(await http.answers.get(), flush=True)
            if not await asyncio.to_thread(sys.stdin.readline):
                return


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serving(*sys.argv[2:]))
    else:
        asyncio.run(asking(int(sys.argv[2]), sys.argv[3]))
