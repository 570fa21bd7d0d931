"""Conversations of Thrift: framing, which answer is whose, what is lost and found again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otel_ebpf.protocols.thrift import ThriftParser
from otel_ebpf.protocols.thrift_calls import MAX_OUTSTANDING
from otel_ebpf.protocols.thrift_head import Head, read_head
from tests.unit.protocols.talk import Talk
from tests.unit.protocols.thrift_wire import (
    CALL,
    COMPACT_MANY,
    EXCEPTION,
    MANY,
    ONEWAY,
    REPLY,
    binary,
    compact,
    compact_fault,
    fault,
    framed,
    header,
    text,
)

WRAPS: dict[str, tuple[Callable[..., bytes], Callable[[bytes], bytes]]] = {
    "binary": (binary, bytes),
    "compact": (compact, bytes),
    "framed binary": (binary, framed),
    "framed compact": (compact, framed),
}


class ThriftTalk(Talk):
    """With each request's method."""

    def __init__(self, fresh: bool = True) -> None:
        super().__init__(ThriftParser(), fresh)

    def pairs(self) -> list[tuple[str, str | None]]:
        return [(m.head.method, self._end(m)) for m in self.requests]


@pytest.mark.parametrize("way", WRAPS)
def test_calls_and_their_answers(way: str) -> None:
    made, wrap = WRAPS[way]
    many = MANY if made is binary else COMPACT_MANY
    fails = fault if made is binary else compact_fault
    declared = text(1, b"secret") if made is binary else b"\x1c\x18\6secret\0"
    talk = ThriftTalk()
    talk.ask(wrap(made("price", 1, body=many)))
    result = (b"\x0c\0\0" if made is binary else b"\x0c\0") + many + b"\0"
    talk.answer(wrap(made("price", 1, REPLY, result)))
    talk.ask(wrap(made("note", 2, ONEWAY)))
    talk.ask(wrap(made("absent", 3)))
    talk.answer(wrap(made("absent", 3, EXCEPTION, fails(1))))
    talk.ask(wrap(made("price", 4)))
    talk.answer(wrap(made("price", 4, REPLY, declared + b"\0")))
    talk.ask(wrap(made("shop:ping", 5)))
    talk.answer(wrap(made("ping", 5, REPLY)))
    assert talk.pairs() == [
        ("price", "ok"),
        ("note", None),
        ("absent", "UNKNOWN_METHOD"),
        ("price", "exception"),
        ("shop/ping", "ok"),
    ]
    assert talk.requests[1].oneway
    assert talk.answers[3].head.status == "UNKNOWN_METHOD"
    assert talk.answers[4].head.notes == {"otel_ebpf.thrift.exception_field": 1}
    assert talk.parser.desyncs == 0


