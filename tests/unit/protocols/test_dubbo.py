"""Conversations of Dubbo 2: what is called, which answer is whose, what is lost and found again."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.database import UNLESS_FAILED
from otel_ebpf.protocols.dubbo import MAX_OUTSTANDING, DubboParser
from tests.unit.protocols.dubbo_wire import FASTJSON, answer, call, heartbeat, packet, thrown, word
from tests.unit.protocols.talk import Talk


class DubboTalk(Talk):
    """With each request's method."""

    def __init__(self, fresh: bool = True) -> None:
        super().__init__(DubboParser(), fresh)

    def pairs(self) -> list[tuple[str, str | None]]:
        return [(m.head.method, self._end(m)) for m in self.requests]


def test_calls_and_their_answers() -> None:
    talk = DubboTalk()
    talk.ask(call(1) + heartbeat(9) + call(2, "other", version="1.2.3"))
    talk.answer(answer(2, thrown("shop.NoSuchThing")) + heartbeat(9, False))
    talk.answer(heartbeat(3) + answer(1))
    talk.ask(heartbeat(3, False) + call(4, two_way=False) + call(5))
    talk.answer(answer(5, word("secret words"), 70))
    assert talk.pairs() == [
        ("shop.Shop/price", "ok"),
        ("shop.Shop/other", "shop.NoSuchThing"),
        ("shop.Shop/price", None),
        ("shop.Shop/price", "SERVICE_ERROR"),
    ]
    assert talk.requests[2].oneway
    assert talk.requests[1].head.notes == {"otel_ebpf.dubbo.service_version": "1.2.3"}
    assert [talk.answers[n].head.status for n in (1, 2, 4)] == ["OK", "OK", "SERVICE_ERROR"]
    assert talk.parser.desyncs == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 15, 16, 17, 100, 1000])
def test_bytes_may_be_cut_anywhere(size: int) -> None:
    asked = b"".join(call(n, f"m{n}") for n in range(1, 4)) + heartbeat(4)
    told = b"".join(answer(n) for n in (3, 1, 2))
    talk = DubboTalk()
    for at in range(0, len(asked), size):
        talk.ask(asked[at : at + size])
    for at in range(0, len(told), size):
        talk.answer(told[at : at + size])
    assert talk.pairs() == [(f"shop.Shop/m{n}", "ok") for n in range(1, 4)]
    assert {m.length for m in talk.requests} == {len(call(1, "m1"))}
    if size == 1000:
        assert [m.offset for m in talk.requests] == [0, len(call(1, "m1")), 2 * len(call(1, "m1"))]


def test_a_generic_call_is_named_by_what_it_calls() -> None:
    types = "Ljava/lang/String;[Ljava/lang/String;[Ljava/lang/Object;"
    talk = DubboTalk()
    talk.ask(call(1, "$invoke", rest=word(types) + word("price") + b"rest"))
    talk.ask(call(2, "$invoke", rest=b"\xff\xff"))
    talk.ask(call(3, "$echo"))
    assert [m.head.method for m in talk.requests] == [
        "shop.Shop/price",
        "shop.Shop/$invoke",
        "shop.Shop/$echo",
    ]


@pytest.mark.parametrize("size", [3, 31, 32, 40, 47, 48, 200, 255])
@pytest.mark.parametrize("written", [2, FASTJSON])
def test_names_of_any_length(size: int, written: int) -> None:
    name = "n" * size
    talk = DubboTalk()
    talk.ask(call(1, name, name, name, written=written, rest=b""))
    head = talk.requests[0].head
    assert head.method == f"{name}/{name}"
    assert head.notes == {"otel_ebpf.dubbo.service_version": name}


