"""Kafka: calls by topic, answers by correlation id, links, gaps, connections joined midway."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from otel_ebpf.protocols.base import EGRESS, INGRESS, REQUEST
from otel_ebpf.protocols.kafka import MAX_OUTSTANDING, KafkaParser
from otel_ebpf.protocols.kafka_calls import MAX_TOPICS
from otel_ebpf.protocols.kafka_memory import KafkaMemory
from otel_ebpf.protocols.messaging import UNLESS_FAILED
from tests.unit.protocols.kafka_wire import (
    ID,
    PACK,
    answer,
    array,
    batch,
    fetch,
    fetched,
    frame,
    i16,
    i32,
    metadata,
    produce,
    produced,
    record,
    request,
    text,
    traced,
    traceparent,
)
from tests.unit.protocols.talk import Talk


def spans(talk: Talk) -> list[tuple[str, str | None]]:
    """What is told of without internal calls."""
    return [
        pair
        for pair, message in zip(talk.pairs(), talk.requests, strict=True)
        if not message.head.chatter
    ]


@pytest.mark.parametrize("version", [0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12])
def test_a_send_of_any_version(version: int) -> None:
    talk = Talk(KafkaParser())
    talk.ask(produce(5, {"orders": {3: batch([record(0), record(1)])}}, version))
    talk.answer(produced(5, {"orders": {3: 0}}, version))
    assert talk.pairs() == [("send orders", "ok")]
    head = talk.requests[0].head
    assert (head.system, head.type, head.client_id) == ("kafka", "send", "shop")
    assert (head.partition, head.batch, head.offset) == ("3", 2, -1)
    assert not head.notes
    assert "key" not in str([getattr(head, name) for name in head.__slots__])


def test_one_message_has_the_offset_that_the_broker_gave_it() -> None:
    talk = Talk(KafkaParser())
    talk.ask(produce(5, {"orders": {0: batch([record(0)])}}))
    talk.answer(produced(5, {"orders": {0: 0}}, base=41))
    assert talk.requests[0].head.offset == 41


def test_each_topic_is_a_send_of_its_own_with_its_own_error_and_place() -> None:
    talk = Talk(KafkaParser())
    asked = produce(
        1, {"a": {0: traced(1, 2), 1: traced(2, 3)}, "b": {0: traced(9)}, "c": {7: traced(4)}}
    )
    talk.ask(asked)
    talk.answer(produced(1, {"c": {7: 0}, "b": {0: 6}, "a": {0: 0, 1: 10}}))
    assert talk.pairs() == [
        ("send a", "MESSAGE_TOO_LARGE"),
        ("send b", "NOT_LEADER_OR_FOLLOWER"),
        ("send c", "ok"),
    ]
    a, b, c = talk.requests
    assert [m.head.batch for m in (a, b, c)] == [4, 1, 1]
    assert [m.head.partition for m in (a, b, c)] == ["", "0", "7"]
    assert [[int.from_bytes(x.trace_id, "big") for x in m.head.contexts] for m in (a, b, c)] == [
        [1, 2, 3], [9], [4],
    ]  # fmt: skip
    # The views of client and server are joined by where in the stream a request begins.
    assert a.offset == 0
    assert asked[b.offset :].startswith(text("b", True))
    assert asked[c.offset :].startswith(text("c", True))


def test_without_acknowledgement_a_send_is_over_when_it_is_written() -> None:
    talk = Talk(KafkaParser())
    talk.ask(produce(1, {"orders": {0: traced(1)}}, acks=0) + request(3, 9, 2))
    talk.answer(metadata(2, {}, 9))
    first, second = talk.requests
    assert first.oneway
    assert first.complete
    assert talk.answers[second.stream].head.error == ""
    assert first.stream not in talk.answers


def test_several_requests_are_under_way_and_pair_by_their_numbers() -> None:
    talk = Talk(KafkaParser())
    talk.ask(b"".join(produce(n, {f"t{n}": {0: traced(n)}}) for n in range(5)))
    for n in (0, 2, 1, 4, 3):
        talk.answer(produced(n, {f"t{n}": {0: n}}))
    assert [end for _, end in talk.pairs()] == [
        "ok", "OFFSET_OUT_OF_RANGE", "CORRUPT_MESSAGE", "UNKNOWN_TOPIC_OR_PARTITION",
        "INVALID_FETCH_SIZE",
    ]  # fmt: skip


def test_fetches_are_told_of_when_they_bring_messages() -> None:
    talk = Talk(KafkaParser())
    talk.ask(fetch(1, {"orders": {0: 0}}))
    talk.answer(fetched(1, {}))
    assert spans(talk) == []
    assert talk.requests[0].head.chatter == UNLESS_FAILED
    talk.ask(fetch(2, {"orders": {0: 0}}))
    talk.answer(fetched(2, {"orders": {0: traced(1, 2), 1: b""}, "empty": {0: b""}}))
    assert spans(talk) == [("poll orders", "ok")]
    head = talk.requests[1].head
    assert (head.type, head.batch, head.partition) == ("receive", 2, "0")
    assert len(head.contexts) == 2


@pytest.mark.parametrize("version", [0, 1, 3, 4, 5, 7, 9, 11, 12])
def test_a_fetch_of_any_version_with_several_topics(version: int) -> None:
    talk = Talk(KafkaParser())
    asked = fetch(1, {"a": {0: 0}, "b": {1: 5}}, version)
    talk.ask(asked)
    talk.answer(fetched(1, {"a": {0: traced(1)}, "b": {1: traced(2, 3, base=5)}}, version))
    assert spans(talk) == [("poll a", "ok"), ("poll b", "ok")]
    assert [m.head.offset for m in talk.requests] == [0, -1]
    assert len({m.offset for m in talk.requests}) == 2
    assert all(m.offset < len(asked) for m in talk.requests)


def test_messages_before_the_wanted_offset_do_not_count_nor_link() -> None:
    talk = Talk(KafkaParser())
    talk.ask(fetch(1, {"orders": {0: 102}}))
    talk.answer(fetched(1, {"orders": {0: traced(1, 2, 3, 4, base=100) + traced(5, base=104)}}))
    head = talk.requests[0].head
    assert head.batch == 3
    assert [int.from_bytes(x.trace_id, "big") for x in head.contexts] == [3, 4, 5]


def test_within_a_session_who_does_not_move_is_not_named_again() -> None:
    talk = Talk(KafkaParser())
    talk.ask(fetch(1, {"a": {0: 3}, "b": {0: 1}}))
    talk.answer(fetched(1, {}))
    talk.ask(fetch(2, {"b": {0: 2}}, epoch=1))
    talk.answer(fetched(2, {"a": {0: traced(1, 2, 3, 4)}, "b": {0: traced(1, 2, 3, 4)}}))
    assert [m.head.batch for m in talk.requests[1:]] == [1, 2]


def test_topics_that_are_known_by_id() -> None:
    memory = KafkaMemory()
    talk = Talk(KafkaParser())
    talk.parser.remember(memory, 1)
    talk.ask(fetch(1, {ID: {0: 0}}, 13))
    talk.answer(fetched(1, {ID: {0: traced(1)}}, 13))
    told = talk.requests[0].head
    assert told.destination == ""
    assert told.notes["otel_ebpf.kafka.topic_id"] == "AAECAwQFBgcICQoLDA0ODw"
    other = Talk(KafkaParser())  # another connection learns the name
    other.parser.remember(memory, 2)
    other.ask(request(3, 12, 1))
    other.answer(metadata(1, {"orders": ID}))
    for version in (13, 15, 17, 18):
        talk.ask(fetch(version, {ID: {0: 0}}, version))
        talk.answer(fetched(version, {ID: {0: traced(1)}}, version))
    talk.ask(produce(99, {ID: {0: traced(1)}}, 13))
    talk.answer(produced(99, {ID: {0: 0}}, 13))
    assert spans(talk)[1:] == [("poll orders", "ok")] * 4 + [("send orders", "ok")]


def test_fetches_that_fail() -> None:
    talk = Talk(KafkaParser())
    for number, error in ((1, 70), (2, 56)):
        talk.ask(fetch(number, {"a": {0: 0}}))
        talk.answer(fetched(number, {}, error=error))
    talk.ask(fetch(3, {"a": {0: 0}}))
    talk.answer(fetched(3, {"a": {0: b""}}, failed=1))
    # That a session is gone is usual: the client begins another.
    assert talk.pairs() == [
        ("Fetch", "ok"), ("Fetch", "KAFKA_STORAGE_ERROR"), ("poll a", "OFFSET_OUT_OF_RANGE"),
    ]  # fmt: skip


@pytest.mark.parametrize("version", [4, 12, 15])
def test_replication_is_internal_whatever_it_brings(version: int) -> None:
    topic = ID if version > 12 else "orders"
    talk = Talk(KafkaParser())
    talk.ask(fetch(1, {topic: {0: 0}}, version, replica=2))
    talk.answer(fetched(1, {topic: {0: traced(1)}}, version))
    assert spans(talk) == []


@pytest.mark.parametrize(
    ("api", "version", "body", "error"),
    [
        (12, 0, i16(25), "UNKNOWN_MEMBER_ID"),
        (12, 3, i32(0) + i16(22), "ILLEGAL_GENERATION"),
        (12, 4, i32(0) + i16(27), "ok"),  # a rebalance is usual
        (11, 5, i32(0) + i16(79) + i32(-1), "ok"),  # so is a member that gets its name
        (10, 1, i32(0) + i16(15) + i16(-1) + i32(-1) + text("") + i32(-1),
         "COORDINATOR_NOT_AVAILABLE"),
        (8, 3, i32(0) + array([text("t") + array([i32(0) + i16(0), i32(1) + i16(12)])]),
         "OFFSET_METADATA_TOO_LARGE"),
        (18, 3, i16(35) + b"\1" + b"\0\0\0\0\0", "UNSUPPORTED_VERSION"),
        (36, 1, i16(58) + text("no") + i32(0), "SASL_AUTHENTICATION_FAILED"),
        (3, 1, array([]) + i32(1) + array([i16(29) + text("t") + b"\0" + array([])]),
         "TOPIC_AUTHORIZATION_FAILED"),
        (3, 99, b"", None),
        (12, 4, i32(0) + i16(9999), "9999"),
        (26, 2, i32(0) + i16(-1), "UNKNOWN_SERVER_ERROR"),
    ],
)  # fmt: skip
def test_errors_of_internal_calls(api: int, version: int, body: bytes, error: str | None) -> None:
    talk = Talk(KafkaParser())
    group = b"\2g" if (api, version) == (12, 4) else text("g")
    talk.ask(request(api, version, 1, group if version < 50 else b""))
    talk.answer(answer(api, version, 1, body))
    ends = [end for _, end in talk.pairs()]
    assert ends == ([error] if error is not None else [])
    assert all(m.head.chatter == UNLESS_FAILED for m in talk.requests)


def test_what_programs_administrate_is_their_own() -> None:
    talk = Talk(KafkaParser())
    talk.ask(request(19, 2, 1, array([]) + i32(1000) + b"\0"))
    talk.answer(answer(19, 2, 1, i32(0) + array([text("orders") + i16(36) + i16(-1)])))
    assert spans(talk) == [("CreateTopics", "TOPIC_ALREADY_EXISTS")]


def test_a_consumers_group_is_known_on_all_of_its_clients_connections() -> None:
    memory = KafkaMemory()

    def connection(process: int) -> Talk:
        talk = Talk(KafkaParser())
        talk.parser.remember(memory, process)
        return talk

    def group_of(process: int, client: str = "shop") -> Any:
        talk = connection(process)
        talk.ask(fetch(1, {"orders": {0: 0}}).replace(b"shop", client.encode()))
        talk.answer(fetched(1, {"orders": {0: traced(1)}}))
        return talk.requests[0].head.group

    coordinator = connection(1)
    coordinator.ask(request(12, 3, 1, text("billing") + i32(1) + text("me") + i16(-1)))
    assert coordinator.requests[0].head.group == "billing"
    assert group_of(1) == "billing"
    assert group_of(2) == ""
    assert group_of(1, "else") == ""
    connection(1).ask(request(12, 3, 1, text("other") + i32(1) + text("me") + i16(-1)))
    assert group_of(1) == ""  # two groups, and clients of one name


@pytest.mark.parametrize("packed", range(len(PACK)))
def test_contexts_in_packed_batches(packed: int) -> None:
    talk = Talk(KafkaParser())
    talk.ask(produce(1, {"orders": {0: traced(1, 2, 3, packed=packed)}}))
    head = talk.requests[0].head
    assert head.batch == 3
    assert [int.from_bytes(x.trace_id, "big") for x in head.contexts] == [1, 2, 3]
    assert not head.notes


@pytest.mark.parametrize(
    ("packed", "name"), [(1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd"), (6, "other")]
)
def test_batches_that_cannot_be_unpacked_say_so(packed: int, name: str) -> None:
    talk = Talk(KafkaParser())
    junk = bytearray(traced(1, 2))
    junk[22] = packed
    talk.ask(produce(1, {"orders": {0: bytes(junk)}}))
    head = talk.requests[0].head
    assert (head.batch, head.contexts) == (2, ())
    assert head.notes["otel_ebpf.links.unread"] == name


@pytest.mark.parametrize("packed", [1, 2, 3, 4])
def test_packed_batches_take_bounded_memory(packed: int) -> None:
    """A megabyte that is packed to little is unpacked as far as there is room, or not at all."""
    records = [record(0, headers={"traceparent": traceparent(7)}), record(1, bytes(1 << 20))]
    talk = Talk(KafkaParser())
    asked = produce(1, {"orders": {n: batch(records, packed=packed) for n in range(8)}})
    tracemalloc.start()
    talk.ask(asked[:32768], len(asked))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    head = talk.requests[0].head
    if packed != 2:  # which packs less, and is not captured whole
        assert [int.from_bytes(x.trace_id, "big") for x in head.contexts] == [7]
    else:
        assert head.notes["otel_ebpf.links.unread"] == "snappy"


def test_only_headers_of_that_name_are_contexts() -> None:
    parent = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
    fake = b"\x16traceparent\x6e" + parent
    talk = Talk(KafkaParser())
    records = [
        record(0, value=fake),
        record(1, headers={"other": fake}),
        record(2, headers={"traceparent": b"00-" + b"0" * 32 + b"-" + b"2" * 16 + b"-01"}),
        record(3, headers={"traceparent": parent[:-1]}),
    ]
    talk.ask(produce(1, {"orders": {0: batch(records)}}))
    assert talk.requests[0].head.contexts == ()
    talk.ask(
        produce(2, {"orders": {0: batch([*records, record(4, headers={"traceparent": parent})])}})
    )
    assert len(talk.requests[1].head.contexts) == 1


def test_control_batches_hold_no_messages() -> None:
    talk = Talk(KafkaParser())
    talk.ask(fetch(1, {"orders": {0: 0}}))
    talk.answer(fetched(1, {"orders": {0: traced(1) + batch([record(0)], 1, control=True)}}))
    assert talk.requests[0].head.batch == 1


def test_a_batch_that_the_broker_cut_is_not_received() -> None:
    talk = Talk(KafkaParser())
    talk.ask(fetch(1, {"orders": {0: 0}}))
    talk.answer(fetched(1, {"orders": {0: traced(1) + traced(2, base=1)[:-3]}}))
    assert talk.requests[0].head.batch == 1


def test_a_batch_beyond_the_capture_is_counted_by_its_header() -> None:
    talk = Talk(KafkaParser())
    whole = produce(1, {"orders": {0: batch([record(n, b"x" * 1000) for n in range(900)])}})
    talk.ask(whole[:32768], len(whole))
    talk.answer(produced(1, {"orders": {0: 0}}))
    assert talk.pairs() == [("send orders", "ok")]
    message = talk.requests[0]
    assert (message.head.batch, message.truncated, message.length) == (900, True, len(whole))
    talk.ask(request(3, 9, 2))
    talk.answer(metadata(2, {}, 9))
    assert talk.pairs()[1:] == [("Metadata", "ok")]


def test_a_topic_behind_the_capture_is_told_of_when_it_is_answered() -> None:
    talk = Talk(KafkaParser())
    big = batch([record(n, b"x" * 1000) for n in range(90)])
    whole = produce(1, {"a": {0: big}, "b": {0: big}})
    talk.ask(whole[:32768], len(whole))
    assert talk.pairs() == [("send a", None)]
    talk.answer(produced(1, {"a": {0: 0}, "b": {0: 3}}))
    assert talk.pairs() == [("send a", "ok"), ("send b", "UNKNOWN_TOPIC_OR_PARTITION")]
    a, b = talk.requests
    assert (a.head.batch, b.head.batch) == (90, 0)
    assert a.start == b.start
    assert b.truncated


def test_topics_of_a_fetch_behind_the_capture_are_counted() -> None:
    talk = Talk(KafkaParser())
    talk.ask(fetch(1, {"a": {0: 0}, "b": {0: 0}, "c": {0: 0}}))
    big = batch([record(n, b"x" * 1000) for n in range(90)])
    whole = fetched(1, {name: {0: big} for name in ("a", "b", "c")})
    talk.answer(whole[:32768], len(whole))
    assert talk.pairs() == [("poll a", "ok")]
    assert talk.requests[0].head.batch == 90
    assert talk.requests[0].head.notes["otel_ebpf.kafka.topics_unseen"] == 2


def test_a_fetch_whose_messages_were_sent_from_files() -> None:
    """A broker's own view: headers are seen, messages are not, and all lengths are known."""
    talk = Talk(KafkaParser())
    talk.ask(fetch(1, {"a": {0: 0}, "b": {0: 0}}))
    data = {"a": traced(*range(1, 50)), "b": traced(*range(1, 30))}
    whole = fetched(1, {name: {0: each} for name, each in data.items()})
    for name in ("a", "b"):
        before, _, whole = whole.partition(data[name])
        talk.answer(before)
        talk.answer(b"", len(data[name]))
    talk.answer(whole)
    assert talk.pairs() == [("poll a", "ok"), ("poll b", "ok")]
    assert [(m.head.batch, m.head.partition) for m in talk.requests] == [(0, "0")] * 2
    assert all(talk.answers[m.stream].truncated for m in talk.requests)
    talk.ask(fetch(2, {}))
    talk.answer(fetched(2, {}))
    assert talk.pairs()[2:] == [("Fetch", "ok")]


