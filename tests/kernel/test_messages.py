"""Protocols of requests and replies: what is captured of them, and what is told of who asks."""

from __future__ import annotations

import errno

import pytest

from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import EGRESS, FLAG_FRESH, INGRESS, MAYBE, REQUEST, RESPONSE
from tests.kernel.tracer import Conversation, Tracer, show
from tests.kernel.traffic import Pair, Traffic

REDIS, POSTGRESQL = 80, 61
SET = b"*3\r\n$3\r\nSET\r\n$5\r\nkey01\r\n$5\r\nvalue\r\n"
OK = b"+OK\r\n"
START = b"\0\0\0\x1c\0\3\0\0user\0me\0database\0d\0\0"


def conversation(traffic: Traffic, tracer: Tracer, pair: Pair) -> Conversation:
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    return found


def ask(traffic: Traffic, pair: Pair, data: bytes, answer: bytes = OK) -> None:
    assert traffic.send("write", pair.client, data) == len(data)
    traffic.receive_all("read", pair.server, len(data))
    assert traffic.send("write", pair.server, answer) == len(answer)
    traffic.receive_all("read", pair.client, len(answer))


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
@pytest.mark.parametrize(
    ("send", "receive", "parts"),
    [
        ("write", "read", ()),
        ("sendto", "recvfrom", ()),
        ("sendmsg", "recvmsg", (5000, 100, 9000)),
        ("writev", "readv", (1, 4095, 4096, 2)),
    ],
)
def test_a_long_pipeline_is_captured_whole_on_both_sides(
    kind: str, send: str, receive: str, parts: tuple[int, ...], traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair(kind)
    ask(traffic, pair, SET)
    pipeline = SET * 500
    assert 16_384 < len(pipeline) < 32_768
    sizes = [*parts, len(pipeline) - sum(parts)] if parts else []
    assert traffic.send(send, pair.client, pipeline, sizes) == len(pipeline)
    traffic.receive_all(receive, pair.server, len(pipeline))
    assert traffic.send(send, pair.server, OK * 4000) == len(OK * 4000)
    traffic.receive_all(receive, pair.client, len(OK * 4000))
    found = conversation(traffic, tracer, pair)
    for stream, whole in (
        (found.sent, SET + pipeline),
        (found.arrived, SET + pipeline),
        (found.answered, OK + OK * 4000),
        (found.returned, OK + OK * 4000),
    ):
        assert stream.data == whole
        assert {r.protocol for r in stream.records} == {REDIS}


def test_what_is_beyond_the_most_is_told_by_its_length(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    value = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000\r\n" + b"x" * 60_000 + b"\r\n"
    assert traffic.send("write", pair.client, value) == len(value)
    traffic.receive_all("read", pair.server, len(value))
    found = conversation(traffic, tracer, pair)
    for stream in (found.sent, found.arrived):
        assert stream.length == len(value)
        assert len(stream.data) <= 32_768
        assert value.startswith(stream.data[:4096])


def test_refused_sends_of_a_long_answer_are_not_counted(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("unix")
    ask(traffic, pair, SET)
    traffic.do("nonblock", pair.server)
    assert traffic.send("write", pair.client, SET) == len(SET)
    traffic.receive_all("read", pair.server, len(SET))
    for _ in range(4):
        moved = 0
        while (ret := traffic.send("write", pair.server, 9000)) > 0:
            moved += ret
        assert traffic.errno == errno.EAGAIN
        assert moved
        traffic.receive_all("read", pair.client, moved)
    conversation(traffic, tracer, pair)


def firsts(traffic: Traffic, tracer: Tracer, pair: Pair) -> list[Record]:
    found = conversation(traffic, tracer, pair)
    return [found.sent.records[0], found.arrived.records[0]]


def test_the_first_bytes_of_a_connection_are_told_apart(traffic: Traffic, tracer: Tracer) -> None:
    fresh = traffic.pair("tcp4")
    ask(traffic, fresh, SET)
    ask(traffic, fresh, SET)
    found = conversation(traffic, tracer, fresh)
    for stream in (found.sent, found.arrived):
        assert [bool(r.flags & FLAG_FRESH) for r in stream.records] == [True, False]
    greeted = traffic.pair("tcp4")
    assert traffic.send("write", greeted.server, b"220 hello\r\n") == 11
    traffic.receive_all("read", greeted.client, 11)
    ask(traffic, greeted, SET)
    for first in firsts(traffic, tracer, greeted):
        assert first.protocol == REDIS
        assert not first.flags & FLAG_FRESH


def test_a_first_command_in_pieces(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    for piece in (SET[:3], SET[3:7], SET[7:]):
        assert traffic.send("write", pair.client, piece) == len(piece)
        traffic.receive_all("read", pair.server, len(piece))
    found = conversation(traffic, tracer, pair)
    for stream in (found.sent, found.arrived):
        assert stream.data == SET
        assert [r.begins for r in stream.records[:2]] == [MAYBE, MAYBE], show(stream.records)
        last = stream.records[2]
        assert (last.begins, last.protocol) == (REQUEST, REDIS)
        assert last.flags & FLAG_FRESH


def test_every_request_of_a_run_has_its_number(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    ask(traffic, pair, SET)
    for _ in range(2):
        assert traffic.send("write", pair.client, SET) == len(SET)
        traffic.receive_all("read", pair.server, len(SET))
    assert traffic.send("write", pair.server, OK * 2) == len(OK) * 2
    traffic.receive_all("read", pair.client, len(OK) * 2)
    found = conversation(traffic, tracer, pair)
    for stream in (found.sent, found.arrived):
        assert [r.begins for r in stream.records] == [REQUEST] * 3
        assert len({r.uid for r in stream.records}) == 3
    # With two under way the reply need not be the latest one's.
    assert [r.begins for r in found.returned.records] == [RESPONSE] * 2
    one, several = found.returned.records
    assert one.uid == found.sent.records[0].uid
    assert several.uid == 0


def test_a_password_is_not_captured(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    ask(traffic, pair, START, b"R\0\0\0\x08\0\0\0\3")
    secret = b"p\0\0\0\x0bs3cr3t\0"
    ask(traffic, pair, secret, b"R\0\0\0\x08\0\0\0\0")
    found = conversation(traffic, tracer, pair)
    for stream in (found.sent, found.arrived):
        assert {r.protocol for r in stream.records} == {POSTGRESQL}
        assert stream.records[1].data == secret[:5]
        assert stream.records[1].length == len(secret)


def test_the_two_ends_of_a_unix_socket_know_each_other(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("unix")
    ask(traffic, pair, SET)
    sent, arrived = firsts(traffic, tracer, pair)
    assert (sent.direction, arrived.direction) == (EGRESS, INGRESS)
    own, peers = sent.addresses()[3], arrived.addresses()[4]
    assert own == peers
    assert any(own)
