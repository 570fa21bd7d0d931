"""Memcached as clients and servers speak it."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.in_order import MAX_OUTSTANDING
from otel_ebpf.protocols.memcached import MemcachedParser
from tests.unit.protocols.talk import Talk

SECRET = b"s3cr3t"


@pytest.fixture
def talk() -> Talk:
    return Talk(MemcachedParser())


def packet(magic: int, code: int, key: bytes = b"", value: bytes = b"", **more: int) -> bytes:
    """A binary request or response. ``more``: extras (bytes of zeros), status, opaque."""
    extras = bytes(more.get("extras", 0))
    body = extras + key + value
    return (
        bytes((magic, code))
        + len(key).to_bytes(2, "big")
        + bytes((len(extras), 0))
        + more.get("status", 0).to_bytes(2, "big")
        + len(body).to_bytes(4, "big")
        + more.get("opaque", 0).to_bytes(4, "big")
        + bytes(8)
        + body
    )


def test_text_commands(talk: Talk) -> None:
    talk.ask(b"set k 0 0 6\r\ns3cr3t\r\n")
    talk.answer(b"STORED\r\n")
    talk.ask(b"get k l\r\n")
    talk.answer(b"VALUE k 0 6\r\nEND\r\n.\r\nVALUE l 0 1\r\nx\r\nEND\r\n")
    talk.ask(b"get none\r\nincr k 5\r\ndelete k\r\n")
    talk.answer(b"END\r\nCLIENT_ERROR cannot increment s3cr3t\r\nNOT_FOUND\r\n")
    assert talk.pairs() == [
        ("set k ? ? ?", "ok"),
        ("get k l", "ok"),
        ("get none", "ok"),
        ("incr k ?", "CLIENT_ERROR"),
        ("delete k", "ok"),
    ]
    assert [m.head.operation for m in talk.requests][:2] == ["set", "get"]
    assert talk.parser.desyncs == 0


def test_commands_without_a_reply(talk: Talk) -> None:
    talk.ask(b"set k 0 0 1 noreply\r\nv\r\ndelete k noreply\r\nget k\r\n")
    talk.answer(b"END\r\n")
    assert [m.oneway for m in talk.requests] == [True, True, False]
    assert [end for _, end in talk.pairs()] == [None, None, "ok"]


def test_statistics_are_one_reply(talk: Talk) -> None:
    talk.ask(b"stats\r\n")
    talk.answer(b"STAT pid 1\r\nSTAT uptime 2\r\n")
    assert talk.pairs() == [("stats", None)]
    talk.answer(b"END\r\n")
    assert talk.pairs() == [("stats", "ok")]


def test_meta_commands(talk: Talk) -> None:
    talk.ask(b"ms k 2 T0\r\nhi\r\nmg k v\r\nmg none v\r\nmd k\r\n")
    talk.answer(b"HD\r\nVA 2 \r\nEN\r\nEN\r\nHD\r\n")
    assert [
        (m.head.operation, end) for m, (_, end) in zip(talk.requests, talk.pairs(), strict=True)
    ] == [
        ("set", "ok"),
        ("get", "ok"),
        ("get", "ok"),
        ("delete", "ok"),
    ]


def test_a_row_of_quiet_meta_commands_ends_with_a_noop(talk: Talk) -> None:
    talk.ask(b"mg a v q\r\nmg b v q\r\nms c 1 q\r\nx\r\nmn\r\n")
    talk.answer(b"VA 1\r\nz\r\nMN\r\n")
    talk.ask(b"mg d v\r\n")
    talk.answer(b"EN\r\n")
    assert [m.oneway for m in talk.requests] == [True, True, True, False, False]
    assert [end for _, end in talk.pairs()] == [None, None, None, "ok", "ok"]


def test_a_quiet_command_before_a_loud_one_leaves_its_reply_uncertain(talk: Talk) -> None:
    talk.ask(b"mg a v q\r\nmg b v\r\n")
    talk.answer(b"VA 1\r\nz\r\nEN\r\n")
    assert [end for _, end in talk.pairs()] == [None, "response_lost"]


def test_binary_packets_pair_and_quiet_ones_do_not(talk: Talk) -> None:
    talk.ask(packet(0x80, 0x01, b"k", SECRET, extras=8, opaque=1))
    talk.answer(packet(0x81, 0x01, opaque=1))
    talk.ask(packet(0x80, 0x09, b"a", opaque=2) + packet(0x80, 0x09, b"b", opaque=3))
    talk.ask(packet(0x80, 0x0A, opaque=4) + packet(0x80, 0x00, b"k", opaque=5))
    talk.answer(packet(0x81, 0x09, value=SECRET, extras=4, opaque=3))
    talk.answer(packet(0x81, 0x0A, opaque=4) + packet(0x81, 0x00, status=0x85, opaque=5))
    assert talk.pairs() == [
        ("set k", "ok"),
        ("get a", None),
        ("get b", None),
        ("noop", "ok"),
        ("get k", "BUSY"),
    ]


def test_passwords_never_leave(talk: Talk) -> None:
    talk.ask(packet(0x80, 0x21, b"PLAIN", b"\0user\0" + SECRET))
    talk.answer(packet(0x81, 0x21, status=0x20, value=SECRET))
    talk.ask(b"s3cr3t gibberish\r\n")
    (login, other) = talk.requests
    assert (login.head.operation, login.head.text) == ("sasl_auth", "sasl_auth")
    assert login.head.chatter
    assert (other.head.operation, other.head.text) == ("", "")
    assert talk.pairs()[0][1] == "AUTH_ERROR"


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_conversation_cut_anywhere_is_the_same(cut: int) -> None:
    talk = Talk(MemcachedParser())
    asked = b"set k 0 0 5\r\nab\r\nc\r\nget k l\r\nmg m v\r\n"
    told = b"STORED\r\nVALUE k 0 5\r\nab\r\nc\r\nEND\r\nVA 2\r\nhi\r\n"
    talk.ask(asked[: cut % len(asked) or 1])
    talk.ask(asked[cut % len(asked) or 1 :])
    talk.answer(told[: cut % len(told) or 1])
    talk.answer(told[cut % len(told) or 1 :])
    assert [end for _, end in talk.pairs()] == ["ok"] * 3


def test_values_that_were_not_captured(talk: Talk) -> None:
    talk.ask(b"set k 0 0 100000\r\nxxx", 50_000)
    talk.ask(b"", 20 + 100_000 - 50_000)
    talk.answer(b"STORED\r\n")
    talk.ask(b"get k l\r\n")
    talk.answer(b"VALUE k 0 9000\r\nyyy", 40_000)
    talk.answer(b"", 9000, b"zz\r\nEND\r\n"[-8:])
    assert [end for _, end in talk.pairs()] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("last", "length"),
    [(b"", 9000), (b"VALUE l 0 2\r\nzz\r\nEND\r\n", 24), (b"zz\r\nEND\r\n", 9)],
)
def test_the_count_goes_on_behind_values_that_were_not_captured(
    talk: Talk, last: bytes, length: int
) -> None:
    talk.ask(b"get k l\r\n")
    talk.answer(b"VALUE k 0 9000\r\nyyy", 40_000)
    talk.answer(last, length, b"zz\r\nEND\r\n"[-8:])
    for _ in range(2):
        talk.ask(b"get m\r\n")
        talk.answer(b"END\r\n")
    assert talk.pairs() == [("get k l", "ok"), ("get m", "ok"), ("get m", "ok")]
    assert not talk.parser.desyncs


def test_a_stray_reply_while_a_value_is_sent_is_forgotten_in_time(talk: Talk) -> None:
    talk.ask(b"set k 0 0 5\r\nab")
    talk.answer(b"STORED\r\n")  # nobody asked
    talk.ask(b"cde\r\n")
    talk.answer(b"STORED\r\n")
    for _ in range(3):
        talk.silence()
        talk.ask(b"get k\r\n")
        talk.answer(b"END\r\n")
    assert talk.pairs()[-1] == ("get k", "ok")


def test_joined_midway_nothing_is_told_until_it_is_certain() -> None:
    talk = Talk(MemcachedParser(), fresh=False)
    for _ in range(3):
        talk.ask(b"get k\r\n")
        talk.answer(b"END\r\n")
    for _ in range(2):
        talk.silence()
        talk.ask(b"get l\r\n")
        talk.answer(b"END\r\n")
    assert talk.pairs() == [("get l", "ok")]


def test_memory_is_bounded(talk: Talk) -> None:
    for _ in range(MAX_OUTSTANDING // 64 + 2):
        talk.ask(b"get k\r\n" * 64)
    assert len(talk.parser._outstanding) <= MAX_OUTSTANDING
    talk = Talk(MemcachedParser())
    for _ in range(10):
        talk.ask(b"g" * 5000)
    assert len(talk.parser._requests._part) < 20_000
