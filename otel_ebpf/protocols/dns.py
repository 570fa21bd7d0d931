"""DNS, seen from outside: over UDP message by message, over TCP with lengths before them.

A query and its answer have the same id and the same question. Over UDP the connection's part is
in ``correlation/datagrams.py``; this module only reads what a datagram holds.
"""

from __future__ import annotations

from .base import REQUEST, RESPONSE, Datagram
from .descriptor import Descriptor
from .dns_heads import request_of, response_of
from .dns_message import read_message
from .dns_tcp import DnsParser


def read_datagram(data: bytes, length: int) -> Datagram | None:
    """What a datagram of ``length`` bytes says, of which ``data`` was captured; None: it is no
    DNS. Never raises."""
    message = read_message(data, length)
    if message is None:
        return None
    about = message.about if message.questions else None
    if message.answer:
        return Datagram(RESPONSE, message.number, about, response_of(message))
    return Datagram(REQUEST, message.number, about, request_of(message, "udp"))


PROTOCOL = Descriptor("dns", 120, DnsParser, pairs=True, datagram=read_datagram)
