"""What a DNS query and its answer are told as."""

from __future__ import annotations

from typing import NamedTuple

from .dns_message import CODES, NOTIFY, QUERY, TYPES, UPDATE, DnsMessage

_OPERATIONS = {QUERY: "lookup", NOTIFY: "NOTIFY", UPDATE: "UPDATE"}


class DnsRequest(NamedTuple):
    """A query.

    Attributes:
        operation: ``lookup``, ``NOTIFY`` or ``UPDATE``.
        name: the first question's, as it was asked.
        type: its type's name, ``TYPE<n>`` where it has none.
        known: it has one: names spans.
        questions: how many.
        transport: ``udp`` or ``tcp``.
        chatter: as of database.DbRequest: 0, all are told of.
    """

    operation: str
    name: str
    type: str
    known: bool
    questions: int
    transport: str
    chatter: int = 0


class DnsResponse(NamedTuple):
    """An answer.

    Attributes:
        code: the response code's name.
        addresses: that it holds.
        truncated: it says that there is more, to be asked for over TCP.
    """

    code: str
    addresses: tuple[str, ...]
    truncated: bool

    @property
    def error(self) -> str:
        """``error.type``, or empty."""
        return "" if self.code == "NOERROR" else self.code


def request_of(message: DnsMessage, transport: str) -> DnsRequest:
    """The head of a query."""
    kind = TYPES.get(message.type)
    return DnsRequest(
        _OPERATIONS[message.opcode],
        message.name,
        kind or f"TYPE{message.type}",
        kind is not None,
        message.questions,
        transport,
    )


def response_of(message: DnsMessage) -> DnsResponse:
    """The head of an answer."""
    code = CODES.get(message.code) or f"RCODE{message.code}"
    return DnsResponse(code, message.addresses, message.truncated)
