"""MySQL and MariaDB as clients and servers speak it."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.in_order import MAX_OUTSTANDING
from otel_ebpf.protocols.mysql import MysqlParser
from otel_ebpf.protocols.mysql_session import MAX_STATEMENTS
from tests.unit.protocols.mysql_wire import (
    ATTRIBUTES,
    AUTOCOMMIT,
    CACHE_METADATA,
    COMPRESS,
    CURSOR,
    MORE,
    NEW,
    OLD,
    OPTIONAL_METADATA,
    PLAIN,
    SSL,
    close,
    command,
    definition,
    eof,
    error,
    execute,
    fetch,
    greeting,
    login,
    number,
    ok,
    packet,
    prepare,
    prepared,
    query,
    result,
    row,
    text,
    tls_wish,
)
from tests.unit.protocols.talk import Talk

SECRET = "s3cr3t"


def begun(flags: int = NEW, version: str = "10.11.6-MariaDB", set_: int = 45) -> Talk:
    """A connection behind its login."""
    talk = Talk(MysqlParser())
    talk.answer(greeting(version, flags | SSL))
    talk.ask(login(flags=flags, set_=set_))
    talk.answer(ok(2))
    assert talk.pairs() == [("CONNECT", "ok")]
    assert talk.requests[0].head.chatter
    talk.requests.clear()
    return talk


@pytest.fixture(params=[NEW, OLD], ids=["new", "old"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return begun(request.param)


def is_old(talk: Talk) -> bool:
    return not talk.parser._session.capabilities >> 24 & 1


def test_a_query(talk: Talk) -> None:
    talk.ask(query("SELECT * FROM `users` WHERE name = 'bob' AND x = \"it\\'s\""))
    talk.answer(result(old=is_old(talk)))
    assert talk.pairs() == [("SELECT * FROM `users` WHERE name = ? AND x = ?", "ok")]
    head = talk.requests[0].head
    assert (head.system, head.operation, head.namespace) == ("mariadb", "SELECT", "shop")
    assert talk.parser.desyncs == 0


@pytest.mark.parametrize(
    ("version", "system"),
    [
        ("5.5.5-10.6.12-MariaDB-1", "mariadb"),
        ("8.0.36", "mysql"),
        ("5.7.44-log", "mysql"),
        ("11.4.2-MariaDB", "mariadb"),
    ],
)
def test_the_greeting_tells_which_of_the_two_it_is(version: str, system: str) -> None:
    talk = begun(version=version)
    talk.ask(query("SELECT 1"))
    talk.answer(result())
    assert talk.requests[0].head.system == system


def test_errors(talk: Talk) -> None:
    talk.ask(query("SELECT * FROM nope"))
    talk.answer(error(1146))
    head = talk.answers[talk.requests[0].stream].head
    assert (head.status, head.error, head.said) == ("1146", "1146", "SQLSTATE 42S02")
    talk.ask(query("SELECT slow"))
    whole = result(3, old=is_old(talk))
    end = whole.rindex(b"\xfe") - 4
    talk.answer(whole[:end] + error(1317, "70100", whole[end + 3]))
    assert talk.pairs()[1:] == [("SELECT slow", "1317")]


def test_no_rows_and_many_columns(talk: Talk) -> None:
    for rows, columns in ((0, 1), (1, 300), (700, 3)):
        talk.ask(query("SELECT 1"))
        talk.answer(result(rows, columns, old=is_old(talk)))
    assert [end for _, end in talk.pairs()] == ["ok"] * 3
    assert talk.parser.desyncs == 0


def test_a_row_that_begins_like_an_end_is_none(talk: Talk) -> None:
    talk.ask(query("SELECT 1"))
    whole = result(0, old=is_old(talk))
    end = 9 if is_old(talk) else 11
    at = whole[-end + 3]
    rows = row(at, b"") + packet(at + 1, b"\xfb")
    talk.answer(whole[:-end] + rows)
    assert talk.pairs()[0][1] is None
    talk.answer((eof if is_old(talk) else lambda n: ok(n, header=0xFE))(at + 2))
    assert talk.pairs() == [("SELECT ?", "ok")]


def test_several_statements_and_results_are_one_call(talk: Talk) -> None:
    old = is_old(talk)
    talk.ask(query("SELECT 1; UPDATE t SET a = 2; SELECT 3"))
    first = result(old=old, status=AUTOCOMMIT | MORE)
    talk.answer(first)
    at = 5 if not old else 6
    talk.answer(ok(at + 1, AUTOCOMMIT | MORE))
    assert talk.pairs()[0][1] is None
    talk.answer(result(first=at + 2, old=old))
    assert talk.pairs() == [("SELECT ?; UPDATE t SET a = ?; SELECT ?", "ok")]
    assert (talk.requests[0].head.operation, talk.requests[0].head.batch) == ("BATCH", 3)


def test_prepared_statements_keep_their_text(talk: Talk) -> None:
    old = is_old(talk)
    talk.ask(prepare("SELECT 'x' FROM t WHERE a = ?"))
    talk.answer(prepared(7, old=old))
    for _ in range(2):
        talk.ask(execute(7, values=SECRET.encode()))
        talk.answer(result(old=old))
    talk.ask(close(7) + execute(7))
    talk.answer(error(1243, "HY000"))
    assert talk.pairs() == [
        ("SELECT ? FROM t WHERE a = ?", "ok"),
        ("SELECT ? FROM t WHERE a = ?", "ok"),
        ("SELECT ? FROM t WHERE a = ?", "ok"),
        ("", "1243"),
    ]
    heads = [m.head for m in talk.requests]
    assert [bool(h.chatter) for h in heads] == [True, False, False, False]
    assert heads[0].summary == "PREPARE SELECT t"
    assert heads[1].collection == "t"
    assert talk.requests[3].offset == 9


@pytest.mark.parametrize(("parameters", "columns"), [(0, 0), (0, 2), (3, 0), (2, 2)])
def test_what_a_prepared_statement_is_described_by(
    talk: Talk, parameters: int, columns: int
) -> None:
    talk.ask(prepare("SELECT 1"))
    whole = prepared(1, parameters, columns, is_old(talk))
    talk.answer(whole[:-1])
    assert talk.pairs()[0][1] is None
    talk.answer(whole[-1:])
    assert talk.pairs()[0][1] == "ok"
    talk.ask(query("SELECT 2"))
    talk.answer(result(old=is_old(talk)))
    assert talk.pairs()[1][1] == "ok"
    assert talk.parser.desyncs == 0


def test_cursors(talk: Talk) -> None:
    old = is_old(talk)
    talk.ask(prepare("SELECT a FROM t"))
    talk.answer(prepared(1, 0, 1, old))
    talk.ask(execute(1, cursor=1))
    opened = AUTOCOMMIT | CURSOR
    whole = number(1), definition(2)
    talk.answer(packet(1, whole[0]) + whole[1] + (eof(3, opened) if old else ok(3, opened, 0xFE)))
    assert talk.pairs()[1][1] == "ok"
    for _ in range(2):
        talk.ask(fetch(1))
        talk.answer(row(1) + row(2) + (eof(3, opened) if old else ok(3, opened, 0xFE)))
    assert talk.pairs()[1:] == [("SELECT a FROM t", "ok")] * 3


def test_a_file_of_the_clients(talk: Talk) -> None:
    talk.ask(query("LOAD DATA LOCAL INFILE '/tmp/s3cr3t' INTO TABLE t"))
    talk.answer(packet(1, b"\xfb/tmp/s3cr3t"))
    for at in range(2, 300):
        talk.ask(b"", 4 + 1024) if at & 1 else talk.ask(packet(at & 0xFF, b"\3SELECT"))
    talk.ask(packet(44, b""))
    assert talk.pairs()[0][1] is None
    talk.answer(ok(45))
    talk.ask(query("SELECT 1"))
    talk.answer(result(old=is_old(talk)))
    assert talk.pairs() == [
        ("LOAD DATA LOCAL INFILE ? INTO TABLE t", "ok"),
        ("SELECT ?", "ok"),
    ]


def test_the_database_follows_what_succeeds(talk: Talk) -> None:
    def now() -> str:
        talk.ask(query("SELECT 1"))
        talk.answer(result(old=is_old(talk)))
        return str(talk.requests[-1].head.namespace)

    talk.ask(command(2, b"other"))
    talk.answer(ok())
    assert now() == "other"
    talk.ask(query("USE `third`"))
    talk.answer(error(1049, "42000"))
    assert now() == "other"
    talk.ask(query(" use third;"))
    talk.answer(ok())
    assert now() == "third"
    talk.ask(command(0x11, b"you\0\4h4sh" + b"fourth\0\x2d\0"))
    talk.answer(packet(1, b"\xfemysql_clear_password\0"))
    talk.ask(packet(2, SECRET.encode() + b"\0"))
    talk.answer(ok(3))
    assert now() == "fourth"
    chatter = [m.head.operation for m in talk.requests if m.head.chatter]
    assert chatter == ["USE", "CHANGE USER"]


def test_commands_of_the_clients_own(talk: Talk) -> None:
    said = {0x0E: ok(1), 0x09: packet(1, b"Uptime: 1"), 0x1F: ok(1), 0x1B: ok(1)}
    for kind, answer in said.items():
        talk.ask(command(kind))
        talk.answer(answer)
    assert [end for _, end in talk.pairs()] == ["ok"] * 4
    assert all(m.head.chatter for m in talk.requests)
    talk.ask(command(1))
    assert talk.keep(talk.parser.close(talk.clock)) == []
    assert talk.parser.desyncs == 0


@pytest.mark.parametrize("fresh", [True, False])
def test_a_login_with_questions(fresh: bool) -> None:
    """caching_sha2_password's full exchange, and a switch to another kind: nothing of it stays."""
    talk = Talk(MysqlParser(), fresh)
    talk.answer(greeting("8.0.36"))
    talk.ask(login(secret=SECRET.encode()))
    talk.answer(packet(2, b"\xfecaching_sha2_password\0scramble\0"))
    talk.ask(packet(3, SECRET.encode()))
    talk.answer(packet(4, b"\1\4"))
    talk.ask(packet(5, b"\2"))
    talk.answer(packet(6, b"\1-----BEGIN PUBLIC KEY-----"))
    talk.ask(packet(7, SECRET.encode()), 300)
    assert [end for _, end in talk.pairs()] == [None]
    talk.answer(ok(8))
    assert talk.pairs() == [("CONNECT", "ok")]
    assert SECRET not in repr([(m.head.text, m.head.namespace) for m in talk.requests])