def test_of_many_topics_the_rest_is_one() -> None:
    topics = {f"t{n}": {0: traced(1)} for n in range(MAX_TOPICS + 5)}
    talk = Talk(KafkaParser())
    talk.ask(produce(1, topics))
    talk.answer(produced(1, {name: {0: 0} for name in topics}))
    assert len(talk.requests) == MAX_TOPICS + 1
    assert talk.pairs()[-1] == ("send", "ok")
    assert talk.requests[-1].head.batch == 5


def test_lengths_that_are_read_alone() -> None:
    """Java reads a length, then the rest; the first of a connection, too."""
    talk = Talk(KafkaParser())
    for number in (1, 2):
        asked, told = produce(number, {"o": {0: traced(1)}}), produced(number, {"o": {0: 0}})
        talk.ask(asked[:4])
        begun = talk.clock
        talk.ask(asked[4:])
        talk.answer(told[:4])
        talk.answer(told[4:])
        assert talk.requests[-1].token == begun
    assert talk.pairs() == [("send o", "ok")] * 2


@pytest.mark.parametrize("alone", [False, True])
def test_joined_midway_answers_pair_at_once(alone: bool) -> None:
    talk = Talk(KafkaParser(), fresh=False)

    def say(hear: Any, data: bytes) -> None:
        for part in (data[:4], data[4:]) if alone else (data,):
            hear(part)

    say(talk.answer, produced(7, {"before": {0: 0}}))  # to a request that nobody saw
    talk.ask(b"the middle of a message")
    say(talk.ask, produce(8, {"orders": {0: traced(1)}}))
    say(talk.answer, produced(9, {"before": {0: 0}}))
    say(talk.answer, produced(8, {"orders": {0: 0}}))
    assert talk.pairs() == [("send orders", "ok")]
    assert talk.parser.in_step


