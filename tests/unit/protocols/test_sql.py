"""SQL: no literal gets through, and what is said of a query is short and right."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.protocols.sql import (
    MAX_TEXT,
    MYSQL,
    MYSQL_PLAIN,
    MYSQL_UNSURE,
    POSTGRESQL,
    sanitize,
)

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("SELECT * FROM t WHERE id = 42", "SELECT * FROM t WHERE id = ?"),
        ("SELECT 'a' 'b', -1.5e-3, .5, 0xFF, 1_000", "SELECT ? ?, -?, ?, ?, ?"),
        ("SELECT t1.c2 FROM t1 AS x9", "SELECT t1.c2 FROM t1 AS x9"),
        ("SELECT  a\n\t, b", "SELECT a , b"),
        ("SELECT $1, $2::int, a[3]", "SELECT $1, $2::int, a[?]"),
        ("SELECT \"a'b\", 'c\"d'", 'SELECT "a\'b", ?'),
        (
            "SELECT 'it''s', E'it\\'s', E'\\\\', U&'\\0061', B'1', X'1F', n'x'",
            "SELECT ?, ?, ?, ?, ?, ?, ?",
        ),
        ("SELECT $$a'b$$, $tag$ $$ $tagg$ $tag$, 1", "SELECT ?, ?, ?"),
        ("SELECT a$1, $1", "SELECT a$1, $1"),
        ("SELECT 1 -- 'comment\n, 2", "SELECT ? , ?"),
        ("SELECT 1 /* a /* nested ' */ b */, 2", "SELECT ? , ?"),
        ("SELECT true, NULL", "SELECT true, NULL"),
        ("a IN (1, 2, 3) OR b IN ($1,$2)", "a IN (?) OR b IN (?)"),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')", "INSERT INTO t VALUES (?)"),
        ("SELECT a::text || 'x'", "SELECT a::text || ?"),
        ("SELECT prénom FROM élèves", "SELECT prénom FROM élèves"),
        ("", ""),
    ],
)
def test_literals_become_question_marks(query: str, text: str) -> None:
    assert sanitize(query.encode()).text == text


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT '{SECRET}'",
        f"SELECT '{SECRET}",
        f"SELECT E'a\\'{SECRET}'",
        f"SELECT E'a\\\\' '{SECRET}'",
        f"SELECT 'a\\'{SECRET}'",  # with standard_conforming_strings off this is one literal
        f"SELECT 'a\\' , '{SECRET}'",
        f"SELECT 'a'';{SECRET}'",
        f"SELECT $${SECRET}$$",
        f"SELECT $x$ $$ {SECRET} $y$ $x$",
        f"SELECT $x${SECRET}",
        f"/* {SECRET} */ SELECT 1",
        f"/* /* */ {SECRET} */ SELECT 1",
        f"SELECT 1 -- {SECRET}",
        f"SELECT 1 /* {SECRET}",
        f"ALTER USER bob WITH PASSWORD '{SECRET}'",
        f"CREATE USER bob IDENTIFIED BY '{SECRET}'",
        f"COPY t FROM PROGRAM 'curl -u {SECRET}'",
        f"DO $do$ BEGIN {SECRET} END $do$",
        f"SELECT U&'{SECRET}', N'{SECRET}', b'{SECRET}'",
        f'SELECT "unclosed {SECRET}',
        f"SELECT dblink('password={SECRET}')",
    ],
)
def test_secrets_never_leave(query: str) -> None:
    assert SECRET not in repr(sanitize(query.encode()))


@pytest.mark.parametrize(
    "query",
    [
        f'SELECT "{SECRET}"',
        f"SELECT 'a\\'{SECRET}'",
        f"SELECT 'a''{SECRET}'",
        f"SELECT 1 # {SECRET}",
        f"SELECT 1 -- {SECRET}",
        f"/*!99999 {SECRET} */ SELECT 1",
        f"/*!99999 it's */ SELECT '{SECRET}'",
        f"/*!40101 SELECT 'it' */ '{SECRET}'",
        f"/*M!100100 {SECRET} */ SELECT 1",
        f"CREATE FUNCTION f() AS $$ '{SECRET}' $$",
        f"SELECT _utf8'{SECRET}'",
        f"SELECT 'a\\\\', '{SECRET}'",
        f'SELECT "{SECRET}',
        f"SET PASSWORD = '{SECRET}'",
    ],
)
def test_secrets_never_leave_in_mysql(query: str) -> None:
    assert SECRET not in repr(sanitize(query.encode(), MYSQL))


def test_the_dialects_differ_where_they_do() -> None:
    assert sanitize(b'SELECT "a"', POSTGRESQL).text == 'SELECT "a"'
    assert sanitize(b'SELECT "a"', MYSQL).text == "SELECT ?"
    assert sanitize(b"SELECT `a b` FROM t WHERE x = ?", MYSQL).text == (
        "SELECT `a b` FROM t WHERE x = ?"
    )
    assert sanitize(b"SELECT 1--2", MYSQL).text == "SELECT ?--?"


@pytest.mark.parametrize(
    ("query", "operation", "summary", "collection"),
    [
        ("SELECT * FROM users WHERE id = 1", "SELECT", "SELECT users", "users"),
        ("select 1", "SELECT", "SELECT", ""),
        ('SELECT * FROM shop."Order Items" o', "SELECT", 'SELECT shop."Order Items"', None),
        ("SELECT * FROM a JOIN b ON a.x=b.x LEFT JOIN c USING (y)", "SELECT", "SELECT a b c", ""),
        ("SELECT * FROM a, b WHERE 1=1", "SELECT", "SELECT a b", ""),
        ("INSERT INTO t (a) VALUES (1) RETURNING id", "INSERT", "INSERT t", "t"),
        ("INSERT INTO t SELECT * FROM u", "INSERT", "INSERT t SELECT u", ""),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a=1", "INSERT", "INSERT t", "t"),
        ("UPDATE t SET a = 1 FROM u", "UPDATE", "UPDATE t u", ""),
        ("DELETE FROM t WHERE a = 1", "DELETE", "DELETE t", "t"),
        ("SELECT a FROM t FOR UPDATE", "SELECT", "SELECT t", "t"),
        ("WITH r AS (SELECT 1 FROM o) SELECT * FROM r", "SELECT", "SELECT o SELECT", "o"),
        ("SELECT * FROM generate_series(1, 2)", "SELECT", "SELECT", ""),
        ("SELECT EXTRACT(year FROM ts) FROM log", "SELECT", "SELECT log", "log"),
        ("SELECT a IS DISTINCT FROM b FROM t", "SELECT", "SELECT t", "t"),
        ("CREATE TABLE IF NOT EXISTS t (id int)", "CREATE TABLE", "CREATE TABLE t", "t"),
        ("CREATE UNIQUE INDEX i ON t (a)", "CREATE INDEX", "CREATE INDEX i", ""),
        ("DROP TABLE t", "DROP TABLE", "DROP TABLE t", "t"),
        ("TRUNCATE t", "TRUNCATE", "TRUNCATE t", "t"),
        ("COPY t (a) FROM STDIN", "COPY", "COPY t", "t"),
        ("BEGIN", "BEGIN", "BEGIN", ""),
        ("START TRANSACTION", "START", "START", ""),
        ("SET search_path TO x", "SET", "SET", ""),
        ("EXPLAIN SELECT * FROM t", "EXPLAIN", "EXPLAIN SELECT t", "t"),
        ("BEGIN; INSERT INTO t VALUES (1); COMMIT", "BATCH", "BEGIN; INSERT t; COMMIT", "t"),
        ("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", "BATCH INSERT", None, "t"),
        ("gibberish (", "", "", ""),
    ],
)
def test_what_a_query_does_in_few_words(
    query: str, operation: str, summary: str | None, collection: str | None
) -> None:
    sql = sanitize(query.encode())
    assert sql.operation == operation
    assert summary is None or sql.summary == summary
    assert collection is None or sql.collection == collection


def test_a_long_query_is_cut() -> None:
    rows = ", ".join(f"(nextval('a'), {n}, '{SECRET}')" for n in range(10_000))
    sql = sanitize(f"INSERT INTO t VALUES {rows}".encode())
    assert len(sql.text) <= MAX_TEXT
    assert sql.summary == "INSERT t"
    assert SECRET not in sql.text


@given(st.binary(max_size=300), st.sampled_from([POSTGRESQL, MYSQL]))
def test_any_bytes(query: bytes, dialect: int) -> None:
    sql = sanitize(query, dialect)
    assert len(sql.summary) <= 255


_WORDS = "SELECT|FROM|t|,|(|)|1|''|'a'|$$x$$|--c\n|/*c*/|;|WITH|AS|INSERT INTO|UPDATE|E'\\''|.|JOIN"


@given(
    st.lists(
        st.one_of(
            st.sampled_from(_WORDS.split("|")),
            st.text(string.ascii_letters, min_size=1, max_size=5).map(lambda x: f"'{SECRET}{x}'"),
        ),
        max_size=30,
    )
)
def test_any_order_of_words_leaks_nothing(words: list[str]) -> None:
    assert SECRET not in repr(sanitize(" ".join(words).encode()))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("/*!40101 SET NAMES utf8 */", "SET NAMES utf8"),
        ("/*! SELECT a FROM `t` */ WHERE b = 1", "SELECT a FROM `t` WHERE b = ?"),
        ("/*!50700 SELECT a */ SELECT b", "SELECT b"),
        ("SELECT /*+ MAX_EXECUTION_TIME(1) */ a", "SELECT a"),
        ("SELECT 1 /*! FROM t", "SELECT ? FROM t"),
    ],
)
def test_what_mysql_executes_of_comments(query: str, text: str) -> None:
    assert sanitize(query.encode(), MYSQL).text == text


def test_a_backslash_that_is_none_and_one_that_may_be() -> None:
    tricky = f"SELECT 'a\\', '{SECRET}' FROM t"
    assert sanitize(tricky.encode(), MYSQL_PLAIN).text == "SELECT ?, ? FROM t"
    assert sanitize(tricky.encode(), MYSQL_UNSURE).text == "SELECT ?"
    assert sanitize(b"SELECT 'a\\n', b", MYSQL_UNSURE).text == "SELECT ?, b"


@pytest.mark.parametrize(
    ("query", "summary", "procedure"),
    [
        ("CREATE PROCEDURE twice() BEGIN SELECT 1; SELECT 2; END", "CREATE PROCEDURE twice", ""),
        ("CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW SET x = 1", "CREATE TRIGGER a", ""),
        ("CALL `twice`(1, 'x')", "CALL twice", "twice"),
        ("CALL shop.twice", "CALL shop.twice", "shop.twice"),
        ("SELECT `a`.`b` FROM `users` JOIN `the shop` ON 1", "SELECT users `the shop`", ""),
    ],
)
def test_procedures_and_quoted_names(query: str, summary: str, procedure: str) -> None:
    sql = sanitize(query.encode(), MYSQL)
    assert (sql.summary, sql.procedure, sql.statements) == (summary, procedure, 1)