def test_a_login_that_fails() -> None:
    talk = Talk(MysqlParser())
    talk.answer(greeting())
    talk.ask(login())
    talk.answer(error(1045, "28000", 2))
    assert talk.pairs() == [("CONNECT", "1045")]
    assert talk.requests[0].head.namespace == "shop"


def test_a_server_that_takes_no_more() -> None:
    talk = Talk(MysqlParser())
    talk.answer(packet(0, b"\xff\x10\x04Too many connections"))
    assert not talk.requests
    assert talk.parser.desyncs == 0


def test_tls_and_compression_end_what_can_be_read() -> None:
    talk = Talk(MysqlParser())
    talk.answer(greeting())
    assert talk.ask(tls_wish()) == []
    assert talk.parser.upgraded == "tls"
    talk = Talk(MysqlParser())
    talk.answer(greeting(flags=NEW | COMPRESS))
    talk.ask(login(flags=NEW | COMPRESS))
    talk.answer(ok(2))
    assert talk.parser.upgraded == "compressed"
    assert talk.ask(b"\x0d\0\0\0\0\0\0" + query("SELECT 1")) == []
    # Offered by one alone it is not done.
    assert begun(NEW).parser.upgraded is None


def test_a_login_behind_tls_is_a_beginning() -> None:
    for split in (False, True):
        talk = Talk(MysqlParser(), False)
        said = login(first=2, flags=NEW & ~1)
        if split:
            talk.ask(said[:4])
        talk.ask(said[4:] if split else said)
        talk.answer(ok(3))
        talk.ask(query("SELECT 1"))
        talk.answer(result())
        assert talk.pairs() == [("CONNECT", "ok"), ("SELECT ?", "ok")]
        assert talk.requests[0].head.system == "mariadb"  # its own client says so


