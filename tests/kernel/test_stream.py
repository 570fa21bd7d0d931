"""Short sends, refused ones, peeks, discards, ends: what moved is what is told."""

from __future__ import annotations

import errno

import pytest

from otel_ebpf.events import layout
from tests.kernel.tracer import Conversation, Tracer, show
from tests.kernel.traffic import (
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    REQUEST,
    RESPONSE,
    Pair,
    Traffic,
)


def conversation(traffic: Traffic, tracer: Tracer, pair: Pair) -> Conversation:
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    return found


def drain(traffic: Traffic, pair: Pair, length: int) -> None:
    """The server end receives until it has ``length`` bytes."""
    got = 0
    while got < length:
        more = traffic.receive("read", pair.server, (1 << 20,))
        assert more > 0
        got += more
    assert got == length


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
@pytest.mark.parametrize("send", ["write", "sendmsg", "writev"])
def test_a_send_that_moves_less_than_asked_is_told_as_what_it_moved(
    send: str, kind: str, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair(kind)
    traffic.do("nonblock", pair.client)
    head = b"POST / HTTP/1.1\r\nContent-Length: 6000000\r\n\r\n"
    data = head.ljust(6_000_000, b"b")
    before = tracer.kernel.stats()
    moved = traffic.send(send, pair.client, data)
    assert 0 < moved < len(data)
    assert traffic.send(send, pair.client, b"b" * 100_000) in (-1, 0) or kind == "unix"
    drain(traffic, pair, moved)
    found = conversation(traffic, tracer, pair)
    assert found.sent.length == moved
    assert tracer.kernel.stats()["short_sends"] > before["short_sends"]


@pytest.mark.parametrize("size", [100, 2000, 300_000])
def test_a_body_in_pieces_with_refusals_in_between_adds_up(
    size: int, traffic: Traffic, tracer: Tracer
) -> None:
    """Non-blocking writes until the buffer is full, several times over."""
    pair = traffic.pair("tcp4")
    traffic.do("sndbuf", pair.client, 20_000)
    traffic.do("nonblock", pair.client)
    moved = traffic.send("write", pair.client, REQUEST)
    refused = drained = 0
    for _ in range(3):
        for _ in range(400):
            ret = traffic.send("write", pair.client, size)
            if ret < 0:
                assert traffic.errno == errno.EAGAIN
                refused += 1
                break
            moved += ret
        drain(traffic, pair, moved - drained)
        drained = moved
    if size > 100:
        assert refused, "the test meant to fill the buffer"
    found = conversation(traffic, tracer, pair)
    assert found.sent.length == moved


def test_a_blocked_send_that_times_out_is_told_as_what_it_moved(
    traffic: Traffic, tracer: Tracer
) -> None:
    """The burst that might have held its record is long gone by then."""
    pair = traffic.pair("tcp4")
    traffic.exchange(pair)
    traffic.do("sndtimeo", pair.client, 300)
    # Without its head, and with more than is captured before it: only the length counts.
    first = traffic.send("write", pair.client, b"POST / HTTP/1.1\r\nA: " + b"a" * 2000)
    body = 8_000_000
    # Another thread's records would make the burst leave; here the agent asks for it.
    moved = traffic.send("write", pair.client, body)
    assert 0 < moved < body
    drain(traffic, pair, first + moved)
    found = conversation(traffic, tracer, pair)
    assert found.sent.length == len(REQUEST) + first + moved


def test_a_refused_request_is_told_once_it_goes(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    traffic.exchange(pair)
    traffic.do("nonblock", pair.client)
    filled = 0
    while (ret := traffic.send("write", pair.client, 500_000)) > 0:
        filled += ret
    drain(traffic, pair, filled)
    # What filled the buffer was no request; answer it so that the direction turns.
    assert traffic.send("write", pair.server, RESPONSE) == len(RESPONSE)
    traffic.receive_all("read", pair.client, len(RESPONSE))
    tracer.clear()
    assert traffic.send("write", pair.client, REQUEST) == len(REQUEST)
    drain(traffic, pair, len(REQUEST))
    found = conversation(traffic, tracer, pair)
    assert found.sent.records[0].begins == layout.REQUEST
    assert found.sent.data == REQUEST


def test_peeked_bytes_are_told_once(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    traffic.send("write", pair.client, REQUEST)
    for call in ("recv", "recvfrom", "recvmsg"):
        assert traffic.receive(call, pair.server, flags=MSG_PEEK) == len(REQUEST)
    assert traffic.receive("recvmmsg", pair.server, (10, 10), flags=MSG_PEEK) > 0
    assert traffic.receive("read", pair.server) == len(REQUEST)
    found = conversation(traffic, tracer, pair)
    assert found.arrived.data == REQUEST


def test_urgent_data_is_not_taken_for_the_streams(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    traffic.send("write", pair.client, REQUEST)
    assert traffic.send("urgent", pair.client, b"!") == 1
    while traffic.receive("recv", pair.server, flags=MSG_OOB) != 1:
        assert traffic.errno in (errno.EAGAIN, errno.EINVAL), "it is on its way"
    traffic.receive_all("read", pair.server, len(REQUEST))
    arrived = [r for r in tracer.of(traffic.pid) if r.fd == pair.server]
    assert b"".join(r.data for r in arrived) == REQUEST
    assert sum(r.length for r in arrived) == len(REQUEST)


def test_discarded_bytes_count_and_show_nothing(traffic: Traffic, tracer: Tracer) -> None:
    """MSG_TRUNC: the bytes are gone, and the buffer holds what it held before."""
    pair = traffic.pair("tcp4")
    body = b"s" * 200
    head = f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    traffic.send("write", pair.client, head + body)
    assert traffic.receive("recv", pair.server, (len(head),)) == len(head)
    for call in ("recv", "recvmsg"):
        assert traffic.receive(call, pair.server, (100,), flags=MSG_TRUNC) == 100
    found = conversation(traffic, tracer, pair)
    assert found.arrived.data == head
    assert found.arrived.length == len(head) + len(body)


@pytest.mark.parametrize("call", ["read", "recv", "recvmsg", "readv", "recvmmsg"])
def test_the_end_of_a_stream_is_told(call: str, traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    traffic.exchange(pair)
    traffic.do("shutdown", pair.client, 1)
    traffic.receive(call, pair.server)
    ends = tracer.of(traffic.pid, kind=layout.EOF)
    # Our own shutdown, and the peer's sight of it.
    assert [(r.direction, r.addresses()[1]) for r in ends] == [
        (1, pair.client_port),
        (0, pair.server_port),
    ], show(ends)


@pytest.mark.parametrize("call", ["read", "recv", "recvmsg", "readv"])
def test_who_asks_for_nothing_has_not_met_the_end(
    call: str, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair("tcp4")
    traffic.exchange(pair)
    assert traffic.receive(call, pair.server, (0,), flags=MSG_DONTWAIT) <= 0
    assert traffic.receive("recvmsg", pair.server, (64,), flags=MSG_ERRQUEUE) <= 0
    for send in ("write", "send", "sendmsg", "writev"):
        assert traffic.send(send, pair.client, b"") == 0
    traffic.exchange(pair)
    assert not tracer.of(traffic.pid, kind=layout.EOF)
    assert conversation(traffic, tracer, pair).sent.length == 2 * len(REQUEST)


@pytest.mark.parametrize("size", [len(RESPONSE), 5000])
def test_errors_that_end_a_conversation_are_told(
    size: int, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair("tcp4")
    traffic.exchange(pair)
    traffic.do("reset", pair.client)
    assert traffic.receive("read", pair.server) == -1
    assert traffic.errno == errno.ECONNRESET
    assert traffic.send("send", pair.server, RESPONSE.ljust(size, b"x")) == -1
    assert traffic.errno == errno.EPIPE
    told = tracer.of(traffic.pid, kind=layout.ERROR)
    assert [(r.length, r.direction) for r in told] == [(errno.ECONNRESET, 0), (errno.EPIPE, 1)]
    sent = [r for r in tracer.of(traffic.pid) if r.fd == pair.server and r.direction == 1]
    assert sum(r.length for r in sent) == len(RESPONSE), "what was refused did not move"


def test_eagain_of_a_receive_says_nothing(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    traffic.exchange(pair)
    tracer.clear()
    assert traffic.receive("recv", pair.server, flags=MSG_DONTWAIT) == -1
    assert not [r for r in tracer.flush() if r.tgid == traffic.pid]


@pytest.mark.parametrize("size", [len(REQUEST), 60_000])
def test_pages_that_are_not_there_at_entry_are_read_at_exit(
    size: int, traffic: Traffic, tracer: Tracer
) -> None:
    """A program sends straight from a fresh file mapping."""
    pair = traffic.pair("tcp4")
    data = REQUEST.ljust(size, b"b")
    assert traffic.send("unmapped", pair.client, data) == size
    drain(traffic, pair, size)
    found = conversation(traffic, tracer, pair)
    assert found.sent.records[0].begins == layout.REQUEST
    assert found.sent.data == data[:1024]
    assert found.sent.length == size
