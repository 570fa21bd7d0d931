"""Addresses of records as text."""

from __future__ import annotations

import socket

from otel_ebpf.correlation.model import Endpoints
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import DATAGRAM, FAMILY_IPV4, FAMILY_IPV6

_UNIX = 1 << 200  # no address with its port is as large
_MAPPED = bytes(10) + b"\xff\xff"


def _text(family: int, address: bytes) -> str:
    if family == FAMILY_IPV4:
        return socket.inet_ntop(socket.AF_INET, address[:4])
    if address.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, address[12:])
    return socket.inet_ntop(socket.AF_INET6, address)


def endpoints(record: Record) -> Endpoints:
    """Both ends of the record's connection; v4-mapped addresses as IPv4."""
    if record.family not in (FAMILY_IPV4, FAMILY_IPV6):
        return Endpoints("unix", "", 0, "", 0)
    _, local_port, peer_port, local, peer = record.addresses()
    here, there = _text(record.family, local), _text(record.family, peer)
    family = "ipv6" if ":" in here or ":" in there else "ipv4"
    alone = record.type == DATAGRAM
    return Endpoints(family, here, local_port, there, peer_port, alone)


def ends_as_numbers(record: Record) -> tuple[int, int]:
    """Address and port of the local end and of the peer, each as one number with its lowest
    32 bits free; the same for IPv4 and its v4-mapped form. Ends of Unix sockets have the
    kernel half's own numbers. 0: none is known."""
    _, local_port, peer_port, local, peer = record.addresses()
    if record.family not in (FAMILY_IPV4, FAMILY_IPV6):
        return _unix(local), _unix(peer)
    return _number(record.family, local, local_port), _number(record.family, peer, peer_port)


def _number(family: int, address: bytes, port: int) -> int:
    whole = _MAPPED + address[:4] if family == FAMILY_IPV4 else address
    return (int.from_bytes(whole, "big") << 16 | port) << 32


def _unix(address: bytes) -> int:
    number = int.from_bytes(address[:8], "little")
    return number and (_UNIX | number) << 32


def same_host(ends: Endpoints) -> bool:
    """Whether the peer is certainly on this host: loopback, or the local address itself."""
    return (
        ends.peer_address == ends.local_address
        or ends.peer_address.startswith("127.")
        or ends.peer_address == "::1"
    )
