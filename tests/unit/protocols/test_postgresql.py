"""PostgreSQL as clients and servers speak it."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.base import INGRESS
from otel_ebpf.protocols.in_order import MAX_OUTSTANDING
from otel_ebpf.protocols.postgresql import PostgresqlParser
from otel_ebpf.protocols.postgresql_statements import MAX_STATEMENTS
from tests.unit.protocols.postgresql_wire import (
    BOUND,
    LOGIN,
    PARSED,
    READY,
    SUSPENDED,
    SYNC,
    bind,
    describe,
    done,
    error,
    execute,
    frame,
    parse,
    query,
    row,
    startup,
)
from tests.unit.protocols.talk import Talk

SECRET = "s3cr3t"


@pytest.fixture
def talk() -> Talk:
    """A connection behind its login."""
    talk = Talk(PostgresqlParser())
    talk.ask(startup(user="me", database="shop"))
    talk.answer(LOGIN)
    assert talk.pairs() == [("CONNECT", "ok")]
    talk.requests.clear()
    return talk


def test_a_simple_query(talk: Talk) -> None:
    talk.ask(query("SELECT * FROM users WHERE name = 'bob'"))
    talk.answer(frame("T", b"\0\0") + row() + row() + done("SELECT 2") + READY)
    assert talk.pairs() == [("SELECT * FROM users WHERE name = ?", "ok")]
    head = talk.requests[0].head
    assert (head.system, head.operation, head.summary) == ("postgresql", "SELECT", "SELECT users")
    assert (head.collection, head.namespace) == ("users", "shop")


def test_several_statements_in_one_query(talk: Talk) -> None:
    talk.ask(query("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"))
    talk.answer(done("INSERT 0 1") + done("INSERT 0 1") + READY)
    assert [end for _, end in talk.pairs()] == ["ok"]
    assert (talk.requests[0].head.operation, talk.requests[0].head.batch) == ("BATCH INSERT", 2)
    talk.ask(query("SELECT 1; SELECT 1/0"))
    talk.answer(row() + done() + error("22012") + READY)
    assert talk.pairs()[1][1] == "22012"


def test_an_extended_query_is_one_call(talk: Talk) -> None:
    talk.ask(parse("SELECT * FROM t WHERE a = $1") + bind() + describe(kind="P") + execute() + SYNC)
    talk.answer(PARSED + BOUND + frame("n") + row() + done() + READY)
    assert talk.pairs() == [("SELECT * FROM t WHERE a = $1", "ok")]
    (message,) = talk.requests
    assert message.offset == 0
    assert talk.answers[message.stream].complete


def test_prepared_statements_keep_their_text(talk: Talk) -> None:
    talk.ask(parse("SELECT 'x', $1", "one") + describe("one") + SYNC)
    talk.answer(PARSED + frame("t", b"\0\0") + frame("T", b"\0\0") + READY)
    for _ in range(2):
        talk.ask(bind("one") + execute() + SYNC)
        talk.answer(BOUND + row() + done() + READY)
    prepared, *calls = talk.requests
    assert prepared.head.chatter
    assert prepared.head.summary == "PREPARE SELECT"
    assert [call.head.text for call in calls] == ["SELECT ?, $1"] * 2
    talk.ask(frame("C", b"Sone\0") + SYNC)
    talk.answer(frame("3") + READY)
    talk.ask(bind("one") + execute() + SYNC)
    talk.answer(error("26000") + READY)
    assert talk.pairs()[-1] == ("", "26000")
    assert talk.requests[-2].head.chatter


def test_a_statement_that_cannot_be_prepared_is_an_error(talk: Talk) -> None:
    talk.ask(parse("SELECT * FROM nope", "one") + describe("one") + SYNC)
    talk.answer(error("42P01") + READY)
    assert talk.pairs() == [("SELECT * FROM nope", "42P01")]


def test_pipelines_pair_in_order(talk: Talk) -> None:
    talk.ask(b"".join(parse(f"SELECT {n} FROM t{n}") + bind() + execute() for n in range(3)) + SYNC)
    talk.ask(query("SELECT 1"))
    talk.answer((PARSED + BOUND + row() + done()) * 2)
    assert [end for _, end in talk.pairs()] == ["ok", "ok", None, None]
    talk.answer(PARSED + BOUND + row() + done() + READY + row() + done() + READY)
    assert [m.head.summary for m in talk.requests] == [
        "SELECT t0",
        "SELECT t1",
        "SELECT t2",
        "SELECT",
    ]
    assert [end for _, end in talk.pairs()] == ["ok"] * 4
    assert talk.parser.desyncs == 0


def test_an_error_in_a_pipeline_aborts_what_follows_up_to_the_sync(talk: Talk) -> None:
    talk.ask((parse("SELECT 1") + bind() + execute()) * 3 + SYNC + query("SELECT 2"))
    talk.answer(PARSED + BOUND + row() + done() + error("23505") + READY + row() + done() + READY)
    assert [end for _, end in talk.pairs()] == ["ok", "23505", "pipeline_aborted", "ok"]
    failed, aborted = (talk.answers[m.stream].head for m in talk.requests[1:3])
    assert (failed.status, aborted.status) == ("23505", "")


def test_a_portal_that_is_fetched_from_in_pieces(talk: Talk) -> None:
    talk.ask(parse("SELECT * FROM t") + bind(portal="p") + execute("p", 10) + frame("H"))
    talk.answer(PARSED + BOUND + row() * 10 + SUSPENDED)
    talk.ask(execute("p", 10) + SYNC)
    talk.answer(row() * 3 + done() + READY)
    assert talk.pairs() == [("SELECT * FROM t", "ok")] * 2


FLUSH = frame("H")
DESCRIBED = frame("t", b"\0\0") + frame("T", b"\0\0")


def test_preparations_that_are_flushed_are_calls_of_their_own(talk: Talk) -> None:
    """asyncpg's way; what is prepared may be executed much later, or never."""
    talk.ask(parse("SELECT * FROM t WHERE a = $1", "one") + describe("one") + FLUSH)
    talk.answer(PARSED + DESCRIBED)
    (prepared,) = talk.requests
    assert prepared.head.chatter
    assert talk.pairs() == [("SELECT * FROM t WHERE a = $1", "ok")]
    talk.silence()
    for _ in range(2):
        talk.ask(bind("one") + execute() + SYNC)
        asked = talk.clock
        talk.answer(BOUND + row() + done() + READY)
        assert talk.requests[-1].start == asked
    assert talk.pairs() == [("SELECT * FROM t WHERE a = $1", "ok")] * 3
    # A portal without rows, closed together with a statement.
    talk.ask(bind("one", "p") + describe("p", "P") + frame("C", b"Sone\0") + FLUSH)
    talk.answer(BOUND + frame("n") + frame("3"))
    talk.ask(execute("p") + SYNC)
    talk.answer(done() + READY)
    assert [end for _, end in talk.pairs()] == ["ok"] * 5
    assert talk.parser.desyncs == 0


