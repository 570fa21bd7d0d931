"""One socket from its first record to its close: what every kind of pairing shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from otel_ebpf.correlation.addresses import endpoints, ends_as_numbers, same_host
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.model import CLIENT, SERVER
from otel_ebpf.correlation.tls import tls_place
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import CALL_TLS_READ, TLS_WHOLE
from otel_ebpf.protocols import base
from otel_ebpf.protocols.base import Message, Parser
from otel_ebpf.protocols.registry import Descriptor

if TYPE_CHECKING:
    from otel_ebpf.correlation.correlator import Correlator

ERRNO = {
    32: "broken_pipe",
    101: "network_unreachable",
    103: "connection_aborted",
    104: "connection_reset",
    110: "timeout",
    111: "connection_refused",
    113: "host_unreachable",
}
"""errno -> ``error.type``."""


class Conversation(ABC):
    """State of one socket. A subclass parses its records and pairs requests with responses.

    Attributes:
        socket_id: the kernel's number.
        opener, pid: processes that used it first and last.
        ends: addresses and ports.
        local_peer: the peer is certainly on this host.
        secure: its bytes went through TLS, and are told of in plain.
        number: the kernel's number of the protocol; 0 while that is not known.
        last_ts: nanoseconds of the latest byte.
        ended: no more bytes will come.
        keys: by direction of a request, what its same-host key begins with.
        turn: see :mod:`.usual`, which only takes connections that are ``one_by_one``.
        upgraded: it spoke another protocol before this one.
        watched: it is in the correlator's list of connections with an open end.
    """

    __slots__ = (
        "descriptor",
        "ended",
        "ends",
        "keys",
        "last_ts",
        "local_peer",
        "number",
        "opener",
        "parser",
        "pid",
        "protocol",
        "secure",
        "socket_id",
        "upgraded",
        "watched",
    )

    one_by_one = False
    turn = 0

    def __init__(self, record: Record) -> None:
        self.socket_id = record.socket_id
        self.opener = self.pid = record.tgid
        self.ends = endpoints(record)
        self.local_peer = same_host(self.ends)
        local, peer = ends_as_numbers(record)
        self.secure = record.syscall & ~TLS_WHOLE >= CALL_TLS_READ
        self.keys = (peer, local)  # the client's end: the peer of who is asked
        self.parser: Parser | None = None
        self.descriptor: Descriptor | None = None
        self.protocol = ""
        self.number = 0
        self.ended = False
        self.last_ts = record.ts
        self.watched = False
        self.upgraded = False

    def speak(self, descriptor: Descriptor) -> None:
        """The kernel has recognised the protocol."""
        self.descriptor = descriptor
        self.protocol = descriptor.name
        self.number = descriptor.number
        self.parser = descriptor.parser()

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """Requests that have not ended."""

    def upgrading(self) -> Live | None:
        """The exchange that asked for HTTP/2 and waits for its answer there; it leaves."""
        return None

    @abstractmethod
    def segment(self, record: Record, owner: Correlator) -> None:
        """Takes one data record."""

    @abstractmethod
    def missed(self, record: Record, owner: Correlator) -> None:
        """Nobody knows how many bytes in the direction of ``record`` are missing."""

    @abstractmethod
    def settle(self, ts: int, owner: Correlator) -> None:
        """The connection is quiet: what can have ended has."""

    @abstractmethod
    def half_close(self, record: Record, owner: Correlator) -> None:
        """One side has said its last."""

    @abstractmethod
    def end(self, ts: int, error: str | None, owner: Correlator) -> None:
        """No more bytes will come; what is open ends here."""

    def leave(self, owner: Correlator) -> None:  # noqa: B027 - most keep nothing
        """The agent stops: what was kept for later is counted."""

    @staticmethod
    def over(x: Live, last: Message) -> None:
        """``x`` has ended with ``last``: what its messages have told goes into it."""
        request, response = x.request_message, x.response_message
        x.end = max(last.end, x.start)
        x.error = last.error
        x.request_truncated = request.truncated
        x.request_size = request.length
        if response is not None:
            x.response_truncated = response.truncated
            x.response_size = response.length

    def live(self, message: Message, first: Record, mark: Record, owner: Correlator) -> Live:
        """The exchange that a request begins, with its same-host key.

        ``first`` is the record that holds its first byte, ``mark`` the one that says whose.
        """
        kind = SERVER if message.direction == base.INGRESS else CLIENT
        pid, tid, start = mark.tgid, mark.tid, message.start
        x = Live(kind, self.protocol, pid, tid, self.ends, start, message.head, owner.ids.span())
        x.request_message = message
        x.request_truncated = message.truncated
        x.stream = message.stream
        if self.descriptor is not None:
            x.relayed = self.descriptor.relayed
        self.pid = pid
        key = self.keys[message.direction]
        if not key and self.ends.family == "unix":
            # Of a server that speaks first, the peer is known from the first bytes it reads.
            local, peer = ends_as_numbers(first)
            self.keys = (peer, local)
            key = self.keys[message.direction]
        if self.secure:
            x.secure = True
            place = tls_place(first, message.offset)
            if key and place is not None:
                x.key = key << 64 | place  # no plain key is as large
        elif key:
            x.key = key | (first.tcp_seq + message.offset) & 0xFFFFFFFF
        return x
