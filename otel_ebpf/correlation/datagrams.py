"""Requests and responses that are datagrams: each names its peer, none has a connection.

A response is that of the latest request to, or from, its peer with the same number and about
the same. A request that nobody answers ends after ``PATIENCE``; one that is made again ends
with that, for the response is the new one's.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from otel_ebpf.correlation.addresses import endpoints, same_host
from otel_ebpf.correlation.conversation import ERRNO
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.model import CLIENT, SERVER, Endpoints
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import EGRESS, INGRESS
from otel_ebpf.protocols import base, registry

if TYPE_CHECKING:
    from otel_ebpf.correlation.correlator import Correlator

PATIENCE = 5_000_000_000
"""Nanoseconds for which a response is waited for: as long as resolvers do."""
GIVEN_UP = 900_000_000
"""Who closes the socket after such a time has waited in vain."""
MAX_SOCKETS = 65_536
MAX_OPEN = 4096
"""Requests without a response on one socket; above it the oldest are given up."""
MAX_ENDS = 4096
REPEATED = 10_000_000_000
"""Nanoseconds for which a request that was not seen to arrive makes its like ambiguous."""
MAX_SENT = 8192
_DATAGRAM = 1 << 250  # no other key is as large


_Open = dict[tuple[bytes, int, int], dict[Any, Live]]


class _Socket:
    """Requests without a response, by direction, peer and number; of those about each thing
    the latest."""

    __slots__ = ("open", "pid", "waiting")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.open: _Open = {}
        self.waiting = 0


class Datagrams:
    """Pairs datagrams, and finds the two views of one that did not leave the host.

    Args:
        owner: is told of exchanges, as by connections.
    """

    def __init__(self, owner: Correlator) -> None:
        self._owner = owner
        self._counts = owner.counts
        self._sockets: OrderedDict[int, _Socket] = OrderedDict()
        self._of_process: defaultdict[int, set[int]] = defaultdict(set)
        self._due: deque[tuple[int, Live, _Socket]] = deque()
        self._ends: LRUCache[bytes, tuple[Endpoints, bool]] = LRUCache(MAX_ENDS)
        self._sent: OrderedDict[int, tuple[int, Live | None]] = OrderedDict()
        """What was sent lately, by the key of its two views; None: twice, and nobody knows
        which of the two arrived."""
        self._served: defaultdict[tuple[int, str, Any], dict[int, Live]] = defaultdict(dict)
        """Requests that a process has to answer, by what they are about."""

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return sum(s.waiting for s in self._sockets.values())

    def take(self, record: Record) -> None:
        """Takes one datagram."""
        descriptor = registry.by_number.get(record.protocol)
        read = descriptor.datagram if descriptor is not None else None
        said = read(record.data, record.length) if read is not None else None
        if descriptor is None or said is None:
            self._counts["datagrams_not_understood"] += 1
            return
        sock = self._socket(record)
        if said.kind == base.REQUEST:
            self._asked(record, descriptor.name, said, sock)
        else:
            self._answered(record, said, sock)

    def _socket(self, record: Record) -> _Socket:
        sock = self._sockets.get(record.socket_id)
        if sock is None:
            sock = self._sockets[record.socket_id] = _Socket(record.tgid)
            self._of_process[record.tgid].add(record.socket_id)
            if len(self._sockets) > MAX_SOCKETS:
                self._counts["connections_forgotten"] += 1
                self.close(next(iter(self._sockets)), record.ts)
        return sock

    # Requests

    def _asked(self, record: Record, protocol: str, said: base.Datagram, sock: _Socket) -> None:
        owner = self._owner
        direction = record.direction
        kind = SERVER if direction == INGRESS else CLIENT
        ends, local = self._ends_of(record)
        number = (record.address[-16:] + ends.peer_port.to_bytes(2, "big"), said.number, direction)
        known = sock.open.setdefault(number, {})
        before = known.get(said.about)
        if before is not None:
            self._over(before, record.ts, "timeout" if kind == CLIENT else "no_response", sock)
            known = sock.open.setdefault(number, {})
        x = Live(
            kind, protocol, record.tgid, record.tid, ends, record.ts, said.head, owner.ids.span()
        )
        x.uid = record.uid
        x.request_size = record.length
        x.request_truncated = record.data_len < record.length
        x.request_message = (number, said.about)
        owner.counts["requests"] += 1
        known[said.about] = x
        sock.waiting += 1
        if kind == SERVER:
            self._key(x, record, ends)
            if said.about is not None:
                self._served[x.pid, protocol, said.about][id(x)] = x
            owner.served(x, local)
        else:
            self._key(x, record, ends)
            causes = self._served.get((x.pid, protocol, said.about))
            owner.passed_on(x, record, list(causes.values()) if causes else [])
        if record.direction == EGRESS and record.tcp_seq:  # it did not leave
            self._over(x, record.end_ts, ERRNO.get(record.tcp_seq, "socket_error"), sock)
            return
        self._due.append((record.ts + PATIENCE, x, sock))
        if sock.waiting > MAX_OPEN:
            owner.counts["requests_given_up"] += 1
            oldest = next(iter(next(iter(sock.open.values())).values()))
            self._over(oldest, record.ts, "no_response", sock)

    def _ends_of(self, record: Record) -> tuple[Endpoints, bool]:
        known = self._ends.get(record.address)
        if known is None:
            ends = endpoints(record)
            known = self._ends[record.address] = (ends, same_host(ends))
        return known

    # Responses

    def _answered(self, record: Record, said: base.Datagram, sock: _Socket) -> None:
        _, _, peer_port, _, peer = record.addresses()
        number = (peer + peer_port.to_bytes(2, "big"), said.number, 1 - record.direction)
        known = sock.open.get(number)
        x = None
        if known:
            x = known.get(said.about)
            if x is None and said.about is None and len(known) == 1:
                x = next(iter(known.values()))
        if x is None:
            self._counts["responses_without_request"] += 1
            return
        x.response = said.head
        x.response_size = record.length
        x.response_truncated = record.data_len < record.length
        self._owner.answered(x, record)
        failed = record.direction == EGRESS and record.tcp_seq
        error = ERRNO.get(record.tcp_seq, "socket_error") if failed else None
        self._over(x, record.end_ts, error, sock)

    def _over(self, x: Live, ts: int, error: str | None, sock: _Socket) -> None:
        number, about = x.request_message
        known = sock.open[number]
        del known[about]
        if not known:
            del sock.open[number]
        sock.waiting -= 1
        if x.kind == SERVER:
            key = (x.pid, x.protocol, about)
            served = self._served.get(key)
            if served is not None and served.pop(id(x), None) is not None and not served:
                del self._served[key]
        x.end = max(ts, x.start)
        x.error = error
        self._owner.finished(x)

    # Two views of one request

    def _key(self, x: Live, record: Record, ends: Endpoints) -> None:
        """The key of both views: the client's end, and the very bytes, its id among them.

        The server's port may be another one behind a translation of addresses; the client may
        not know its own address. What is sent again, in the same words, while the one before
        was not seen to arrive, is nobody's.
        """
        client, port = (
            (ends.local_address, ends.local_port)
            if x.kind == CLIENT
            else (ends.peer_address, ends.peer_port)
        )
        if not port or record.data_len < record.length:
            return
        digest = hashlib.blake2b(record.data, digest_size=16, key=port.to_bytes(2, "big")).digest()
        key = _DATAGRAM | int.from_bytes(digest, "big") << 64
        if client not in ("0.0.0.0", "::"):
            whole = hashlib.blake2b(client.encode(), digest_size=8).digest()
            with_address = key | int.from_bytes(whole, "big")
            if x.kind == CLIENT or key not in self._sent:
                key = with_address
        sent = self._sent.get(key)
        if sent is not None and sent[0] <= record.ts:
            sent = None
        if x.kind == CLIENT:
            again = sent is not None and (sent[1] is None or sent[1].unmatched)
            self._sent[key] = (record.ts + REPEATED, None if again else x)
            self._sent.move_to_end(key)
            if len(self._sent) > MAX_SENT:
                self._sent.popitem(last=False)
            if again:
                return
        elif sent is not None and sent[1] is None:
            return
        x.key = key

    # What else ends requests

    def tick(self, now: int) -> None:
        """Ends what has waited too long; forgets what was sent long ago."""
        due = self._due
        while due and (due[0][0] <= now or due[0][1].finished):
            until, x, sock = due.popleft()
            if not x.finished:
                self._late(x, until, sock)
        sent = self._sent
        while sent and next(iter(sent.values()))[0] <= now:
            sent.popitem(last=False)

    def _late(self, x: Live, ts: int, sock: _Socket) -> None:
        if x.kind == CLIENT:
            self._over(x, ts, "timeout", sock)
        else:  # it is not known when it was dropped
            self._over(x, x.start, "no_response", sock)

    def error(self, record: Record) -> bool:
        """A call on the socket has failed. False: the socket is none of datagrams."""
        sock = self._sockets.get(record.socket_id)
        if sock is None:
            return False
        error = ERRNO.get(record.length, "socket_error")
        for x in _all(sock):
            if x.kind == CLIENT:
                self._over(x, record.ts, error, sock)
        return True

    def close(self, socket_id: int, ts: int) -> bool:
        """The socket was closed. False: it is none of datagrams."""
        sock = self._sockets.get(socket_id)
        if sock is None:
            return False
        for x in _all(sock):
            waited = x.kind == CLIENT and ts - x.start >= GIVEN_UP
            self._over(x, ts, "timeout" if waited else "connection_closed", sock)
        del self._sockets[socket_id]
        known = self._of_process.get(sock.pid)
        if known is not None:
            known.discard(socket_id)
            if not known:
                del self._of_process[sock.pid]
        return True

    def process_ended(self, pid: int, ts: int) -> None:
        """Its sockets are gone, or another process's."""
        for socket_id in list(self._of_process.get(pid, ())):
            self.close(socket_id, ts)


def _all(sock: _Socket) -> list[Live]:
    return [x for known in sock.open.values() for x in known.values()]
