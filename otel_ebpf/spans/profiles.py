"""What spans of one kind have in common, made once; and where their two ends are."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from otel_ebpf.correlation.model import Endpoints
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import AttributeSet

Place = tuple[str, int]
"""Address and port."""


class Profile:
    """What spans of one kind with the same end have in common."""

    __slots__ = ("base", "message", "name", "status")

    def __init__(self, name: str, base: dict[str, Any], status: int, message: str) -> None:
        self.name = name
        self.base = AttributeSet(base)
        self.status = status
        self.message = message


class Profiles(dict[Hashable, Profile]):
    """Profiles by all that decides them, ``most`` at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, key: Hashable, profile: Profile) -> None:
        """Keeps it, until there are too many."""
        # Clearing all at once is the cheapest bound; a working set refills in one round.
        if len(self) >= self._most:
            self.clear()
        self[key] = profile


def server_of(ends: Endpoints, serves: bool) -> Place:
    """Where the server is. ``serves``: the exchange was seen on its side."""
    return (ends.local_address, ends.local_port) if serves else (ends.peer_address, ends.peer_port)


def put_server(base: dict[str, Any], ends: Endpoints, server: Place, serves: bool) -> None:
    """Attributes of the server, and of the client's way to it."""
    address, port = server
    if address:
        base[semconv.SERVER_ADDRESS] = address
        if port:
            base[semconv.SERVER_PORT] = port
        if not serves:
            base[semconv.NETWORK_PEER_ADDRESS] = address
            if port:
                base[semconv.NETWORK_PEER_PORT] = port
    if ends.family == "unix":
        base[semconv.NETWORK_TRANSPORT] = "unix"


def put_client(attributes: dict[str, Any], ends: Endpoints) -> None:
    """Attributes of who asks, as the server sees it."""
    if ends.peer_address:
        attributes[semconv.CLIENT_ADDRESS] = ends.peer_address
        attributes[semconv.NETWORK_PEER_ADDRESS] = ends.peer_address
        if ends.peer_port:
            attributes[semconv.NETWORK_PEER_PORT] = ends.peer_port
