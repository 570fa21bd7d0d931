"""DNS messages and the parser of DNS over TCP."""

from __future__ import annotations

import struct

import pytest

from otel_ebpf.protocols.base import REQUEST, RESPONSE
from otel_ebpf.protocols.dns import read_datagram
from otel_ebpf.protocols.dns_message import MAX_ANSWERS, read_message
from otel_ebpf.protocols.dns_tcp import DnsParser
from tests.unit.protocols.dns_wire import (
    AAAA,
    AXFR,
    CNAME,
    NS,
    SOA,
    TC,
    TO_QUESTION,
    A,
    address,
    framed,
    name,
    query,
    question,
    reply,
    rr,
)
from tests.unit.protocols.talk import Talk


def test_a_query_and_its_answer() -> None:
    data = query(0xBEEF, "www.Example.com", AAAA, edns=True)
    asks = read_datagram(data, len(data))
    assert asks is not None
    assert (asks.kind, asks.number, asks.about) == (REQUEST, 0xBEEF, ("www.example.com", AAAA))
    assert asks.head[:5] == ("lookup", "www.Example.com", "AAAA", True, 1)
    alias = rr(CNAME, name("real.example.com"))
    data = reply(0xBEEF, "www.Example.com", AAAA, (alias, address("fd00::1"), address("10.0.0.7")))
    says = read_datagram(data, len(data))
    assert says is not None
    assert (says.kind, says.number, says.about) == (RESPONSE, asks.number, asks.about)
    assert says.head == ("NOERROR", ("fd00::1", "10.0.0.7"), False)
    assert says.head.error == ""


@pytest.mark.parametrize(
    ("code", "text"),
    [(1, "FORMERR"), (2, "SERVFAIL"), (3, "NXDOMAIN"), (5, "REFUSED"), (12, "RCODE12"),
     (16, "BADVERS"), (23, "BADCOOKIE")],
)  # fmt: skip
def test_codes_those_of_edns_too(code: int, text: str) -> None:
    data = reply(1, "nowhere.test", code=code)
    says = read_datagram(data, len(data))
    assert says is not None
    assert says.head.code == says.head.error == text


def test_an_answer_that_is_cut_off_says_so() -> None:
    data = reply(1, "big.test", flags=TC)
    says = read_datagram(data, len(data))
    assert says is not None
    assert says.head.truncated
    whole = reply(1, "big.test", answers=tuple(address(f"10.0.0.{n}") for n in range(50)))
    says = read_datagram(whole[:200], len(whole))
    assert says is not None
    assert says.head.code == "NOERROR"
    assert 0 < len(says.head.addresses) <= MAX_ANSWERS


def test_several_questions() -> None:
    head = struct.pack(">HHHHHH", 9, 0, 2, 0, 0, 0)
    data = head + question("one.test") + question("two.test", AAAA)
    asks = read_datagram(data, len(data))
    assert asks is not None
    assert (asks.head.name, asks.head.questions) == ("one.test", 2)


def test_names_as_the_conventions_want_them() -> None:
    raw = bytes([5]) + b'a."\\b' + bytes([4]) + b"\t\n\x01\xff" + b"\0"
    data = struct.pack(">HHHHHH", 9, 0, 1, 0, 0, 0) + raw + struct.pack(">HH", A, 1)
    message = read_message(data, len(data))
    assert message is not None
    assert message.name == 'a\\.\\"\\\\b.\\t\\n\\001\\255'
    root = query(1, "", NS)
    message = read_message(root, len(root))
    assert message is not None
    assert message.name == "."


@pytest.mark.parametrize(
    "owner",
    [
        b"\xc0\xff",  # forwards
        struct.pack(">H", 0xC000 | 12 + len(question("loop.test"))),  # to itself
        b"\xc0\x00",  # into the header
        b"\x80a\0",  # a label of a kind that is not in use
        (b"\x3f" + b"x" * 63) * 4 + b"\0",  # longer than a name can be
    ],
)
def test_names_that_are_none(owner: bytes) -> None:
    data = reply(1, "loop.test", answers=(rr(A, bytes(4), owner),))
    assert read_message(data, len(data)) is None


def test_chains_of_pointers_come_to_an_end() -> None:
    """Each record's name points to the one before it: read once, not once for each."""
    answers = b""
    at = 12 + len(question("a"))
    target = 12
    for _ in range(300):
        pointer = struct.pack(">H", 0xC000 | target)
        answers += rr(TO_QUESTION[0], b"", b"\1b" + pointer)
        target = at
        at += 4 + 10
    head = struct.pack(">HHHHHH", 1, 0x8000, 1, 300, 0, 0)
    data = head + question("a") + answers
    message = read_message(data, len(data))
    assert message is None or message.name == "a"


def test_what_follows_a_query_is_no_dns() -> None:
    data = query(1, "www.test") + b"x"
    assert read_message(data, len(data)) is None
    assert read_message(data[:-3], len(data) - 3) is None


# Over TCP


def ask(number: int, text: str, kind: int = A) -> bytes:
    return framed(query(number, text, kind))


