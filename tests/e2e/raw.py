"""Requests as bytes on a socket, for tests that care which bytes went out on which connection."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping, Sequence


class Connection:
    """One TCP connection that speaks HTTP/1.1 and stays open."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=30)

    @property
    def local_port(self) -> int:
        return int(self.socket.getsockname()[1])

    def send(self, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> None:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        lines = [f"GET {path} HTTP/1.1", "Host: test", *(f"{k}: {v}" for k, v in pairs)]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def receive(self) -> tuple[int, bytes]:
        """Status and body of the next response."""
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        body = response.read()
        return response.status, body

    def get(
        self, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    ) -> tuple[int, bytes]:
        self.send(path, headers)
        return self.receive()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
