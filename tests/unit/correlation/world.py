"""Processes that talk, as the kernel half would tell it, and a correlator that listens.

A test makes records in the order in which it happened and feeds them in the order in
which they arrive.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from otel_ebpf.correlation.correlator import Correlator
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.model import CLIENT, SERVER, Exchange
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Record
from otel_ebpf.protocols.base import EGRESS, INGRESS
from tests.unit.events.records import record

MS = 1_000_000
SECOND = 1000 * MS
GO, POOLED = layout.FLAG_GO, layout.FLAG_GO | layout.FLAG_GO_POOLED
HTTP = 20
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"traceparent: 00-{TRACE}-{SPAN}-01"


def get(path: str = "/", *headers: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: shop", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request with one."""
    head = [f"POST {path} HTTP/1.1", "Host: shop", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def reply(status: int = 200, body: bytes = b"ok") -> bytes:
    """A response with its length."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Side:
    """One end of a connection, in one process.

    Attributes:
        uid: number of the latest request here, as the kernel gave it.
        pid, tid, goid: who the next record is from.
    """

    def __init__(
        self, world: World, role: int, pid: int, wire: Wire, address: tuple[Any, ...]
    ) -> None:
        self.world = world
        self.role = role
        self.pid = self.tid = pid
        self.goid = 0
        self.uid = 0
        self.wire = wire
        self.socket_id = next(world.sockets)
        self.moved = [0, 0]
        family, local, local_port, peer, peer_port = address
        self._members = {
            "family": family,
            "local_addr": local,
            "local_port": local_port,
            "peer_addr": peer,
            "peer_port": peer_port,
        }

    def send(self, data: bytes = b"", **members: Any) -> Record:
        """Bytes leave."""
        return self._data(EGRESS, data, members)

    def recv(self, data: bytes = b"", **members: Any) -> Record:
        """Bytes arrive."""
        return self._data(INGRESS, data, members)

    def placed(self, direction: int) -> int:
        """Flags of the next segment, of a connection that was seen to be made."""
        if not any(self.moved):
            return layout.FLAG_FRESH
        return layout.FLAG_BEHIND if self.moved[direction] else 0

    def tell(self, kind: int, direction: int = INGRESS, **members: Any) -> Record:
        """What is no data: close, end of stream, error, correction, exit."""
        return record(**{**self._common(), "type": kind, "direction": direction, **members})

    def _common(self) -> dict[str, Any]:
        return {
            "ts": self.world.later(),
            "tgid": self.pid,
            "tid": self.tid,
            "goid": self.goid,
            "socket_id": self.socket_id,
            "role": self.role,
            "protocol": HTTP,
            **self._members,
        }

    def _data(self, direction: int, data: bytes, members: dict[str, Any]) -> Record:
        begins = members.setdefault("begins", _begins(data))
        if begins == layout.REQUEST:
            self.uid = next(self.world.uids)
        first = 1000 if (direction == EGRESS) == (self.role == layout.ROLE_CLIENT) else 5_000_000
        members.setdefault("flags", self.placed(direction))
        values = {"uid": self.uid, "tcp_seq": first + self.moved[direction], **members}
        made = record(data, direction=direction, **{**self._common(), **values})
        self.moved[direction] += made.length
        return made


class Wire:
    """A TCP connection with both ends in traced processes."""

    def __init__(self, world: World, client: int, server: int, **where: Any) -> None:
        family = where.get("family", layout.FAMILY_IPV4)
        here = where.get("client_address", bytes((127, 0, 0, 1)))
        there = where.get("server_address", bytes((127, 0, 0, 1)))
        port, served = next(world.ports), where.get("port", 8080)
        self.client = Side(
            world, layout.ROLE_CLIENT, client, self, (family, here, port, there, served)
        )
        self.server = Side(
            world, layout.ROLE_SERVER, server, self, (family, there, served, here, port)
        )


class World:
    """Time, numbers, and the correlator under test.

    Attributes:
        out: exchanges that left, in order.
    """

    def __init__(self) -> None:
        self.now = 10 * SECOND
        self.uids, self.sockets, self.ports = count(1), count(1), count(40000)
        self.correlator = Correlator(Ids(7))
        self.out: list[Exchange] = []

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.correlator.counts)

    def later(self) -> int:
        self.now += 10_000
        return self.now

    def wire(self, client: int = 1, server: int = 2, **where: Any) -> Wire:
        """A new connection from process ``client`` to process ``server``."""
        return Wire(self, client, server, **where)

    def feed(self, *records: Record) -> list[Exchange]:
        """Records, in this order; what left because of them."""
        left = self.correlator.feed(records)
        self.out += left
        return left

    def wait(self, nanoseconds: int) -> list[Exchange]:
        """Time passes without a record."""
        self.now += nanoseconds
        left = self.correlator.tick(self.now)
        self.out += left
        return left

    def end(self) -> list[Exchange]:
        """No more records."""
        left = self.correlator.flush()
        self.out += left
        return left

    def asked(self, wire: Wire, path: str = "/", *headers: str) -> int:
        """The server's process reads a request; its number. The client is not traced."""
        self.feed(wire.server.recv(get(path, *headers)))
        return wire.server.uid

    def answered(self, wire: Wire, status: int = 200) -> list[Exchange]:
        """The server's process writes the response."""
        return self.feed(wire.server.send(reply(status)))

    def call(self, wire: Wire, path: str = "/", *headers: str, **cause: Any) -> None:
        """The client's process sends a request, for ``cause``, and has the response.

        Members that begin with ``answer_`` are those of the response.
        """
        answer = {k[7:]: cause.pop(k) for k in list(cause) if k.startswith("answer_")}
        self.feed(wire.client.send(get(path, *headers), **cause))
        self.feed(wire.client.recv(reply(), **answer))

    def span(self, target: str, kind: int = CLIENT) -> Exchange:
        """The one exchange that left with this target."""
        [found] = [
            x for x in self.out if getattr(x.request, "target", "") == target and x.kind == kind
        ]
        return found

    def server_span(self, target: str) -> Exchange:
        return self.span(target, SERVER)


def status(x: Exchange) -> int:
    """Of a response that came."""
    assert x.response is not None
    return int(x.response.status)


def assert_child(child: Exchange, parent: Exchange, rule: str) -> None:
    """``child`` hangs below ``parent`` in the same trace, by ``rule``."""
    assert (child.parent_span_id, child.rule) == (parent.span_id, rule)
    assert child.trace_id == parent.trace_id


def assert_root(x: Exchange) -> None:
    """``x`` begins a trace of its own and names no rule."""
    assert (x.parent_span_id, x.rule) == (b"", "")
    assert len(x.trace_id) == 16
    assert any(x.trace_id)


def _begins(data: bytes) -> int:
    if data.startswith(b"HTTP/1."):
        return layout.INTERIM if data[9:10] == b"1" else layout.RESPONSE
    if data.startswith((b"GET ", b"POST ", b"PUT ", b"HEAD ")):
        return layout.REQUEST
    return layout.NOTHING if len(data) != 1 else layout.MAYBE
