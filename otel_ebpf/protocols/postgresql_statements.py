"""What a PostgreSQL connection remembers: the texts of prepared statements, by their names."""

from __future__ import annotations

from collections import OrderedDict

from .sql import Sql, sanitize

MAX_STATEMENTS = 256
"""Statements and portals remembered on a connection; the oldest are forgotten."""
UNKNOWN = Sql("", "", "", "", 0)
_MAX_NAME = 128


class Statements:
    """Statements and portals of one connection, without literals. Arguments are the bodies of the
    client's messages."""

    __slots__ = ("_portals", "_statements")

    def __init__(self) -> None:
        self._statements: OrderedDict[bytes, Sql] = OrderedDict()
        self._portals: OrderedDict[bytes, Sql] = OrderedDict()

    def parse(self, body: bytes) -> Sql:
        """A text gets a name."""
        name, text = _name(body)
        sql = sanitize(text[: text.find(b"\0")] if b"\0" in text else text)
        _remember(self._statements, name, sql)
        return sql

    def bind(self, body: bytes) -> None:
        """A statement gets values, and a portal's name."""
        portal, rest = _name(body)
        _remember(self._portals, portal, self._statements.get(_name(rest)[0], UNKNOWN))

    def execute(self, body: bytes) -> Sql:
        """The statement of a portal."""
        return self._portals.get(_name(body)[0], UNKNOWN)

    def close(self, body: bytes) -> None:
        """A statement is dropped."""
        if body[:1] == b"S":
            self._statements.pop(_name(body[1:])[0], None)

    def __len__(self) -> int:
        return max(len(self._statements), len(self._portals))


def _name(body: bytes) -> tuple[bytes, bytes]:
    """A text that ends with NUL, and what follows it."""
    name, _, rest = body.partition(b"\0")
    return name[:_MAX_NAME], rest


def _remember(table: OrderedDict[bytes, Sql], name: bytes, sql: Sql) -> None:
    table[name] = sql
    table.move_to_end(name)
    if len(table) > MAX_STATEMENTS:
        table.popitem(last=False)