def test_what_is_flushed_and_fails_takes_along_what_follows_up_to_the_sync(talk: Talk) -> None:
    talk.ask(parse("SELECT * FROM nope", "one") + describe("one") + FLUSH)
    talk.ask(bind("one") + execute())
    talk.answer(error("42P01"))
    talk.ask(bind("one") + execute() + SYNC)
    talk.answer(READY)
    ends = ["42P01", "pipeline_aborted", "pipeline_aborted"]
    assert [end for _, end in talk.pairs()] == ends
    talk.ask(query("SELECT 1"))
    talk.answer(row() + done() + READY)
    assert [end for _, end in talk.pairs()] == [*ends, "ok"]
    assert talk.parser.desyncs == 0


@pytest.mark.parametrize("executes", [False, True])
def test_an_error_that_comes_before_the_call_is_whole(talk: Talk, executes: bool) -> None:
    talk.ask(parse("SELECT * FROM nope") + describe(""))
    talk.answer(error("42P01"))
    talk.ask((bind() + execute() if executes else b"") + SYNC)
    talk.answer(READY)
    assert talk.pairs() == [("SELECT * FROM nope", "42P01")]
    assert talk.parser.desyncs == 0


def test_copies_in_and_out(talk: Talk) -> None:
    talk.ask(query("COPY t FROM STDIN"))
    talk.answer(frame("G", b"\0\0\0"))
    for _ in range(20):
        talk.ask(frame("d", b"1\tx\n") * 10)
    assert [end for _, end in talk.pairs()] == [None]
    talk.ask(frame("c"))
    talk.answer(done("COPY 200") + READY)
    talk.ask(query("COPY t TO STDOUT"))
    talk.answer(frame("H", b"\0\0\0") + frame("d", b"1\tx\n") * 200)
    talk.answer(frame("c") + done("COPY 200") + READY)
    assert talk.pairs() == [("COPY t FROM STDIN", "ok"), ("COPY t TO STDOUT", "ok")]