def test_what_the_greeting_said_is_known_within_tls() -> None:
    before = Talk(MysqlParser())
    before.answer(greeting("11.4.2-MariaDB", NEW | SSL))
    before.ask(tls_wish())
    talk = Talk(MysqlParser(), False)
    talk.parser.follow(before.parser)
    talk.ask(login(first=2, flags=NEW | COMPRESS))  # which the server has not offered
    talk.answer(ok(3))
    talk.ask(query("SELECT 'it\\'s', 1"))
    talk.answer(result())
    assert talk.pairs() == [("CONNECT", "ok"), ("SELECT ?, ?", "ok")]
    assert talk.requests[0].head.system == "mariadb"


def test_headers_read_alone(talk: Talk) -> None:
    """As servers, and some clients, read: 4 bytes, then the rest."""
    for asked, answered in ((query("SELECT 1"), result(old=is_old(talk))), (command(0x0E), ok())):
        talk.ask(asked[:4])
        begins = talk.clock
        talk.ask(asked[4:])
        at = 0
        while at < len(answered):
            end = at + 4 + int.from_bytes(answered[at : at + 3], "little")
            talk.answer(answered[at : at + 4])
            talk.answer(answered[at + 4 : end])
            at = end
        message = talk.requests[-1]
        assert (message.start, message.token, message.offset) == (begins, begins, 0)
    assert [end for _, end in talk.pairs()] == ["ok"] * 2


