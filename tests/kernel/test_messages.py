"""Protocols of requests and replies: what is captured of them, and what is told of who asks."""

from __future__ import annotations

import errno

import pytest

from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import (
    EGRESS,
    FLAG_BEHIND,
    FLAG_FRESH,
    INGRESS,
    MAYBE,
    NOTHING,
    REQUEST,
    RESPONSE,
    RULE_THREAD,
)
from otel_ebpf.kernel.loader import Kernel
from tests.kernel.tracer import Conversation, Tracer, show
from tests.kernel.traffic import Pair, Traffic
from tests.unit.protocols import mqtt_wire as mqtt
from tests.unit.protocols import mysql_wire as mysql

REDIS, POSTGRESQL, MYSQL, MQTT = 80, 61, 60, 101
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
        assert stream.records[0].flags & FLAG_FRESH
    for stream in (found.answered, found.returned):
        assert not stream.records[0].flags & FLAG_BEHIND
    for stream in (found.sent, found.arrived, found.answered, found.returned):
        assert stream.records[1].flags & FLAG_BEHIND
    greeted = traffic.pair("tcp4")
    assert traffic.send("write", greeted.server, b"220 hello\r\n") == 11
    traffic.receive_all("read", greeted.client, 11)
    ask(traffic, greeted, SET)
    for first in firsts(traffic, tracer, greeted):
        assert first.protocol == REDIS
        assert not first.flags & FLAG_FRESH


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_a_connection_made_while_probes_are_attached_is_none_of_which_all_was_seen(
    kind: str, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, arm = [], Kernel._arm

    def late(kernel: Kernel) -> None:
        kernel.choose([traffic.pid])
        pairs.append(traffic.pair(kind))
        arm(kernel)

    monkeypatch.setattr(Kernel, "_arm", late)
    with Tracer() as tracer:
        pairs.append(traffic.pair(kind))
        for pair in pairs:
            ask(traffic, pair, SET)
        for pair, fresh in zip(pairs, (0, FLAG_FRESH), strict=True):
            assert [r.flags & FLAG_FRESH for r in firsts(traffic, tracer, pair)] == [fresh] * 2


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


def by_headers(traffic: Traffic, to: int, data: bytes) -> None:
    """Reads as servers of MySQL do: a packet's header, then its body."""
    while data:
        size = int.from_bytes(data[:3], "little")
        for part in (4, size):
            traffic.receive_all("read", to, part, (part,))
        data = data[4 + size :]


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_a_connection_that_the_server_begins(kind: str, traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair(kind)
    password = mysql.packet(3, b"s3cr3t\0")

    def say(data: bytes) -> None:
        assert traffic.send("write", pair.server, data) == len(data)
        by_headers(traffic, pair.client, data)

    def ask(data: bytes) -> None:
        assert traffic.send("write", pair.client, data) == len(data)
        by_headers(traffic, pair.server, data)

    query, file = mysql.query("SELECT 1"), mysql.packet(2, b"s3cr3t,1\n" * 1000)
    say(mysql.greeting())
    ask(mysql.login())
    say(mysql.packet(2, b"\xfemysql_clear_password\0"))
    ask(password)
    say(mysql.ok(4))
    ask(mysql.close(1))
    ask(query)
    say(mysql.packet(1, b"\xfbfile"))
    ask(file)
    ask(mysql.packet(3, b""))
    say(mysql.ok(4))
    found = conversation(traffic, tracer, pair)
    assert found.answered.records[0].flags & FLAG_FRESH
    assert [r.begins for r in found.returned.records[:2]] == [MAYBE, RESPONSE]
    assert {r.protocol for r in found.sent.records} == {MYSQL}
    # What has no answer begins nothing, and what is secret is not taken.
    asked = [r for r in found.sent.records if r.begins == REQUEST]
    assert [r.data for r in asked] == [mysql.login(), query]
    for stream in (found.sent, found.arrived):
        assert b"s3cr3t" not in stream.data
    judged = [r.begins for r in found.arrived.records if r.begins != MAYBE]
    assert judged[:5] == [REQUEST, NOTHING, NOTHING, REQUEST, NOTHING]
    assert REQUEST not in judged[5:]
    served = [r for r in found.arrived.records if r.begins == REQUEST]
    assert served[1].data == query[4:]


def test_the_two_ends_of_a_unix_socket_know_each_other(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("unix")
    ask(traffic, pair, SET)
    sent, arrived = firsts(traffic, tracer, pair)
    assert (sent.direction, arrived.direction) == (EGRESS, INGRESS)
    own, peers = sent.addresses()[3], arrived.addresses()[4]
    assert own == peers
    assert any(own)


@pytest.mark.parametrize("quality", [0, 1])
def test_a_thread_carries_a_delivery_that_waits_for_its_acknowledgement(
    quality: int, traffic: Traffic, tracer: Tracer
) -> None:
    broker, other = traffic.pair("tcp4"), traffic.pair("tcp4")
    ask(traffic, broker, mqtt.connect(), mqtt.connack())
    delivery = mqtt.publish("orders", 1, quality)
    assert traffic.send("write", broker.server, delivery) == len(delivery)
    for size in (1, 1, len(delivery) - 2):  # as paho reads
        assert traffic.receive("read", broker.client, (size,)) == size
    assert traffic.send("write", other.client, SET) == len(SET)
    records = tracer.of(traffic.pid)
    [call] = [r for r in records if r.protocol == REDIS and r.direction == EGRESS]
    read = [
        r
        for r in records
        if r.protocol == MQTT and r.direction == INGRESS and r.begins == REQUEST and r.role == 1
    ]
    assert [r.length for r in read] == [1], show(records)
    if quality:
        assert (call.parent_uid, call.rule) == (read[0].uid, RULE_THREAD)
    else:
        assert call.parent_uid != read[0].uid