def test_a_long_copy_in_of_which_not_all_was_captured(talk: Talk) -> None:
    talk.ask(query("COPY t FROM STDIN"))
    talk.answer(frame("G", b"\0\0\0"))
    talk.ask(frame("d", b"x" * 3000) * 2, 60_000)
    talk.ask(b"", 80_000)
    talk.answer(done("COPY 9") + READY)
    talk.ask(query("SELECT 1"))
    talk.answer(row() + done() + READY)
    assert [end for _, end in talk.pairs()] == ["ok", "ok"]
    assert talk.parser.desyncs == 0


def test_rows_that_were_not_captured_end_with_the_segment_that_ends_so(talk: Talk) -> None:
    rows = row(b"y" * 700) * 100
    talk.ask(query("SELECT * FROM t"))
    talk.answer(rows[:1024], 16384, rows[16376:16384])
    talk.answer(b"", 16384, b"yyyyyyyy")
    assert [end for _, end in talk.pairs()] == [None]
    talk.answer(b"", 5000, (done() + READY)[-8:])
    assert [end for _, end in talk.pairs()] == ["ok"]
    assert talk.answers[talk.requests[0].stream].truncated
    talk.ask(query("SELECT 2"))
    talk.answer(error("42601") + READY)
    assert talk.pairs()[1] == ("SELECT ?", "42601")


def test_of_a_pipeline_whose_answers_were_not_captured_none_is_guessed(talk: Talk) -> None:
    talk.ask(query("SELECT 1") + query("SELECT 2"))
    talk.answer(row(b"y" * 50), 9000, (done() + READY)[-8:])
    assert [end for _, end in talk.pairs()] == ["response_lost"] * 2


def test_what_the_server_says_unasked_answers_nothing(talk: Talk) -> None:
    pushes = frame("A", b"\0\0\0\1news\0hello\0") + frame("N", b"SNOTICE\0C00000\0\0")
    pushes += frame("S", b"TimeZone\0UTC\0")
    talk.answer(pushes)
    talk.ask(query("LISTEN news"))
    talk.answer(pushes + done("LISTEN") + pushes + READY + pushes)
    talk.answer(error("57P01", "terminating connection"))
    assert talk.pairs() == [("LISTEN news", "ok")]
    assert talk.parser.desyncs == 0


@pytest.mark.parametrize("answer", [b"S", b"G"])
def test_encryption_is_handed_off(answer: bytes) -> None:
    talk = Talk(PostgresqlParser())
    talk.ask(bytes.fromhex("00000008 04d2162f"))
    talk.answer(answer)
    assert talk.parser.upgraded in ("tls", "gss")
    talk.ask(b"\x16\x03\x01\x02\x00\x01\x00")
    assert talk.requests == []


def test_encryption_that_is_refused_is_not(talk: Talk) -> None:
    talk = Talk(PostgresqlParser())
    for code in ("04d21630", "04d2162f"):
        talk.ask(bytes.fromhex("00000008" + code))
        talk.answer(b"N")
    talk.ask(startup(user="me"))
    talk.answer(LOGIN)
    talk.ask(query("SELECT 1"))
    talk.answer(done() + READY)
    assert talk.pairs() == [("CONNECT", "ok"), ("SELECT ?", "ok")]
    assert talk.requests[1].head.namespace == "me"


def test_a_cancel_has_no_reply() -> None:
    talk = Talk(PostgresqlParser())
    talk.ask(bytes.fromhex("00000010 04d2162e 00000001 00000002"))
    (message,) = talk.requests
    assert message.oneway
    assert message.head.chatter


