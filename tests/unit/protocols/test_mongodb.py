"""MongoDB's conversations: what is told of them, wherever they are cut."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.protocols.database import ALWAYS, UNLESS_FAILED
from otel_ebpf.protocols.mongodb import MAX_OUTSTANDING, MongodbParser
from tests.unit.protocols.mongodb_wire import (
    answer,
    ask,
    compressed,
    message,
    packet,
    query,
    reply,
)
from tests.unit.protocols.talk import Talk

FIND = {"find": "items", "filter": {"name": "s3cr3t", "n": {"$gt": 5}}, "limit": 3}
FIND_TEXT = '{"find":"items","filter":{"name":"?","n":{"$gt":"?"}},"limit":"?"}'


def talk(fresh: bool = True) -> Talk:
    return Talk(MongodbParser(), fresh)


def test_a_call_and_its_answer() -> None:
    t = talk()
    t.ask(ask(1, FIND))
    t.answer(answer(1))
    (request,) = t.requests
    head = request.head
    assert (head.system, head.operation, head.collection) == ("mongodb", "find", "items")
    assert head.namespace == "shop"
    assert head.text == FIND_TEXT
    assert not request.truncated and not head.chatter
    assert t.pairs() == [(FIND_TEXT, "ok")]


def test_answers_in_any_order_are_paired_by_number() -> None:
    t = talk()
    t.ask(ask(7, {"count": "a"}) + ask(8, {"count": "b"}) + ask(9, {"count": "c"}))
    t.answer(answer(9) + answer(7, {"ok": 0, "code": 26, "codeName": "NamespaceNotFound"}))
    assert [end for _, end in t.pairs()] == ["26", None, "ok"]
    t.answer(answer(8))
    assert [end for _, end in t.pairs()] == ["26", "ok", "ok"]
    failed = t.answers[t.requests[0].stream].head
    assert (failed.status, failed.said) == ("26", "NamespaceNotFound")


@pytest.mark.parametrize("cut", range(1, 100, 3))
def test_cut_anywhere(cut: int) -> None:
    t = talk()
    asked, told = ask(1, FIND) + ask(2, FIND), answer(1) + answer(2)
    t.ask(asked[:cut])
    t.ask(asked[cut:])
    t.answer(told[: cut % len(told)])
    t.answer(told[cut % len(told) :])
    assert t.pairs() == [(FIND_TEXT, "ok")] * 2
    assert t.requests[0].length == len(asked) // 2


def test_byte_by_byte() -> None:
    t = talk()
    for direction, data in ((1, ask(1, FIND)), (0, answer(1))):
        for at in range(len(data)):
            t.hear(direction, data[at : at + 1])
    assert t.pairs() == [(FIND_TEXT, "ok")]


def test_document_sequences_count_and_show_the_first() -> None:
    t = talk()
    documents = [{"_id": n, "name": "s3cr3t"} for n in range(50)]
    t.ask(ask(1, {"insert": "items", "ordered": True}, sequences={"documents": documents}))
    t.answer(answer(1, {"n": 50, "ok": 1.0}))
    (request,) = t.requests
    assert request.head.batch == 50
    assert request.head.text == (
        '{"insert":"items","ordered":"?","documents":[{"_id":"?","name":"?"},"..."]}'
    )


def test_arrays_of_documents_count_too() -> None:
    t = talk()
    t.ask(ask(1, {"delete": "items", "deletes": [{"q": {"a": 1}, "limit": 0}] * 4}))
    assert t.requests[0].head.batch == 4
    assert (
        t.requests[0].head.text
        == '{"delete":"items","deletes":[{"q":{"a":"?"},"limit":"?"},"..."]}'
    )


def test_values_next_to_each_other_are_one() -> None:
    t = talk()
    t.ask(ask(1, {"find": "items", "filter": {"a": {"$in": [1, 2, "three", None]}}}))
    t.ask(ask(2, {"aggregate": "items", "pipeline": [{"$match": {"a": 1}}, {"$limit": 1}]}))
    assert [m.head.text for m in t.requests] == [
        '{"find":"items","filter":{"a":{"$in":["?"]}}}',
        '{"aggregate":"items","pipeline":[{"$match":{"a":"?"}},{"$limit":"?"}]}',
    ]


def test_a_write_that_is_not_acknowledged_has_no_answer() -> None:
    t = talk()
    t.ask(ask(1, {"insert": "items"}, flags=2, sequences={"documents": [{"a": 1}]}) + ask(2, FIND))
    t.answer(answer(2))
    first, second = t.requests
    assert first.oneway and first.complete
    assert not second.oneway
    assert t.pairs()[1] == (FIND_TEXT, "ok")


def test_an_exhaust_cursor_is_one_call_to_its_last_answer() -> None:
    t = talk()
    t.ask(ask(1, {"getMore": 5, "collection": "items"}, flags=1 << 16))
    assert t.requests[0].head.text == '{"getMore":"?","collection":"items"}'
    assert t.requests[0].head.collection == "items"
    t.answer(message(50, {"ok": 1.0}, 1, flags=2))
    t.answer(message(51, {"ok": 1.0}, 50, flags=2))
    assert t.pairs()[0][1] is None
    t.ask(ask(2, FIND))
    t.answer(message(52, {"ok": 1.0}, 51) + answer(2))
    assert [end for _, end in t.pairs()] == ["ok", "ok"]
    whole = t.answers[t.requests[0].stream]
    assert whole.end > whole.start
    assert not t.parser._calls


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"ok": 0.0, "errmsg": "s3cr3t", "code": 59, "codeName": "CommandNotFound"}, "59"),
        ({"ok": 0, "errmsg": "s3cr3t"}, "_OTHER"),
        ({"writeErrors": [{"index": 0, "code": 11000, "errmsg": "s3cr3t"}], "ok": 1.0}, "11000"),
        ({"n": 1, "ok": 1.0, "writeErrors": [{"index": 0, "code": 11000}]}, "11000"),
        ({"ok": 1.0, "writeConcernError": {"code": 64, "codeName": "WriteConcernTimeout"}}, "64"),
        ({"cursor": {"id": 0, "firstBatch": [{"ok": 0}], "ns": "a.b"}, "ok": 1.0}, "ok"),
        ({"code": 5, "ok": True}, "ok"),
    ],
)  # fmt: skip
def test_errors(fields: dict[str, Any], status: str) -> None:
    t = talk()
    t.ask(ask(1, FIND))
    t.answer(answer(1, fields))
    assert t.pairs()[0][1] == status
    head = t.answers[1].head
    assert "s3cr3t" not in f"{head.status} {head.error} {head.said}"


def test_zlib_is_undone_and_others_are_said() -> None:
    t = talk()
    raw = ask(1, FIND)
    t.ask(compressed(raw))
    t.answer(compressed(answer(1, {"ok": 0, "code": 13})))
    t.ask(compressed(ask(2, FIND), 1) + compressed(ask(3, FIND), 3) + compressed(ask(4, FIND), 0))
    t.answer(compressed(answer(2), 1) + compressed(answer(3), 3) + compressed(answer(4), 0))
    assert t.pairs()[0] == (FIND_TEXT, "13")
    assert [m.head.summary for m in t.requests[1:]] == [
        "compressed (snappy)",
        "compressed (zstd)",
        "",
    ]
    assert [end for _, end in t.pairs()[1:]] == ["ok"] * 3


def test_a_bomb_is_undone_no_further_than_a_message_is_kept() -> None:
    t = talk()
    big = ask(1, {"insert": "items", "documents": [{"a": "x" * 30_000_000}]})
    packed = compressed(big)
    assert len(packed) < 40_000
    t.ask(packed)
    (request,) = t.requests
    assert request.head.operation == "insert" and request.truncated


def test_old_messages() -> None:
    t = talk()
    t.ask(query(1, "admin.$cmd", {"ismaster": 1, "helloOk": True}))
    t.answer(reply(1, {"ok": 1.0}))
    t.ask(query(2, "shop.$cmd", {"$query": {"count": "items"}, "$readPreference": {"mode": "x"}}))
    t.answer(reply(2, {"ok": 0.0, "code": 26}))
    t.ask(query(3, "shop.items.sold", {"a": 1}))
    t.answer(reply(3, {"$err": "s3cr3t", "code": 17}, flags=2))
    t.ask(packet(2002, 4, 0, bytes(4) + b"shop.items\0" + bytes(5)))
    t.ask(packet(2007, 5, 0, bytes(16)))
    heads = [(m.head.operation, m.head.collection, m.head.namespace) for m in t.requests]
    assert heads == [
        ("ismaster", "", "admin"),
        ("count", "items", "shop"),
        ("find", "items.sold", "shop"),
        ("insert", "items", "shop"),
        ("killCursors", "", ""),
    ]
    assert t.requests[0].head.chatter == ALWAYS
    assert [end for _, end in t.pairs()][:3] == ["ok", "26", "17"]
    assert [m.oneway for m in t.requests] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("command", "chatter", "said"),
    [
        ({"saslStart": 1, "mechanism": "PLAIN", "payload": b"\0me\0s3cr3t"}, UNLESS_FAILED, ""),
        ({"saslContinue": 1, "payload": b"s3cr3t"}, UNLESS_FAILED, ""),
        ({"createUser": "s3cr3t", "pwd": "s3cr3t", "roles": []}, 0, ""),
        ({"updateUser": "me", "pwd": "s3cr3t"}, 0, ""),
        ({"hello": 1, "speculativeAuthenticate": {"payload": b"s3cr3t"}}, ALWAYS, None),
        ({"ping": "s3cr3t"}, UNLESS_FAILED, '{"ping":"?"}'),
        ({"endSessions": [{"id": b"s3cr3t"}]}, ALWAYS, None),
        ({"find": "items", "filter": {"$where": "s3cr3t"}, "comment": "s3cr3t"}, 0, None),
    ],
)
def test_secrets_stay_and_the_librarys_own_calls_are_known(
    command: dict[str, Any], chatter: int, said: str | None
) -> None:
    t = talk()
    t.ask(ask(1, command))
    head = t.requests[0].head
    assert head.chatter == chatter
    assert "s3cr3t" not in repr([getattr(head, name) for name in head.__slots__])
    if said is not None:
        assert head.text == said


def test_a_login_of_which_little_was_captured_is_one_still() -> None:
    t = talk()
    raw = ask(1, {"saslStart": 1, "mechanism": "PLAIN", "payload": b"\0me\0s3cr3t"})
    t.ask(raw[:48], len(raw))
    t.answer(answer(1))
    assert t.requests[0].head.operation == "saslStart"
    assert t.pairs()[0][1] == "ok"


def test_long_messages_are_counted_through() -> None:
    t = talk()
    raw = ask(1, {"insert": "items"}, sequences={"documents": [{"a": "x" * 900_000}] * 2})
    t.ask(raw[:30_000], 500_000)
    t.ask(b"", len(raw) - 500_000)
    big = answer(1, {"cursor": {"firstBatch": ["y" * 500_000]}, "ok": 1.0})
    t.answer(big[:32_768], len(big))
    t.ask(ask(2, FIND))
    t.answer(answer(2))
    assert [end for _, end in t.pairs()] == ["ok", "ok"]
    assert t.requests[0].truncated
    assert t.requests[0].head.batch == 0
    assert t.parser.in_step and not t.parser.desyncs


def test_joined_midway_is_told_from_the_next_request_on() -> None:
    t = talk(fresh=False)
    t.answer(answer(4))
    t.ask(b"x" * 40)
    raw = ask(5, FIND)
    t.ask(raw[:4])
    t.ask(raw[4:])
    told = answer(5)
    t.answer(told[:16])
    t.answer(told[16:])
    assert t.pairs() == [(FIND_TEXT, "ok")]


def test_behind_a_loss_nobody_gets_anothers_answer() -> None:
    t = talk()
    t.ask(ask(1, FIND))
    t.keep(t.parser.gap(0, t.clock))
    t.answer(b"rest of something" * 3)
    t.ask(ask(2, FIND))
    t.answer(answer(2))
    assert [end for _, end in t.pairs()] == [None, "ok"]
    t.ask(ask(3, FIND))
    t.keep(t.parser.gap(0, t.clock))
    t.ask(ask(4, FIND))
    t.answer(answer(4))
    assert [end for _, end in t.pairs()][2:] == ["response_lost", "ok"] or t.pairs()[2][1] is None


def test_no_more_calls_wait_than_the_bound() -> None:
    t = talk()
    for number in range(MAX_OUTSTANDING + 10):
        t.parser.feed(1, ask(number + 1, {"ping": 1}), len(ask(number + 1, {"ping": 1})), 1, 1, 1)
    assert len(t.parser._calls) == MAX_OUTSTANDING


def test_a_checksum_is_no_section() -> None:
    t = talk()
    t.ask(ask(1, FIND, flags=1))
    t.answer(message(9, {"ok": 1.0}, 1, flags=1))
    assert t.pairs() == [(FIND_TEXT, "ok")]


def test_depth_and_size_of_a_text_are_bounded() -> None:
    t = talk()
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}
    t.ask(ask(1, {"find": "items", "filter": deep}))
    t.ask(
        ask(
            2,
            {
                "find": "items",
                "filter": {f"k{n}": {f"m{m}": 1 for m in range(60)} for n in range(60)},
            },
        )
    )
    first, second = (m.head.text for m in t.requests)
    assert first.count("{") < 40
    assert len(second) < 5000