def test_after_lost_answers_those_before_are_given_up() -> None:
    talk = Talk(KafkaParser())
    for number in range(3):
        talk.ask(produce(number, {f"t{number}": {0: traced(1)}}))
    talk.keep(talk.parser.gap(INGRESS, talk.clock))
    talk.answer(produced(1, {"t1": {0: 0}}))
    assert talk.pairs() == [("send t0", "response_lost"), ("send t1", "ok"), ("send t2", None)]


def test_logins_leave_nothing() -> None:
    talk = Talk(KafkaParser())
    talk.ask(request(17, 1, 1, text("PLAIN")))
    talk.answer(answer(17, 1, 1, i16(0) + array([text("PLAIN")])))
    secret = i32(13) + b"\0shop\0s3cr3t"
    whole = request(36, 1, 2, secret)
    talk.ask(whole[:12], len(whole))
    talk.answer(answer(36, 1, 2, i16(0) + i16(-1) + i32(0)))
    talk.ask(request(36, 1, 3, secret))
    talk.answer(answer(36, 1, 3, i16(58) + text("s3cr3t is wrong") + i32(0)))
    assert [end for _, end in talk.pairs()] == ["ok", "ok", "SASL_AUTHENTICATION_FAILED"]
    assert "s3cr3t" not in str(
        [[getattr(m.head, name) for name in m.head.__slots__] for m in talk.requests]
    )
    # Tokens of the older way are no requests: framing is found again behind them.
    talk.ask(frame(b"\0shop\0s3cr3t"))
    talk.answer(frame(b""))
    talk.ask(produce(4, {"orders": {0: traced(1)}}))
    talk.answer(produced(4, {"orders": {0: 0}}))
    assert spans(talk) == [("send orders", "ok")]