def test_a_login_that_fails_is_told_without_its_password() -> None:
    talk = Talk(PostgresqlParser())
    talk.ask(startup(user="me", database="shop"))
    talk.answer(frame("R", b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
    talk.ask(frame("p", b"SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=" + SECRET.encode()))
    talk.answer(frame("R", b"\0\0\0\x0br=" + SECRET.encode()))
    talk.ask(frame("p", SECRET.encode())[:5], 5 + len(SECRET))
    talk.answer(error("28P01", f"password {SECRET}"))
    talk.keep(talk.parser.close(talk.clock))
    assert talk.pairs() == [("CONNECT", "28P01")]
    for message in (*talk.requests, *talk.answers.values()):
        assert not [v for v in map(repr, _values(message.head)) if SECRET in v]


def _values(head: object) -> list[object]:
    return [getattr(head, name) for name in type(head).__slots__]  # type: ignore[attr-defined]


@pytest.mark.parametrize("cut", range(1, 120, 2))
def test_a_conversation_cut_anywhere_is_the_same(talk: Talk, cut: int) -> None:
    asked = parse("SELECT * FROM t WHERE a=$1", "s") + bind("s") + execute() + SYNC
    asked += query("SELECT 'Z\0\0\0\5I' FROM u")
    told = PARSED + BOUND + row() + done() + READY + error("42601") + READY
    talk.ask(asked[:cut])
    talk.ask(asked[cut:])
    talk.answer(told[: cut % len(told)] or told[:1])
    talk.answer(told[cut % len(told) or 1 :])
    assert [end for _, end in talk.pairs()] == ["ok", "42601"]
    assert talk.parser.desyncs == 0


def test_joined_midway_nothing_is_told_until_it_is_certain() -> None:
    talk = Talk(PostgresqlParser(), fresh=False)
    talk.answer(row() + done() + READY)
    for _ in range(3):
        talk.ask(query("SELECT 1"))
        talk.answer(row() + done() + READY)
    assert talk.requests == []
    for _ in range(2):
        talk.silence()
        talk.ask(bind("unseen") + execute() + SYNC)
        talk.answer(BOUND + row() + done() + READY)
    assert talk.pairs() == [("", "ok")]


def test_a_shared_connection_joined_midway_is_never_off_by_one() -> None:
    talk = Talk(PostgresqlParser(), fresh=False)
    talk.silence()
    for number in range(50):
        talk.ask(query(f"SELECT {number}"))
        talk.clock += 30_000_000 if number % 10 == 0 else 100_000
        talk.answer(row() + done() + READY)
    talk.answer(done() + READY)
    assert talk.requests == []


def test_a_start_that_is_seen_needs_no_certainty() -> None:
    talk = Talk(PostgresqlParser(), fresh=False)
    talk.ask(startup(user="me"))
    talk.answer(LOGIN)
    assert talk.pairs() == [("CONNECT", "ok")]


def test_lost_records_lose_what_they_make_uncertain(talk: Talk) -> None:
    talk.ask(query("SELECT 1"))
    talk.keep(talk.parser.gap(INGRESS, talk.clock))
    talk.answer(done() + READY)
    assert talk.pairs() == [("SELECT ?", "response_lost")]


def test_replication_is_recognised_and_silent() -> None:
    talk = Talk(PostgresqlParser())
    talk.ask(startup(user="me", replication="database"))
    assert talk.parser.upgraded == "replication"
    talk.ask(query("START_REPLICATION SLOT x"))
    assert len(talk.requests) == 1
    assert talk.requests[0].head.chatter


def test_memory_is_bounded(talk: Talk) -> None:
    for number in range(MAX_STATEMENTS + 50):
        talk.ask(parse("SELECT 1", f"s{number}") + SYNC)
        talk.answer(PARSED + READY)
    assert len(talk.parser._statements) == MAX_STATEMENTS
    for _ in range(MAX_OUTSTANDING // 64 + 2):
        talk.ask(query("SELECT 1") * 64)
    assert len(talk.parser._outstanding) <= MAX_OUTSTANDING
    other = Talk(PostgresqlParser())
    other.ask(startup(user="me"))
    big = query("SELECT '" + "x" * 500_000)
    for at in range(0, len(big), 4096):
        other.ask(big[at : at + 4096])
    assert len(other.parser._requests.body) < 9000


def test_what_goes_on_with_a_zero_is_no_connections_start() -> None:
    talk = Talk(PostgresqlParser(), fresh=False)
    talk.ask(b"\0\0\x06P\0E\0\0\0\t\0\0\0\0\0" + SYNC)  # behind half a Bind that nobody saw
    talk.answer(BOUND + done() + READY)
    talk.ask(query("SELECT 1"))
    talk.answer(done() + READY)
    assert not talk.requests and not talk.parser.in_step
    talk.ask(startup(user="me"))
    talk.answer(LOGIN)
    assert talk.parser.in_step


def test_requests_that_were_not_captured_are_out_of_step(talk: Talk) -> None:
    seen = parse("SELECT $1") + bind()
    unseen = execute() + parse("SELECT 2") + bind() + execute() + SYNC
    assert talk.parser.in_step
    talk.ask(seen, len(seen + unseen))
    assert not talk.parser.in_step
    talk.answer(2 * (PARSED + BOUND + row() + done()) + READY)
    assert not talk.parser.in_step
    talk.silence()
    talk.ask(query("SELECT 3 AS later"))
    assert talk.parser.in_step
    talk.answer(row() + done() + READY)
    assert talk.pairs() == [("SELECT ? AS later", "ok")]
