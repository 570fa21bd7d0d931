"""Requests as bytes on a socket, for tests that care which bytes went out on which connection."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, cast


class _Stream:
    """The connection's one read buffer, lent to a response after the other.

    A response would make a buffer of its own, take the next response's bytes into it
    when both came at once, and drop them with itself.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> _Stream:
        return self

    def close(self) -> None:
        """What a response does when its body ends; the connection goes on."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Connection:
    """One TCP connection that speaks HTTP/1.1 and stays open."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=30)
        self._file = self.socket.makefile("rb")

    @property
    def local_port(self) -> int:
        return int(self.socket.getsockname()[1])

    def send(self, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> None:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        lines = [f"GET {path} HTTP/1.1", "Host: test", *(f"{k}: {v}" for k, v in pairs)]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def receive(self) -> tuple[int, bytes]:
        """Status and body of the next response."""
        response = http.client.HTTPResponse(cast(socket.socket, _Stream(self._file)))
        response.begin()
        body = response.read()
        return response.status, body

    def get(
        self, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    ) -> tuple[int, bytes]:
        self.send(path, headers)
        return self.receive()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