def say(number: int, text: str, kind: int = A, *answers: bytes, code: int = 0) -> bytes:
    return framed(reply(number, text, kind, answers, code))


def ends(talk: Talk) -> list[tuple[str, str | None]]:
    found = []
    for message in talk.requests:
        answer = talk.answers.get(message.stream)
        whole = answer is not None and answer.complete
        end = message.error or (answer.head.error or "ok" if answer and whole else None)
        found.append((message.head.name, end))
    return found


CONVERSATION = (
    (ask(1, "a.test") + ask(2, "b.test") + ask(3, "c.test"), True),
    (say(3, "c.test", code=3) + say(1, "a.test", A, address("10.0.0.1")), False),
    (ask(3, "d.test"), True),
    (say(2, "b.test") + say(3, "d.test", code=2), False),
)
EXPECTED = [("a.test", "ok"), ("b.test", "ok"), ("c.test", "NXDOMAIN"), ("d.test", "SERVFAIL")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 13, 1000])
def test_messages_cut_anywhere_pair_by_id(size: int) -> None:
    talk = Talk(DnsParser())
    for data, asks in CONVERSATION:
        for at in range(0, len(data), size):
            (talk.ask if asks else talk.answer)(data[at : at + size])
    assert ends(talk) == EXPECTED
    assert [m.head.transport for m in talk.requests] == ["tcp"] * 4
    assert talk.answers[1].head.addresses == ("10.0.0.1",)


def test_the_place_of_each_query_is_its_own() -> None:
    talk = Talk(DnsParser())
    first, second = ask(1, "a.test"), ask(2, "b.test")
    talk.ask(first + second[:5])
    talk.ask(second[5:])
    one, two = talk.requests
    assert (one.offset, one.length) == (0, len(first))
    assert (two.offset, two.length) == (len(first), len(second))
    assert two.start < two.end


def test_the_same_id_and_question_twice_pair_in_order() -> None:
    talk = Talk(DnsParser())
    talk.ask(ask(1, "a.test") * 2)
    talk.answer(say(1, "a.test", code=3) + say(1, "A.TEST"))
    assert ends(talk) == [("a.test", "NXDOMAIN"), ("a.test", "ok")]


def test_an_answer_to_something_else_is_nobodys() -> None:
    talk = Talk(DnsParser())
    talk.ask(ask(1, "a.test"))
    talk.answer(say(1, "b.test") + say(2, "a.test"))
    assert ends(talk) == [("a.test", None)]


def test_joined_midway_or_behind_a_gap_whole_messages_are_understood() -> None:
    talk = Talk(DnsParser(), fresh=False)
    talk.ask(ask(1, "a.test")[7:])
    talk.answer(say(1, "a.test"))
    talk.ask(ask(2, "b.test"))
    talk.answer(say(2, "b.test"))
    assert ends(talk) == [("b.test", "ok")]
    talk.ask(ask(3, "c.test"))
    talk.keep(talk.parser.gap(0, talk.clock))
    talk.answer(say(3, "c.test")[3:])
    talk.ask(ask(4, "d.test"))
    talk.answer(say(4, "d.test"))
    assert ends(talk)[1:] == [("c.test", "response_lost"), ("d.test", "ok")]


def test_a_long_answer_of_which_the_start_was_captured() -> None:
    big = say(1, "big.test", A, *(address(f"10.0.{n >> 8}.{n & 255}") for n in range(2000)))
    talk = Talk(DnsParser())
    talk.ask(ask(1, "big.test"))
    talk.answer(big[:4096], len(big))
    talk.ask(ask(2, "small.test"))
    talk.answer(say(2, "small.test"))
    assert ends(talk) == [("big.test", "ok"), ("small.test", "ok")]


def test_a_zones_transfer_is_one_answer_however_many_messages() -> None:
    soa = rr(SOA, name("ns") + name("me") + bytes(20))
    talk = Talk(DnsParser())
    talk.ask(ask(1, "zone.test", AXFR))
    talk.answer(say(1, "zone.test", AXFR, soa, address("10.0.0.1")))
    for _ in range(3):
        talk.answer(say(1, "zone.test", AXFR, address("10.0.0.2")))
    assert ends(talk) == [("zone.test", None)]
    talk.answer(say(1, "zone.test", AXFR, soa))
    assert ends(talk) == [("zone.test", "ok")]
    talk.ask(ask(2, "zone.test", AXFR))
    talk.answer(say(2, "zone.test", AXFR, code=5))
    assert ends(talk)[1] == ("zone.test", "REFUSED")


def test_a_transfer_that_is_lost_as_soon_as_it_begins_is_told_of_once() -> None:
    soa = rr(SOA, name("ns") + name("me") + bytes(20))
    begins = say(1, "zone.test", AXFR, soa)
    talk = Talk(DnsParser())
    talk.ask(ask(1, "zone.test", AXFR))
    talk.answer(begins, len(begins) + 2)  # the next message's length was not captured
    assert ends(talk) == [("zone.test", "ok")]
