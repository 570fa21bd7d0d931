"""HTTP/2 conversations for the parser: bytes by the ``h2`` library, or frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.settings
import hpack

from otel_ebpf.protocols.base import REQUEST, Message
from otel_ebpf.protocols.http2 import Http2Parser
from otel_ebpf.protocols.http2_frames import PREFACE, Walk

Headers = Sequence[tuple[str, str]]
CLIENT, SERVER = 0, 1
"""Directions in these tests: the traced process is the server."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame's bytes."""
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def asks(path: str = "/", method: str = "GET", *more: tuple[str, str]) -> Headers:
    """A request's fields."""
    return [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "shop:80"),
        *more,
    ]


class Wire:
    """Both ends of a connection, as ``h2`` has them.

    Attributes:
        client, server: the ends.
        turns: (direction, bytes) as they were written.
    """

    def __init__(self) -> None:
        plain: dict[str, Any] = {"header_encoding": "utf-8"}
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(**plain))
        self.server = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, **plain)
        )
        self.turns: list[tuple[int, bytes]] = []
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Until both ends have nothing more to say."""
        moved = True
        while moved:
            moved = False
            for direction, end, other in (
                (CLIENT, self.client, self.server),
                (SERVER, self.server, self.client),
            ):
                data = end.data_to_send()
                if data:
                    self.turns.append((direction, data))
                    other.receive_data(data)
                    moved = True

    def ask(self, fields: Headers, body: bytes = b"", end: bool = True) -> int:
        """The client opens a stream; its number."""
        number = int(self.client.get_next_available_stream_id())
        self.client.send_headers(number, fields, end_stream=end and not body)
        if body:
            self.client.send_data(number, body, end_stream=end)
        self.flush()
        return number

    def answer(
        self,
        number: int,
        status: int = 200,
        body: bytes = b"ok",
        fields: Headers = (),
        trailers: Headers = (),
    ) -> None:
        """The server's whole response."""
        head = [(":status", str(status)), *fields]
        self.server.send_headers(number, head, end_stream=not body and not trailers)
        if body:
            self.server.send_data(number, body, end_stream=not trailers)
        if trailers:
            self.server.send_headers(number, trailers, end_stream=True)
        self.flush()


class Ear:
    """A parser that hears, with a clock of its own: a segment takes 10 ns.

    Args:
        walked: segments are gone through first, as the kernel half does.
    """

    def __init__(self, walked: bool = False) -> None:
        self.parser = Http2Parser()
        self.clock = 0
        self.messages: list[Message] = []
        self._walks = [Walk(), Walk()] if walked else None
        self._moved = [0, 0]

    def hear(self, direction: int, data: bytes, length: int | None = None) -> list[Message]:
        """One segment, of which ``data`` was captured."""
        self.clock += 10
        size = len(data) if length is None else length
        if self._walks is None:
            return self.keep(
                self.parser.feed(direction, data, size, self.clock, self.clock + 5, object())
            )
        start = self._moved[direction]
        self._moved[direction] += size
        if data.startswith(PREFACE[:14]):
            self._walks[direction] = Walk(preface=True)
            self._walks[1 - direction].trust()
            self.parser.begin(direction)
        frames, mid, lost, tell = self._walks[direction].feed(data, size, start)
        if not frames and not tell:
            return []
        return self.keep(
            self.parser.frames(
                direction, frames, mid, lost, start, size, self.clock, self.clock + 5, object()
            )
        )

    def play(self, turns: Iterable[tuple[int, bytes]]) -> Ear:
        for direction, data in turns:
            self.hear(direction, data)
        return self

    def keep(self, messages: list[Message]) -> list[Message]:
        assert len(set(map(id, messages))) == len(messages), "the same message twice in a call"
        known = set(map(id, self.messages))
        self.messages += [message for message in messages if id(message) not in known]
        return messages

    def told(self) -> list[str]:
        """What was heard, one text a message, by stream."""
        return [
            brief(message) for message in sorted(self.messages, key=lambda m: (m.stream, m.kind))
        ]


def brief(message: Message) -> str:
    """``1 GET /a`` or ``1 200``, with the marks of everything out of the ordinary."""
    head = message.head
    words = [str(message.stream)]
    words.append(f"{head.method} {head.target}" if message.kind == REQUEST else str(head.status))
    if message.kind != REQUEST and head.grpc_status is not None:
        words.append(f"grpc={head.grpc_status}")
    if message.truncated:
        words.append("truncated")
    if not message.complete:
        words.append("open")
    if message.error:
        words.append(message.error)
    return " ".join(words)


class Talk:
    """Frames by hand, with an encoder for each direction."""

    def __init__(self) -> None:
        self.encoders = (hpack.Encoder(), hpack.Encoder())

    def block(self, direction: int, fields: Headers) -> bytes:
        return bytes(self.encoders[direction].encode(fields))