def test_requests_without_an_answer_are_bounded() -> None:
    talk = Talk(KafkaParser())
    for number in range(MAX_OUTSTANDING + 2):
        talk.ask(request(3, 9, number))
    assert [m.error for m in talk.requests[:3]] == ["response_lost", "response_lost", None]


def test_a_number_that_is_used_again_has_one_answer() -> None:
    talk = Talk(KafkaParser())
    talk.ask(produce(0, {"a": {0: traced(1)}}))
    talk.ask(produce(0, {"b": {0: traced(1)}}))
    talk.answer(produced(0, {"b": {0: 0}}))
    assert talk.pairs() == [("send a", "response_lost"), ("send b", "ok")]


def test_the_other_sides_view_is_the_same() -> None:
    parser = KafkaParser()
    parser.begin(INGRESS, True)
    asked = produce(1, {"a": {0: traced(1)}, "b": {0: traced(2)}})
    told = produced(1, {"a": {0: 0}, "b": {0: 0}})
    seen = parser.feed(INGRESS, asked, len(asked), 1, 1, None)
    assert [(m.kind, m.direction) for m in seen] == [(REQUEST, INGRESS)] * 2
    seen = parser.feed(EGRESS, told, len(told), 2, 2, None)
    assert [m.direction for m in seen] == [EGRESS] * 2