def test_bytes_cut_anywhere(talk: Talk) -> None:
    said = result(3, 2, old=is_old(talk))
    for cut in range(1, len(said)):
        talk.ask(query("SELECT 1")[:cut])
        talk.ask(query("SELECT 1")[cut:])
        talk.answer(said[:cut])
        talk.answer(said[cut:])
    assert {end for _, end in talk.pairs()} == {"ok"}
    assert talk.parser.desyncs == 0


def test_pipelines_pair_in_order(talk: Talk) -> None:
    old = is_old(talk)
    talk.ask(prepare("SELECT b FROM t") + execute(0xFFFFFFFF))
    talk.ask(query("SELECT c"))
    talk.answer(prepared(3, 0, 1, old) + result(old=old) + error(1054, "42S22"))
    assert talk.pairs() == [
        ("SELECT b FROM t", "ok"),
        ("SELECT b FROM t", "ok"),
        ("SELECT c", "1054"),
    ]


def test_a_packet_of_more_than_16_megabytes(talk: Talk) -> None:
    said = query("INSERT INTO t VALUES ('" + "x" * (1 << 24) + "')")
    talk.ask(said[: 32 << 10], len(said))
    talk.answer(ok(2))
    assert talk.pairs() == [("INSERT INTO t VALUES (?", "ok")]
    # Its end is known where all headers are.
    talk.ask(said)
    talk.answer(ok(2))
    assert talk.pairs()[1] == ("INSERT INTO t VALUES (?", "ok")
    talk.ask(query("SELECT 1"))
    talk.answer(result(1, value=b"", old=is_old(talk)))
    assert talk.pairs()[2][1] == "ok"
    assert talk.parser.desyncs == 0


def test_rows_of_more_than_16_megabytes(talk: Talk) -> None:
    talk.ask(query("SELECT 1"))
    whole = result(0, old=is_old(talk))
    end = 9 if is_old(talk) else 11
    large = b"\xfe" + (1 << 24).to_bytes(8, "little") + bytes(1 << 24)
    at = whole[-end + 3]
    tail = (eof if is_old(talk) else lambda n: ok(n, header=0xFE))(at + 2)
    talk.answer(whole[:-end] + packet(at, large) + tail)
    assert talk.pairs() == [("SELECT ?", "ok")]
    assert talk.parser.desyncs == 0


@pytest.mark.parametrize("pieces", [1, 2])
def test_rows_that_were_not_captured_end_with_their_last_segment(talk: Talk, pieces: int) -> None:
    said = result(3000, old=is_old(talk))
    talk.ask(query("SELECT 1"))
    talk.answer(said[:32768], 40000, said[39992:40000])
    assert talk.pairs()[0][1] is None
    if pieces == 1:
        talk.answer(b"", len(said) - 40000, said[-8:])
    else:  # the end's header was read alone
        size = 5 if is_old(talk) else 7
        talk.answer(b"", len(said) - 40000 - size - 4, said[-size - 12 : -size - 4])
        talk.answer(b"", 4, said[-size - 4 : -size])
        assert talk.pairs()[0][1] is None
        talk.answer(b"", size, said[-size:])
    assert talk.pairs() == [("SELECT ?", "ok")]
    assert talk.answers[talk.requests[0].stream].truncated
    talk.ask(query("SELECT 2"))
    talk.answer(result(old=is_old(talk)))
    assert talk.pairs()[1][1] == "ok"


def test_more_results_behind_rows_that_were_not_captured(talk: Talk) -> None:
    old = is_old(talk)
    talk.ask(query("SELECT 1; SELECT 2"))
    said = result(3000, old=old, status=AUTOCOMMIT | MORE)
    talk.answer(said[:32768], len(said), said[-8:])
    assert talk.pairs()[0][1] is None
    said = result(first=9, old=old)
    talk.answer(b"", len(said), said[-8:])
    assert talk.pairs()[0][1] == "ok"


