"""What can be said of SQL statements in few words: what they do, and to what.

Words come one by one, and none of them is a literal any more.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MAX_SUMMARY = 255
_MAX_TARGETS = 16
_PLAIN = re.compile(r"`[\w$]+`")

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


class Statements:
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
