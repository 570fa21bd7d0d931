"""The usual exchange, without the general machinery.

Nearly all HTTP/1 traffic is whole requests answered by whole responses, one at a time, on
connections where nothing was missed. On such a connection no state machine is needed, no
message and not even a decoded record: a request opens an exchange, a response ends it. All
else goes to the correlator, which is told first where the connection stands. What comes out
is the same, exchange by exchange; tests hold the two ways against each other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.model import CLIENT, SERVER, Exchange
from otel_ebpf.correlation.tls import place_told, tls_place
from otel_ebpf.events.decode import Place, record_at
from otel_ebpf.events.layout import DATA, RECORD, REQUEST, RESPONSE, SEGMENT, offset
from otel_ebpf.protocols import base
from otel_ebpf.protocols.context import carried_context
from otel_ebpf.protocols.http1 import Http1Parser
from otel_ebpf.protocols.http1_whole import whole_request, whole_response

if TYPE_CHECKING:
    from otel_ebpf.correlation.connection import Connection
    from otel_ebpf.correlation.correlator import Correlator

IDLE, ASKED = 1, 2
"""``Connection.turn``: a request comes next; the response to ``Connection.asked`` does."""

_PAYLOAD = RECORD.size
_TOLD, _TOLD_AT = struct.Struct("<Q"), offset("ref_ts")


class Usual:
    """Stands before a correlator. Its state is in the connections:

    ``turn``; ``asks``, the direction of requests; ``asked``, the exchange that is open, with
    ``asked_end`` and ``asked_length``, nanoseconds and bytes of its request.
    """

    def __init__(self, correlator: Correlator) -> None:
        self._correlator = correlator

    def feed(self, places: Iterable[Place]) -> list[Exchange]:
        """Takes records in the order of time; returns what is finished and decided."""
        owner = self._correlator
        connections = owner.connections
        unpack = SEGMENT.unpack_from
        loops = owner.parents.anchors.processes
        threads = owner.parents.threads.several
        requests = 0
        for ts, kind, data, at in places:
            if kind == DATA:
                (direction, begins, pid, tid, end_ts, socket_id, length, seq, size, uid) = unpack(
                    data, at
                )
                c: Any = connections.get(socket_id)
                if c is not None and c.turn and seq == c.next_seq[direction]:
                    body = at + _PAYLOAD
                    if direction != c.asks:
                        x = c.asked
                        if x is not None and begins == RESPONSE and uid == x.uid:
                            method = x.request.method
                            answer = whole_response(data[body : body + size], length, method)
                            if answer is not None:
                                owner.now = ts
                                c.asked = None
                                c.turn = IDLE
                                c.next_seq[direction] = seq + length & 0xFFFFFFFF
                                c.last_ts = end_ts
                                x.response = answer
                                if x.kind == CLIENT or x.pid in loops:
                                    owner.answered(x, record_at(data, at))
                                elif x.pid in threads:
                                    owner.parents.threads.responded(x, tid)
                                x.end = end_ts
                                x.request_size = c.asked_length
                                x.response_size = length
                                owner.finished(x)
                                continue
                    elif begins == REQUEST and c.turn == IDLE:
                        request = whole_request(data[body : body + size], length)
                        if request is not None:
                            owner.now = ts
                            c.turn = ASKED
                            c.next_seq[direction] = seq + length & 0xFFFFFFFF
                            c.last_ts = c.asked_end = end_ts
                            c.asked_length = length
                            c.pid = pid
                            kind = SERVER if direction == base.INGRESS else CLIENT
                            span_id = owner.ids.span()
                            x = Live(kind, c.protocol, pid, tid, c.ends, ts, request, span_id)
                            c.asked = x
                            x.uid = uid
                            key = c.keys[direction]
                            if c.secure:
                                x.secure = True
                                (told,) = _TOLD.unpack_from(data, at + _TOLD_AT)
                                if told >> 63:
                                    place = place_told(told, 0)
                                else:
                                    place = tls_place(record_at(data, at), 0)
                                if key and place is not None:
                                    x.key = key << 64 | place
                            elif key:
                                x.key = key | seq
                            section = request.section
                            if section is None or section.carries:
                                x.carried = carried_context(request)
                            requests += 1
                            if kind == SERVER:
                                owner.served(x, c.local_peer)
                            else:
                                owner.called(x, record_at(data, at))
                            continue
                owner.take(record_at(data, at))
                if c is not None and c.one_by_one:
                    _begin(c)
            else:
                owner.take(record_at(data, at))
        owner.counts["requests"] += requests
        return owner.left()


def _begin(c: Connection) -> None:
    """Takes the connection over, where it stands between two exchanges and nothing is in
    doubt."""
    if c.outstanding or c.cut or c.ended or c.unknown or min(c.next_seq) < 0:
        return
    parser = c.parser
    if isinstance(parser, Http1Parser):
        asks = parser.between()
        if asks >= 0:
            c.asks = asks
            c.turn = IDLE
            # They hold records.
            c.request = c.response = None
            c.begun = [None, None]


def resume(c: Connection) -> None:
    """Gives the connection back to the general way, as if that had seen everything."""
    x, c.asked = c.asked, None
    c.turn = 0
    parser = c.parser
    assert isinstance(parser, Http1Parser)
    if x is None:
        c.last_direction = 1 - c.asks
        parser.passed_by(c.last_direction, None)
        return
    message = base.Message(base.REQUEST, c.asks, x.start, None, 0, x.request)
    message.end = c.asked_end
    message.length = c.asked_length
    message.complete = True
    x.request_message = message
    c.request = message
    c.outstanding.append(x)
    c.last_direction = c.asks
    parser.passed_by(c.asks, message)