def test_an_answer_whose_end_nothing_shows_ends_at_the_next_command(talk: Talk) -> None:
    said = result(3000, old=is_old(talk))
    talk.ask(query("SELECT 1"))
    talk.answer(said[:32768], len(said))
    end = talk.clock + 500
    assert talk.parser.open_ended
    talk.ask(query("SELECT 2"))
    talk.answer(result(old=is_old(talk)))
    assert [end for _, end in talk.pairs()] == ["ok", "ok"]
    assert talk.answers[talk.requests[0].stream].end == end


def test_a_long_value_passes_by_its_length(talk: Talk) -> None:
    talk.ask(query("SELECT 1"))
    whole = result(1, value=b"y" * 60000, old=is_old(talk))
    end = 9 if is_old(talk) else 11
    talk.answer(whole[:4096], len(whole) - end)
    assert talk.pairs()[0][1] is None
    talk.answer(whole[-end:])
    assert talk.pairs()[0][1] == "ok"
    assert talk.parser.desyncs == 0


def test_metadata_that_is_left_out() -> None:
    """MariaDB's way for prepared statements, and MySQL's."""
    for flags, head in (
        ((NEW & ~1) | CACHE_METADATA, number(2) + b"\0"),
        (NEW | OPTIONAL_METADATA, b"\0" + number(2)),
    ):
        talk = begun(flags)
        talk.ask(query("SELECT a, b"))
        talk.answer(packet(1, head) + row(2) + ok(3, header=0xFE))
        assert talk.pairs() == [("SELECT a, b", "ok")]
    talk = begun((NEW & ~1) | CACHE_METADATA)
    talk.ask(query("SELECT a, b"))
    talk.answer(packet(1, number(1) + b"\1") + definition(2) + row(3) + ok(4, header=0xFE))
    assert talk.pairs() == [("SELECT a, b", "ok")]


def test_progress_is_no_error(talk: Talk) -> None:
    talk.ask(query("ALTER TABLE t ADD b int"))
    talk.answer(packet(1, b"\xff\xff\xff\1\1\2\0\0\0\x0ccopy to tmp "))
    assert talk.pairs()[0][1] is None
    talk.answer(ok(2))
    assert talk.pairs()[0][1] == "ok"


def test_attributes_of_a_query_are_not_its_text() -> None:
    talk = begun(NEW | ATTRIBUTES, "8.0.36")
    talk.ask(command(3, b"\0\1SELECT 1"))
    talk.answer(result())
    attributes = b"\2\1\0\1" + b"\xfe\0" + text(b"traceparent") + b"\3\0" + text(b"n")
    talk.ask(command(3, attributes + text(b"s3cr3t") + b"\1\0\0\0SELECT 2"))
    talk.answer(result())
    talk.ask(command(3, b"\2\1\0\1\xfe\0\xfc"))
    talk.answer(error(1064))
    assert talk.pairs() == [("SELECT ?", "ok"), ("SELECT ?", "ok"), ("", "1064")]


def test_passwords_in_statements(talk: Talk) -> None:
    for said in (
        "SET PASSWORD FOR 'bob'@'%' = PASSWORD('s3cr3t')",
        "CREATE USER bob IDENTIFIED BY 's3cr3t'",
        "ALTER USER bob IDENTIFIED WITH caching_sha2_password BY \"s3cr3t\" REPLACE 's3cr3t'",
        "GRANT ALL ON *.* TO bob IDENTIFIED BY PASSWORD '*s3cr3t'",
        "CHANGE MASTER TO MASTER_PASSWORD='s3cr3t', MASTER_HOST='it\\'s s3cr3t'",
        "SELECT 1 # s3cr3t\n -- s3cr3t\n /* s3cr3t */",
        "/*!80000 SELECT 's3cr3t' */",
        "/*!99999 it's */ SELECT 's3cr3t'",
    ):
        talk.ask(query(said))
        talk.answer(ok())
        assert SECRET not in repr([talk.requests[-1].head.text, talk.requests[-1].head.summary])
    assert talk.requests[0].head.text == "SET PASSWORD FOR ?@? = PASSWORD(?)"
    assert talk.requests[2].head.text == (
        "ALTER USER bob IDENTIFIED WITH caching_sha2_password BY ? REPLACE ?"
    )


