"""SQL without its literals, and what can be said of it in few words.

A tokenizer, not a parser: it knows where literals and comments begin and end in a dialect, which
is what it takes to let none of them through. Comments go too; they may hold anything.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

POSTGRESQL, MYSQL, MYSQL_PLAIN, MYSQL_UNSURE = range(4)
"""Dialects. PLAIN: a backslash is a character like any other (``NO_BACKSLASH_ESCAPES``).
UNSURE: it may be; behind a literal where that matters all is left out."""

MAX_TEXT = 8192
"""Longest statement, in bytes, that is looked at; what is behind is left out."""
_MAX_SUMMARY = 255
_MAX_TARGETS = 16

_EXPONENT = r"(?:[eE][+-]?\d+)?"
_NUMBER = (
    rf"(?P<literal>(?:0[xX][\da-fA-F_]+|\d[\d_]*(?:\.\d*)?{_EXPONENT}"
    rf"|\.\d[\d_]*{_EXPONENT})\w*)"
)
_WORD = r"[^\W\d][\w$]*"


def _mysql(single: str, double: str) -> re.Pattern[str]:
    """The tokens; what may be within quotes of either kind."""
    return re.compile(
        r"(?P<space>\s+|--(?=\s|$)[^\n]*|\#[^\n]*)"
        r"|(?P<comment>/\*)"
        rf"|(?P<escaped>(?:[bBxXnN]|_\w+\s*)?(?:'(?:{single}|'')*'|\"(?:{double}|\"\")*\"))"
        r"|(?P<string>(?!))"
        r"|(?P<cut>[bBxXnN]?['\"])"
        r"|(?P<dollar>\$(?:[^\W\d]\w*)?\$)"
        r"|(?P<parameter>\?)"
        rf"|(?P<name>`(?:[^`]|``)+`|@{{0,2}}{_WORD})"
        r"|(?P<unclosed>`)"
        rf"|{_NUMBER}"
        r"|(?P<other>.)",
        re.DOTALL,
    )


_ESCAPING = _mysql(r"[^'\\]|\\.", r"[^\"\\]|\\.")
_TOKENS = {
    POSTGRESQL: re.compile(
        r"(?P<space>\s+|--[^\n]*)"
        r"|(?P<comment>/\*)"
        r"|(?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')"
        r"|(?P<string>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')"
        r"|(?P<cut>(?:[eEbBxXnN]|[uU]&)?')"
        r"|(?P<dollar>\$(?:[^\W\d]\w*)?\$)"
        r"|(?P<parameter>\$\d+)"
        rf'|(?P<name>"(?:[^"]|"")+"|{_WORD})'
        r'|(?P<unclosed>")'
        rf"|{_NUMBER}"
        r"|(?P<other>::|.)",
        re.DOTALL,
    ),
    MYSQL: _ESCAPING,
    MYSQL_UNSURE: _ESCAPING,
    MYSQL_PLAIN: _mysql("[^']", '[^"]'),
}
_PLAIN = re.compile(r"`[\w$]+`")
_LISTS = re.compile(r"\(\s*(?:\?|\$\d+)(?:\s*,\s*(?:\?|\$\d+))+\s*\)")
_ROWS = re.compile(r"(\((?:\?|\(\?\))\))(?:\s*,\s*\1)+")
_NESTED = re.compile(r"/\*|\*/")
_EXECUTED = re.compile(r"(M?)!(\d{5,6})?")
"""Behind the beginning of a comment of MySQL's that is none to some servers."""
_EVERYWHERE = 50700
"""Below this version what is in such a comment is executed by every server, MariaDB too."""
_QUOTES = re.compile(r"['\"\\#$]|--|/\*")
_ESCAPED_QUOTE = re.compile(r"\\['\"]")