@pytest.mark.parametrize(
    "request_",
    [
        call(1, written=8),
        call(1, "two words"),
        call(1, "x" * 300),
        call(1, "na\u00efve"),
        packet(0xC2, 0, 1, b""),
        packet(0xC2, 0, 1, b"\xff" * 30),
        packet(0xC2, 0, 1, word("2.0.2") + b"\x33\xff" + b"x"),
        packet(0xC2, 0, 1, b"NNNN"),
        packet(0xC2 & 0xE0 | FASTJSON, 0, 1, (b"\0\0\0\1\xaf") * 4),
    ],
)
def test_a_call_whose_method_cannot_be_read_has_none(request_: bytes) -> None:
    talk = DubboTalk()
    talk.ask(request_)
    talk.answer(answer(1))
    assert talk.pairs() == [("", "ok")]
    assert talk.requests[0].head.notes["otel_ebpf.dubbo.serialization"] == request_[2] & 31


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (thrown("java.lang.IllegalStateException"), 20, "java.lang.IllegalStateException"),
        (thrown("shop.Gone", 3), 20, "shop.Gone"),
        (b"\x90M\x00", 20, "exception"),
        (b"\x90C\xff", 20, "exception"),
        (b"\x91\x06secret", 20, ""),
        (b"\x95HZ", 20, ""),
        (b"", 20, ""),
        (word("secret"), 31, "SERVER_TIMEOUT"),
        (word("secret"), 60, "SERVICE_NOT_FOUND"),
        (word("secret"), 77, "77"),
    ],
)
def test_how_calls_end(body: bytes, status: int, error: str) -> None:
    talk = DubboTalk()
    talk.ask(call(1))
    talk.answer(answer(1, body, status))
    head = talk.answers[1].head
    assert head.error == error
    assert head.blameless == (status == 60)


def test_what_the_library_asks_of_its_own_is_told_apart() -> None:
    talk = DubboTalk()
    talk.ask(call(1, "getMetadataInfo", "org.apache.dubbo.metadata.MetadataService"))
    talk.ask(call(2))
    assert [m.head.chatter for m in talk.requests] == [UNLESS_FAILED, 0]


def test_calls_back_are_not_told_of() -> None:
    talk = DubboTalk()
    talk.ask(call(1))
    talk.answer(call(1, "callback"))
    talk.ask(answer(1))
    talk.answer(answer(1))
    assert talk.pairs() == [("shop.Shop/price", "ok")]


def test_long_messages_are_passed_over_by_their_length() -> None:
    talk = DubboTalk()
    whole = call(1, rest=b"x" * 500_000)
    talk.ask(whole[:4096], len(whole))
    told = answer(1, b"\x94" + b"x" * 500_000)
    talk.answer(told[:4096], 300_000)
    talk.answer(b"", len(told) - 300_000)
    talk.ask(call(2))
    talk.answer(answer(2))
    assert talk.pairs() == [("shop.Shop/price", "ok")] * 2
    assert talk.requests[0].length == len(whole) and talk.answers[1].length == len(told)


def test_joined_midway() -> None:
    talk = DubboTalk(fresh=False)
    talk.answer(answer(6))
    talk.ask(b"the end of a call")
    talk.answer(answer(7)[5:])
    talk.ask(call(8)[:16])
    talk.ask(call(8)[16:])
    talk.answer(answer(7))
    talk.answer(answer(8))
    assert talk.pairs() == [("shop.Shop/price", "ok")]


def test_lost_answers_cost_their_calls_and_no_others() -> None:
    talk = DubboTalk()
    talk.ask(call(1, "a") + call(2, "b"))
    talk.keep(talk.parser.gap(0, talk.clock))
    talk.answer(answer(2))
    talk.ask(call(3, "c"))
    talk.answer(answer(3))
    assert [end for _, end in talk.pairs()] == ["response_lost", "ok", "ok"]


def test_bytes_that_are_no_message_end_the_step() -> None:
    talk = DubboTalk()
    talk.ask(call(1) + b"GET / HTTP/1.1\r\n" + call(2))
    assert talk.parser.desyncs == 1
    talk.ask(call(3))
    talk.answer(answer(1) + answer(3))
    assert talk.pairs() == [("shop.Shop/price", "ok")] * 2


def test_the_oldest_calls_are_given_up_where_too_many_wait() -> None:
    talk = DubboTalk()
    talk.ask(b"".join(call(n) for n in range(MAX_OUTSTANDING + 2)))
    assert [m.error for m in talk.requests[:3]] == ["response_lost", "response_lost", None]
    talk.ask(call(MAX_OUTSTANDING))  # a number that is in use
    assert talk.requests[MAX_OUTSTANDING].error == "response_lost"