def test_what_a_backslash_means_is_followed(talk: Talk) -> None:
    tricky = "SELECT 'a\\', 's3cr3t' -- '"

    def text_of(said: str, status: int = AUTOCOMMIT) -> str:
        talk.ask(query(said))
        talk.answer(ok(status=status))
        return str(talk.requests[-1].head.text)

    assert text_of("SELECT 'it\\'s', b") == "SELECT ?, b"
    text_of("SET sql_mode = 'NO_BACKSLASH_ESCAPES'", AUTOCOMMIT | PLAIN)
    assert text_of(tricky, AUTOCOMMIT | PLAIN) == "SELECT ?, ?"
    text_of("SET sql_mode = ''")
    assert text_of("SELECT 'it\\'s', b") == "SELECT ?, b"
    assert (
        text_of("SET sql_mode = 'NO_BACKSLASH_ESCAPES'; " + tricky) == "SET sql_mode = ?; SELECT ?"
    )
    text_of("SET NAMES gbk")
    assert text_of(tricky) == "SELECT ?"


def test_a_character_set_of_the_login_with_ambiguous_backslashes() -> None:
    talk = begun(set_=28)
    talk.ask(query("SELECT 'a\\' OR 's3cr3t'"))
    talk.answer(result())
    assert talk.pairs() == [("SELECT ?", "ok")]


def test_replication_is_passed_over(talk: Talk) -> None:
    talk.ask(command(0x15, bytes(17)))
    talk.answer(ok())
    talk.ask(command(0x12, bytes(10)))
    assert talk.parser.upgraded == "replication"
    assert talk.answer(packet(1, b"\0event")) == []


@pytest.mark.parametrize("old", [False, True])
def test_a_connection_joined_midway_is_told_of_behind_a_silence(old: bool) -> None:
    talk = Talk(MysqlParser(), False)
    talk.ask(query("SELECT 1"))
    talk.answer(result(old=old))
    talk.silence()
    for _ in range(3):
        talk.ask(prepare("SELECT a FROM t"))
        talk.answer(prepared(1, 0, 1, old))
        talk.ask(execute(1))
        talk.answer(result(old=old))
        talk.silence()
    assert talk.pairs() == [("SELECT a FROM t", "ok")] * 4
    assert talk.requests[0].head.namespace == ""
    assert talk.parser.desyncs == 0


def test_midway_an_answer_under_way_pairs_with_nothing() -> None:
    talk = Talk(MysqlParser(), False)
    for _ in range(50):  # always one more under way
        talk.ask(query("SELECT mine"))
        talk.answer(result())
    assert talk.pairs() == []


def test_an_answer_with_the_wrong_number_is_a_loss(talk: Talk) -> None:
    talk.ask(query("SELECT 1"))
    talk.answer(ok(3))
    assert talk.pairs() == [("SELECT ?", "response_lost")]
    assert talk.parser.desyncs == 1
    talk.silence()
    for _ in range(3):
        talk.ask(query("SELECT 2"))
        talk.answer(ok())
        talk.silence()
    assert [end for _, end in talk.pairs()[1:]] == ["ok"] * 2


@pytest.mark.parametrize("direction", [INGRESS, EGRESS])
def test_a_gap_of_unknown_size(talk: Talk, direction: int) -> None:
    talk.ask(query("SELECT 1"))
    talk.keep(talk.parser.gap(direction, talk.clock))
    assert talk.pairs() == [("SELECT ?", "response_lost")]
    talk.answer(result(old=is_old(talk)))
    assert len(talk.answers) == 1  # the login's


def test_an_answer_that_nobody_waits_for(talk: Talk) -> None:
    talk.answer(error(1927, "70100", 0))  # "Connection was killed"
    assert talk.parser.desyncs == 0
    talk.answer(ok())
    assert talk.parser.desyncs == 1


def test_what_is_remembered_is_bounded(talk: Talk) -> None:
    for at in range(MAX_STATEMENTS + 10):
        talk.ask(prepare("SELECT 1"))
        talk.answer(prepared(at, 0, 0))
    assert len(talk.parser._session.statements) == MAX_STATEMENTS
    talk.ask(command(0x0E) * (MAX_OUTSTANDING + 10))
    assert len(talk.parser._outstanding) <= MAX_OUTSTANDING