_STATEMENTS = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "VALUES", "TABLE", "CALL"}
)
_WITH_OBJECT = frozenset({"CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "REFRESH", "RENAME"})
_OBJECTS = frozenset(
    {"TABLE", "VIEW", "INDEX", "SEQUENCE", "SCHEMA", "DATABASE", "FUNCTION", "PROCEDURE"}
    | {"TRIGGER", "TYPE", "EXTENSION", "ROLE", "USER", "MATERIALIZED", "DOMAIN", "POLICY"}
    | {"PUBLICATION", "SUBSCRIPTION", "SERVER", "AGGREGATE", "RULE", "COLUMN", "SYSTEM"}
)
_WITH_BODY = ("PROCEDURE", "FUNCTION", "TRIGGER", "EVENT")
"""What is created of these has statements within, which are not executed."""
_FILLERS = frozenset(
    {"OR", "REPLACE", "TEMP", "TEMPORARY", "UNIQUE", "UNLOGGED", "GLOBAL", "LOCAL", "IF", "NOT"}
    | {"EXISTS", "ONLY", "CONCURRENTLY", "FORCE", "IGNORE", "LOW_PRIORITY", "RECURSIVE", "ON"}
    | {"LATERAL", "DELAYED", "HIGH_PRIORITY", "QUICK"}
)
_OTHERS = frozenset(
    {"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "END", "ABORT", "SET", "RESET"}
    | {"SHOW", "EXPLAIN", "ANALYZE", "VACUUM", "COPY", "LOCK", "GRANT", "REVOKE", "PREPARE"}
    | {"EXECUTE", "DEALLOCATE", "DECLARE", "FETCH", "MOVE", "CLOSE", "LISTEN", "UNLISTEN", "NOTIFY"}
    | {"DISCARD", "DO", "CLUSTER", "REINDEX", "CHECKPOINT", "LOAD", "SECURITY", "USE", "KILL"}
    | {"DESCRIBE", "FLUSH", "OPTIMIZE", "REASSIGN", "HANDLER", "XA", "UNLOCK", "IMPORT"}
)
_NO_TARGETS = frozenset({"STDIN", "STDOUT", "PROGRAM", "stdin", "stdout", "program"})
_BEFORE_TARGET = frozenset({"FROM", "JOIN", "INTO", "USING"})
_FROM_IS_ARGUMENT = frozenset({"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION"})
_NO_UPDATE = frozenset({"FOR", "DO", "ON", "KEY"})
_ENDS_TARGETS = frozenset(
    {"WHERE", "SET", "VALUES", "ON", "GROUP", "ORDER", "LIMIT", "RETURNING", "SELECT", "UNION"}
    | {"HAVING", "WINDOW", "FETCH", "FOR", "OFFSET", "DEFAULT"}
)


class Sql(NamedTuple):
    """What may be told of a query.

    Attributes:
        text: without literals and comments.
        operation: ``SELECT``, ``CREATE TABLE``; of several statements ``BATCH``, with what they
            are where they are all one thing; empty where it is not known.
        summary: operations with what they work on.
        collection: the one table that it works on, or empty.
        statements: how many there are.
        procedure: the one that it calls, or empty.
    """

    text: str
    operation: str
    summary: str
    collection: str
    statements: int
    procedure: str = ""


@lru_cache(maxsize=2048)
def sanitize(query: bytes, dialect: int = POSTGRESQL) -> Sql:
    """Looks at a query of one or more statements, which may be cut off. Never raises."""
    words: list[str] = []
    statements = _Statements()
    pattern = _TOKENS[dialect]
    source = query[:MAX_TEXT].decode("utf-8", "replace")
    at, size = 0, len(source)
    space = False
    inner = -1  # where a comment ends within which we are
    while at < size:
        if at == inner:
            at, inner = at + 2, -1
            continue
        match = pattern.match(source, at)
        assert match is not None  # every character is at least "other"
        kind = match.lastgroup
        token = match[0]
        at = match.end()
        if kind == "space":
            space = bool(words)
            continue
        if kind == "comment":
            executed = _EXECUTED.match(source, at) if dialect != POSTGRESQL else None
            if executed is None:
                at = _past_comment(source, at, dialect)
            else:
                at, inner = executed.end(), source.find("*/", at)
                within = source[at : inner if inner >= 0 else size]
                if _QUOTES.search(within) or within.count("`") & 1:
                    break  # whether these are quotes depends on the server
                if executed[1] or int(executed[2] or 0) >= _EVERYWHERE:
                    at, inner = (inner + 2, -1) if inner >= 0 else (size, -1)
            space = bool(words)
            continue
        if kind == "dollar":
            end = source.find(token, at)
            at = size if end < 0 else end + len(token)
            token = "?"
        elif kind in ("literal", "escaped", "cut"):
            if kind == "cut" or (
                dialect == MYSQL_UNSURE and kind == "escaped" and _ESCAPED_QUOTE.search(token)
            ):
                at = size
            token = "?"
        elif kind == "string":
            # With standard_conforming_strings off it would go on behind such a quote.
            at = size if "\\'" in token else at
            token = "?"
        elif kind == "unclosed":
            break
        if space:
            words.append(" ")
            space = False
        words.append(token)
        statements.take(token, kind == "name")
    text = "".join(words)
    if "," in text:
        text = _ROWS.sub(r"\1", _LISTS.sub("(?)", text))
    return statements.describe(text)


def _past_comment(source: str, at: int, dialect: int) -> int:
    depth = 1
    while depth:
        match = _NESTED.search(source, at)
        if match is None:
            return len(source)
        at = match.end()
        if match[0] == "*/":
            depth -= 1
        elif dialect == POSTGRESQL:
            depth += 1
    return at


class _Statements:
    """Finds operations and what they work on, word by word."""

    def __init__(self) -> None:
        self._operations: list[str] = []
        self._all: list[list[str]] = []  # of each statement: operation, target, target...
        self._open = False
        self._awaits = False
        self._object = False
        self._target = ""
        self._qualified = False
        self._list = False
        self._before = ""
        self._functions: list[str] = []
        self._common: set[str] = set()
        self._with = False
        self._body = False

    def take(self, token: str, is_name: bool) -> None:
        """The next token that is neither space nor comment."""
        if self._body:
            return
        if token == ";":
            self._end_target("")
            self._open = self._awaits = self._with = self._object = False
            self._functions.clear()
            self._before = ""
            return
        if not is_name:
            self._sign(token)
            self._before = token
            return
        quoted = token[0] in '"`'
        upper = "" if quoted else token.upper()
        if token[0] == "`" and _PLAIN.fullmatch(token):
            token = token[1:-1]
        if self._target and self._qualified:
            self._target += "." + token
            self._qualified = False
            self._before = upper or token
            return
        if self._target:
            self._end_target(token)
        if not self._open:
            self._begin(upper)
        elif self._object:
            self._object = self._name_object(upper)
            if not self._object and upper not in _OBJECTS:
                self._wait_or_take(token, upper)
        else:
            self._word(token, upper)
        self._before = upper or token

    def _sign(self, token: str) -> None:
        if token == ".":
            self._qualified = bool(self._target)
            return
        if token == "(":
            if self._target and not self._insert():
                self._target = ""  # a function in FROM
            self._end_target("")
            self._awaits = self._list = False
            self._functions.append(self._before)
        elif token == ")":
            self._end_target("")
            self._list = False
            if self._functions:
                self._functions.pop()
        elif token == ",":
            listed = self._list
            self._end_target("")
            self._awaits = listed
        else:
            self._end_target("")

    def _insert(self) -> bool:
        if not self._all:
            return False
        operation = self._all[-1][0]
        return operation in ("INSERT", "REPLACE", "COPY", "CALL") or operation.startswith("CREATE ")

    def _begin(self, upper: str) -> None:
        self._open = True
        self._common = set()
        if upper == "WITH":
            self._with = True
            self._all.append([""])
            self._operations.append("")
            return
        known = upper in _STATEMENTS or upper in _OTHERS or upper in _WITH_OBJECT
        operation = upper if known else ""
        self._all.append([operation])
        self._operations.append(operation)
        self._object = upper in _WITH_OBJECT
        self._awaits = upper in ("UPDATE", "COPY", "TABLE", "CALL", "LOCK")
        self._list = False

    def _name_object(self, upper: str) -> bool:
        """The word behind CREATE and the like; whether more of the same follow."""
        if upper in _FILLERS:
            return True
        last = self._all[-1]
        if upper == "MATERIALIZED":
            return True
        if upper in _OBJECTS and " " not in last[0]:
            last[0] = self._operations[-1] = f"{last[0]} {upper}"
            self._awaits = True
        else:
            self._awaits = True
        return False

    def _wait_or_take(self, token: str, upper: str) -> None:
        if self._awaits and upper not in _FILLERS:
            self._awaits = False
            self._target = token

    def _word(self, token: str, upper: str) -> None:
        if self._awaits:
            if upper in _FILLERS or upper == "TABLE":
                return
            self._awaits = False
            if upper and upper in _ENDS_TARGETS:
                self._list = False
                self._statement(upper)
                return
            self._target = token
            return
        if self._with and upper == "AS" and self._before.upper() not in ("", ")"):
            self._common.add(self._before.upper())
        if upper in _BEFORE_TARGET:
            argument = self._functions and self._functions[-1] in _FROM_IS_ARGUMENT
            if upper == "FROM" and (argument or self._before == "DISTINCT"):
                return
            if upper == "USING" and self._all[-1][0] not in ("DELETE", "MERGE"):
                return
            self._awaits = True
            self._list = upper == "FROM"
        elif upper in _ENDS_TARGETS or upper in _STATEMENTS:
            self._list = False
            self._statement(upper)

    def _statement(self, upper: str) -> None:
        """A statement within the statement."""
        if upper not in ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"):
            return
        if upper == "UPDATE" and self._before in _NO_UPDATE:
            return
        if upper == "DELETE" and self._before == "ON":
            return
        last = self._all[-1]
        if not self._operations[-1] and (not self._functions or not self._with):
            self._operations[-1] = upper
        if last == [""]:
            last[0] = upper
        elif len(last) < _MAX_TARGETS:
            last.append("\0" + upper)
        self._awaits = upper == "UPDATE"

    def _end_target(self, alias: str) -> None:
        target, self._target, self._qualified = self._target, "", False
        if not target or not self._all:
            return
        if target.upper() in self._common or target in _NO_TARGETS:
            return
        last = self._all[-1]
        if len(last) < _MAX_TARGETS:
            last.append(target)
        self._body = last[0].endswith(_WITH_BODY) and last[0].startswith("CREATE ")

    def describe(self, text: str) -> Sql:
        """All that was found."""
        self._end_target("")
        parts, tables = [], set()
        for statement in self._all:
            words = [word.lstrip("\0") for word in statement if word]
            parts.append(" ".join(words))
            tables |= {word for word in statement[1:] if word[0] != "\0"}
        summary = "; ".join(part for part in parts if part)
        if len(summary) > _MAX_SUMMARY:
            summary = summary[:_MAX_SUMMARY].rsplit(" ", 1)[0]
        operations = self._operations
        operation = operations[0] if operations else ""
        if len(operations) > 1:
            operation = f"BATCH {operation}".strip() if len(set(operations)) == 1 else "BATCH"
        of_tables = all(" " not in o or o.endswith(("TABLE", "VIEW")) for o in operations)
        collection = tables.pop() if len(tables) == 1 and of_tables else ""
        procedure = ""
        if operation == "CALL":
            collection, procedure = "", collection
        return Sql(text, operation, summary, collection, len(operations), procedure)
