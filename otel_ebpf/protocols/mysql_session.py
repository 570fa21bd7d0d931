"""What a MySQL connection remembers, and what it makes of a command.

Texts of prepared statements are remembered by the numbers that the server gives them, without
literals.
"""

from __future__ import annotations

from collections import OrderedDict

from .database import UNLESS_FAILED, DbRequest
from .mysql_answers import LOGIN, PREPARED, ROWS, TEXT, Answer
from .mysql_login import Greeting, Login, database_name, read_change_user
from .mysql_query import backslash_unsure, dialect, query_text, used_database
from .sql import Sql, sanitize

MYSQL, MARIADB = "mysql", "mariadb"
MAX_STATEMENTS = 256
"""Statements remembered on a connection; the oldest are forgotten."""
UNKNOWN = Sql("", "", "", "", 0)
LAST_PREPARED = 0xFFFFFFFF

QUIT, INIT_DB, QUERY, FIELDS, STATISTICS = 0x01, 0x02, 0x03, 0x04, 0x09
CHANGE_USER, DUMP, PREPARE, EXECUTE, LONG_DATA = 0x11, 0x12, 0x16, 0x17, 0x18
CLOSE, RESET, FETCH, DUMP_GTID, RESET_CONNECTION = 0x19, 0x1A, 0x1C, 0x1E, 0x1F
BULK, LAST = 0xFA, 0x1F

_NAMES = {
    INIT_DB: ("USE", UNLESS_FAILED),
    FIELDS: ("SHOW COLUMNS", UNLESS_FAILED),
    5: ("CREATE DATABASE", 0),
    6: ("DROP DATABASE", 0),
    7: ("FLUSH", 0),
    8: ("SHUTDOWN", 0),
    STATISTICS: ("STATISTICS", UNLESS_FAILED),
    0x0A: ("SHOW PROCESSLIST", 0),
    0x0C: ("KILL", 0),
    0x0D: ("DEBUG", UNLESS_FAILED),
    0x0E: ("PING", UNLESS_FAILED),
    CHANGE_USER: ("CHANGE USER", UNLESS_FAILED),
    0x15: ("REGISTER SLAVE", UNLESS_FAILED),
    RESET: ("RESET", UNLESS_FAILED),
    0x1B: ("SET OPTION", UNLESS_FAILED),
    RESET_CONNECTION: ("RESET CONNECTION", UNLESS_FAILED),
}
"""Commands that are no statements: what they are called, and whether they are the client's own."""

KINDS = {FIELDS: ROWS, STATISTICS: TEXT, CHANGE_USER: LOGIN, PREPARE: PREPARED, FETCH: ROWS}


class Session:
    """One connection's.

    Attributes:
        system: MYSQL or MARIADB.
        capabilities: those that both sides have; 0: not known.
        status: of the server, from its latest answer; -1: not known.
        database: that commands go to, or "".
        statements: by their number.
    """

    __slots__ = (
        *("_backslash_unsure", "_offered", "_prepared"),
        *("capabilities", "database", "statements", "status", "system"),
    )

    def __init__(self) -> None:
        self.system = MYSQL
        self._offered = -1
        """Capabilities of the server; -1: not known."""
        self.capabilities = 0
        self.status = -1
        self._backslash_unsure = False
        self.database = ""
        self.statements: OrderedDict[int, Sql] = OrderedDict()
        self._prepared = UNKNOWN  # the latest

    def follow(self, before: Session) -> None:
        """What the server has said of itself to ``before`` holds here."""
        self.system = before.system
        self._offered = before._offered
        self.status = before.status

    def greeted(self, greeting: Greeting) -> None:
        """The server's first words."""
        self.system = MARIADB if greeting.mariadb else MYSQL
        self._offered = greeting.capabilities
        self.status = greeting.status

    def agree(self, login: Login) -> None:
        """The client's answer to them."""
        if self._offered < 0:
            self.capabilities = login.capabilities
            self.system = MARIADB if login.mariadb else MYSQL
        else:
            self.capabilities = login.capabilities & self._offered
        self._backslash_unsure = login.backslash_unsure

    def login(self, database: str) -> DbRequest:
        """What is told of it."""
        return DbRequest(self.system, "CONNECT", "", "CONNECT", "", database, "", UNLESS_FAILED)

    def learn(self, answer: Answer, sql: Sql | None, database: str | None) -> None:
        """What an answer changes; ``sql``: the command prepares it; ``database``: it turns to."""
        if answer.status >= 0:
            self.status = answer.status
        if answer.code:
            return
        if database is not None:
            self.database = database
        if sql is not None and answer.statement >= 0:
            self.statements[answer.statement] = sql
            self.statements.move_to_end(answer.statement)
            if len(self.statements) > MAX_STATEMENTS:
                self.statements.popitem(last=False)

    def describe(self, command: int, body: bytes) -> tuple[DbRequest, Sql, str | None]:
        """A command: what is told of it, the statement that it is about, and the database that it
        turns to where it succeeds. ``body`` begins with the command."""
        database: str | None = None
        sql = UNKNOWN
        chatter = 0
        if command in (QUERY, PREPARE):
            text = query_text(body, self.capabilities) if command == QUERY else body[1:]
            mode, charset = backslash_unsure(text)
            self._backslash_unsure = self._backslash_unsure or charset
            sql = sanitize(text, dialect(self.status, self._backslash_unsure or mode))
            if command == QUERY and sql.operation == "USE":
                database = used_database(text)
        elif command in (EXECUTE, FETCH, BULK):
            number = int.from_bytes(body[1:5], "little")
            sql = self._prepared
            if number != LAST_PREPARED:
                sql = self.statements.get(number, UNKNOWN)
        operation, summary = sql.operation, sql.summary
        if command == PREPARE:
            operation, summary, chatter = "PREPARE", f"PREPARE {summary}".strip(), UNLESS_FAILED
        elif command in _NAMES:
            operation, chatter = _NAMES[command]
            summary = operation
            if command == INIT_DB:
                database = database_name(body[1:])
            elif command == CHANGE_USER:
                database = read_change_user(body)
        if command == PREPARE:
            self._prepared = sql
        head = DbRequest(
            self.system,
            operation,
            sql.text,
            summary,
            sql.collection,
            self.database,
            sql.procedure,
            chatter,
            sql.statements if sql.statements > 1 and command != PREPARE else 0,
        )
        return head, sql, database