@pytest.mark.parametrize("way", WRAPS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
def test_bytes_may_be_cut_anywhere(way: str, size: int) -> None:
    made, wrap = WRAPS[way]
    many = MANY if made is binary else COMPACT_MANY
    asked = b"".join(wrap(made(f"m{n}", n, body=many)) for n in range(1, 4))
    told = b"".join(wrap(made(f"m{n}", n, REPLY)) for n in range(1, 4))
    talk = ThriftTalk()
    for at in range(0, len(asked), size):
        talk.ask(asked[at : at + size])
    for at in range(0, len(told), size):
        talk.answer(told[at : at + size])
    assert talk.pairs() == [("m1", "ok"), ("m2", "ok"), ("m3", "ok")]
    lengths = [m.length for m in talk.requests]
    assert lengths == [len(wrap(made("m1", 1, body=many)))] * 3
    if size == 1000:
        assert [m.offset for m in talk.requests] == [0, lengths[0], 2 * lengths[0]]


def test_answers_out_of_order_pair_by_number() -> None:
    talk = ThriftTalk()
    talk.ask(framed(binary("a", 7)) + framed(binary("a", 8)) + framed(binary("b", 9)))
    talk.answer(framed(binary("b", 9, REPLY)) + framed(binary("a", 8, EXCEPTION, fault(6))))
    talk.answer(framed(binary("a", 7, REPLY)))
    assert talk.pairs() == [("a", "ok"), ("a", "INTERNAL_ERROR"), ("b", "ok")]


def test_answers_in_order_where_all_numbers_are_zero() -> None:
    talk = ThriftTalk()
    talk.ask(binary("a") + binary("b") + binary("a"))
    talk.answer(binary("a", 0, REPLY))
    talk.answer(binary("b", 0, EXCEPTION, fault(7)) + binary("a", 0, REPLY))
    assert talk.pairs() == [("a", "ok"), ("b", "PROTOCOL_ERROR"), ("a", "ok")]


def test_an_answer_of_another_method_is_nobodys() -> None:
    talk = ThriftTalk()
    talk.ask(framed(binary("a", 1)))
    talk.answer(framed(binary("b", 1, REPLY)))
    assert talk.pairs() == [("a", None)]


def test_header_with_its_pairs_and_packed() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    talk = ThriftTalk()
    talk.ask(header(binary("a", 0), 5, {"traceparent": parent, "other": "x"}))
    talk.answer(header(binary("a", 0, REPLY), 5))
    talk.ask(header(compact("b", 0), 6, packed=True))
    talk.answer(header(compact("b", 0, EXCEPTION, compact_fault(1)), 6, packed=True))
    assert [m.head.method for m in talk.requests] == ["a", "b"]
    assert talk.requests[0].head.context.span_id.hex() == "b7ad6b7169203331"
    assert talk.requests[1].head.context is None
    assert set(talk.answers) == {1, 2}


def test_calls_of_go_that_have_no_answer_are_over_when_later_ones_were_answered() -> None:
    talk = ThriftTalk()
    talk.ask(framed(binary("note", 1)))
    for number in range(2, 6):
        talk.ask(framed(binary("ping", number)))
        talk.answer(framed(binary("ping", number, REPLY)))
    assert (talk.requests[0].oneway, talk.requests[0].error) == (True, None)
    talk.ask(framed(binary("note", 6)))
    talk.ask(framed(binary("ping", 7)))
    talk.answer(framed(binary("ping", 7, REPLY)))
    assert not talk.requests[5].oneway
    talk.keep(talk.parser.close(talk.clock))
    assert (talk.requests[5].oneway, talk.requests[5].error) == (True, None)


def test_a_slow_call_of_a_method_that_has_answers_keeps_waiting() -> None:
    talk = ThriftTalk()
    talk.ask(framed(binary("slow", 1)))
    talk.answer(framed(binary("slow", 1, REPLY)))
    talk.ask(framed(binary("slow", 2)))
    for number in range(3, 20):
        talk.ask(framed(binary("ping", number)))
        talk.answer(framed(binary("ping", number, REPLY)))
    talk.answer(framed(binary("slow", 2, REPLY)))
    assert [end for _, end in talk.pairs()] == ["ok"] * 19


def test_a_long_string_is_passed_over_where_the_end_is_known() -> None:
    talk = ThriftTalk()
    whole = binary("put", 1, body=text(1, b"x" * 50_000) + b"\0")
    talk.hear(1, whole[:4096], len(whole), whole[-8:])
    talk.answer(binary("put", 1, REPLY))
    assert talk.pairs() == [("put", "ok")]
    assert talk.requests[0].length == len(whole) and not talk.requests[0].truncated


def test_a_frame_is_passed_over_by_its_length() -> None:
    talk = ThriftTalk()
    whole = framed(binary("put", 1, body=MANY * 1000))
    talk.ask(whole[:4096], len(whole))
    told = framed(binary("put", 1, REPLY, b"x" * 90_000))
    talk.answer(told[:100], len(told))
    talk.ask(framed(binary("put", 2)))
    assert [m.length for m in talk.requests] == [len(whole), 20]
    assert talk.answers[1].length == len(told)
    assert talk.parser.desyncs == 0


def test_an_answer_whose_end_was_not_captured_goes_on_until_the_connection_turns() -> None:
    talk = ThriftTalk()
    talk.ask(binary("list", 1))
    talk.answer(binary("list", 1, REPLY, MANY)[:60], 4096)
    assert talk.parser.open_ended
    talk.answer(b"", 5000)
    assert talk.pairs() == [("list", None)]
    talk.ask(binary("list", 2))
    assert talk.answers[1].complete and talk.answers[1].truncated
    assert talk.answers[1].length == 9096
    talk.answer(binary("list", 2, REPLY, MANY)[:60], 4096)
    talk.keep(talk.parser.settle(talk.clock))
    assert [end is not None for _, end in talk.pairs()] == [True, True]
    talk.ask(binary("list", 3))
    talk.answer(binary("list", 3, REPLY))
    assert talk.pairs()[2] == ("list", "ok")


def test_joined_midway_calls_that_are_counted_are_told_of_at_once() -> None:
    talk = ThriftTalk(fresh=False)
    talk.answer(b"the end of an answer")
    talk.ask(framed(binary("a", 70)))
    talk.answer(framed(binary("a", 69, REPLY)))
    talk.answer(framed(binary("a", 70, REPLY)))
    talk.ask(framed(binary("a", 71))[:4])
    talk.ask(framed(binary("a", 71))[4:])
    talk.answer(framed(binary("a", 71, REPLY)))
    assert talk.pairs() == [("a", "ok"), ("a", "ok")]


def test_joined_midway_calls_without_numbers_need_a_silence_on_both_sides() -> None:
    talk = ThriftTalk(fresh=False)
    for _ in range(5):
        talk.ask(binary("a"))
        talk.answer(binary("a", 0, REPLY))
    assert talk.pairs() == []
    for _ in range(3):
        talk.silence()
        talk.ask(binary("a"))
        talk.answer(binary("a", 0, REPLY))
    assert talk.pairs() == [("a", "ok")] * 2


def test_a_silence_before_a_length_that_is_read_alone_counts() -> None:
    talk = ThriftTalk(fresh=False)
    for _ in range(4):
        talk.silence()
        call = framed(binary("a"))
        talk.ask(call[:4])
        talk.ask(call[4:])
        talk.answer(framed(binary("a", 0, REPLY)))
    assert talk.pairs() == [("a", "ok")] * 2
    # None between the two.
    talk = ThriftTalk(fresh=False)
    for _ in range(4):
        call = framed(binary("a"))
        talk.ask(call[:4])
        talk.silence()
        talk.ask(call[4:])
        talk.answer(framed(binary("a", 0, REPLY)))
    assert talk.pairs() == []


def test_lost_answers_cost_their_calls_and_no_others() -> None:
    talk = ThriftTalk()
    talk.ask(framed(binary("a", 1)))
    talk.keep(talk.parser.gap(0, talk.clock))
    talk.ask(framed(binary("b", 2)))
    talk.answer(framed(binary("b", 2, REPLY)))
    assert talk.pairs() == [("a", "response_lost"), ("b", "ok")]


def test_lost_answers_of_calls_without_numbers_are_not_made_up() -> None:
    talk = ThriftTalk()
    talk.ask(binary("a"))
    talk.keep(talk.parser.gap(0, talk.clock))
    talk.ask(binary("a"))
    talk.answer(binary("a", 0, REPLY))
    assert talk.pairs() == [("a", "response_lost")]
    for _ in range(2):
        talk.silence()
        talk.ask(binary("a"))
        talk.answer(binary("a", 0, REPLY))
    assert talk.pairs()[1:] == [("a", "ok")]


def test_the_oldest_calls_are_given_up_where_too_many_wait() -> None:
    talk = ThriftTalk()
    talk.ask(b"".join(framed(binary("a", n)) for n in range(1, MAX_OUTSTANDING + 3)))
    assert [m.error for m in talk.requests[:3]] == ["response_lost", "response_lost", None]
    assert len(talk.parser._calls) == MAX_OUTSTANDING


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        binary("has space", 1),
        binary("a" * 300, 1),
        binary("a", 1, kind=5),
        framed(b"\x80\1\0\1"),
        framed(binary("name", 1, body=b"")),
        compact("a", 1 << 40),
        b"\x82\x22\1\1a\0",
        header(binary("a", 1))[:12] + b"\xff\xff" + bytes(20),
    ],
)
def test_what_is_no_message_ends_the_step(data: bytes) -> None:
    talk = ThriftTalk()
    talk.ask(data)
    assert not talk.requests
    assert talk.parser.desyncs == 1
    talk.ask(framed(binary("a", 2)))
    talk.answer(framed(binary("a", 2, REPLY)))
    assert talk.pairs() == [("a", "ok")]


def test_structs_too_deep_are_none() -> None:
    talk = ThriftTalk()
    talk.ask(binary("a", 1, body=b"\x0c\0\1" * 100))
    assert talk.parser.desyncs == 1


@pytest.mark.parametrize("whole", [binary("price", 9), compact("price", 300), header(binary("a"))])
def test_a_head_needs_all_of_its_bytes(whole: bytes) -> None:
    found = [read_head(whole[:n]) for n in range(1, len(whole) + 1)]
    first = next(n for n, head in enumerate(found) if isinstance(head, Head))
    assert all(head == 0 for head in found[:first])
    assert all(isinstance(head, Head) and head.kind == CALL for head in found[first:])
