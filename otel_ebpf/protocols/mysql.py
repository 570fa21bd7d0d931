"""The protocol of MySQL and MariaDB, seen from outside.

The server speaks first. A call is a command, in a packet with the number 0, and its answer's
packets count on from there; one command follows the other's answer, or is sent before it.
Texts of prepared statements are remembered by the numbers that the server gives them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from .base import COMPRESSED, REQUEST, RESPONSE, TLS, Message
from .database import DONE, UNLESS_FAILED, DbRequest, DbResponse
from .descriptor import Descriptor
from .mysql_answers import FILE, GOES_ON, LOGIN, PREPARED, RESULTS, ROWS, TEXT, WRONG, Answer, ends
from .mysql_login import (
    CLIENT_COMPRESS,
    CLIENT_ZSTD,
    Login,
    database_name,
    read_change_user,
    read_greeting,
    read_login,
    wants_tls,
)
from .mysql_packets import BAD, FULL, HEADER, PACKET, Packets
from .mysql_query import KEEP, backslash_unsure, dialect, query_text, used_database
from .sql import Sql, sanitize
from .sync import JOINED, SYNCED, Sync

MYSQL, MARIADB = "mysql", "mariadb"
MAX_OUTSTANDING = 4096
MAX_STATEMENTS = 256
"""Statements remembered on a connection; the oldest are forgotten."""
_UNKNOWN = Sql("", "", "", "", 0)
_ANSWER_KEEP = 160
_LAST_PREPARED = 0xFFFFFFFF

_QUIT, _INIT_DB, _QUERY, _FIELDS, _STATISTICS = 0x01, 0x02, 0x03, 0x04, 0x09
_CHANGE_USER, _DUMP, _PREPARE, _EXECUTE, _LONG_DATA = 0x11, 0x12, 0x16, 0x17, 0x18
_CLOSE, _RESET, _FETCH, _DUMP_GTID, _RESET_CONNECTION = 0x19, 0x1A, 0x1C, 0x1E, 0x1F
_BULK, _LAST = 0xFA, 0x1F

_NAMES = {
    _INIT_DB: ("USE", UNLESS_FAILED),
    _FIELDS: ("SHOW COLUMNS", UNLESS_FAILED),
    5: ("CREATE DATABASE", 0),
    6: ("DROP DATABASE", 0),
    7: ("FLUSH", 0),
    8: ("SHUTDOWN", 0),
    _STATISTICS: ("STATISTICS", UNLESS_FAILED),
    0x0A: ("SHOW PROCESSLIST", 0),
    0x0C: ("KILL", 0),
    0x0D: ("DEBUG", UNLESS_FAILED),
    0x0E: ("PING", UNLESS_FAILED),
    _CHANGE_USER: ("CHANGE USER", UNLESS_FAILED),
    0x15: ("REGISTER SLAVE", UNLESS_FAILED),
    _RESET: ("RESET", UNLESS_FAILED),
    0x1B: ("SET OPTION", UNLESS_FAILED),
    _RESET_CONNECTION: ("RESET CONNECTION", UNLESS_FAILED),
}
"""Commands that are no statements: what they are called, and whether they are the client's own."""

_KINDS = {_FIELDS: ROWS, _STATISTICS: TEXT, _CHANGE_USER: LOGIN, _PREPARE: PREPARED, _FETCH: ROWS}

_GREETS, _LOGS_IN, _COMMANDS, _SENDS_FILE = range(4)
"""Phases. GREETS: nothing has been said. What clients send while they log in, or send a file, is
not looked at."""


class Call(Message):
    """A command.

    Attributes:
        answer: what has come of its answer; began: when and where that began.
        number: of the packet that comes next in it, or -1.
        database: what the connection turns to where it succeeds; sql: what it prepares.
    """

    __slots__ = ("answer", "began", "database", "number", "sql")

    def __init__(self, packet: Packets, direction: int, head: DbRequest, answer: Answer) -> None:
        super().__init__(REQUEST, direction, packet.start, packet.token, packet.offset, head)
        self.length = HEADER + packet.size
        self.complete = True
        self.truncated = packet.truncated
        self.answer = answer
        self.began: tuple[int, Any, int] | None = None
        self.number = (packet.last + 1) & 0xFF
        self.database: str | None = None
        self.sql: Sql | None = None


class MysqlParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: ``MAX_OUTSTANDING`` calls, ``MAX_STATEMENTS`` statements without literals.
    """

    __slots__ = (
        "_answers",
        "_capabilities",
        "_database",
        "_eof",
        "_last_answer",
        "_lost",
        "_offered",
        "_outstanding",
        "_phase",
        "_prepared",
        "_requests",
        "_serial",
        "_statements",
        "_status",
        "_sync",
        "_system",
        "_tail",
        "_trailing",
        "_unsure",
        "client",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._sync = Sync()
        self._phase = _GREETS
        self._requests = Packets(KEEP)
        self._answers = Packets(_ANSWER_KEEP)
        self._outstanding: deque[Call] = deque()
        self._statements: OrderedDict[int, Sql] = OrderedDict()
        self._prepared = _UNKNOWN  # the latest
        self._system = MYSQL
        self._offered = -1
        """Capabilities of the server, -1: not known; below those that both have, 0: not known."""
        self._capabilities = 0
        self._eof: bool | None = None
        self._status = -1
        self._unsure = False
        self._lost = [False, False]
        self._serial = 0
        self._database = ""
        self._tail = b""
        self._trailing = -1
        """Number of a packet that may follow an answer which is over."""
        self._last_answer: tuple[int, Any] = (0, None)

    @property
    def in_step(self) -> bool:
        """Which answer is whose is known, and so is where commands begin."""
        return self._sync.state == SYNCED and not self._lost[self.client]

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return self.client >= 0 and self._lost[1 - self.client] and bool(self._outstanding)

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        self._sync.begin(fresh)

    def follow(self, before: MysqlParser) -> None:
        """Within TLS the connection goes on behind the greeting that ``before`` has read."""
        self._system = before._system
        self._offered = before._offered
        self._status = before._status

    def feed(
        self,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
        tail: bytes = b"",
    ) -> list[Message]:
        """See ``base.Parser.feed``."""
        out: list[Message] = []
        if self.upgraded is not None or not length:
            return out
        if direction == self.client:
            self._asked(direction, data, length, ts, token, out)
            for message in out:
                if message.direction == direction:
                    message.end = end_ts
                    message.last_token = token
        else:
            self._told(direction, data, length, ts, end_ts, token, tail, out)
        self._sync.last = end_ts
        return out

    # What the client says

    def _asked(
        self, direction: int, data: bytes, length: int, ts: int, token: Any, out: list[Message]
    ) -> None:
        if self._phase in (_LOGS_IN, _SENDS_FILE):
            return
        packets = self._requests
        size = len(data)
        if not packets.inside or self._lost[direction]:
            self._run(data, ts, out)
            if self._lost[direction]:
                return
            if self._sync.state == JOINED and self._phase != _GREETS:
                return
        at = 0
        while at < size:
            at, outcome = packets.feed(data, at, ts, token)
            if outcome == PACKET:
                self._request(direction, out)
                if self.upgraded is not None or self._phase in (_LOGS_IN, _SENDS_FILE):
                    return
            elif outcome == BAD:
                self._lose(direction, out)
                return
        if length > size:
            outcome = packets.skip(length - size) if packets.inside else BAD
            if outcome == PACKET:
                self._request(direction, out)
            elif outcome == BAD:
                # The next command shows where packets begin again.
                if packets.size >= FULL:
                    packets.truncated = True
                    self._request(direction, out)
                    if self._outstanding:
                        self._outstanding[-1].number = -1
                self._lost[direction] = True
                packets.reset()

    def _run(self, data: bytes, ts: int, out: list[Message]) -> None:
        """Requests come where one can begin."""
        client = self.client
        begins = data[3:4] == b"\0" and (data[4:5] <= b"\x1f" or data[4] == _BULK)
        if self._phase == _GREETS and begins:
            self._phase = _COMMANDS  # the connection's start was not seen
            self._sync.begin(False)
        if self._sync.state == SYNCED:
            if self._lost[1 - client] and begins:
                self._settle_lost(out)
            if self._lost[client] and begins and not self._outstanding:
                self._lost[client] = False
            return
        if self._phase == _COMMANDS and self._sync.asks(begins, ts, bool(self._outstanding)):
            self._lost = [False, False]
            self._outstanding.clear()
            self._requests.reset()
            self._answers.reset()

    def _request(self, direction: int, out: list[Message]) -> None:
        """A packet of the client's is whole."""
        packet = self._requests
        if self._phase == _GREETS:
            self._logs_in(direction, packet, out)
            return
        body = packet.body
        if packet.number or not body:
            self._lose(direction, out)
            return
        command = body[0]
        if command in (_QUIT, _LONG_DATA):
            return
        if command == _CLOSE:
            self._statements.pop(int.from_bytes(body[1:5], "little"), None)
            return
        if command in (_DUMP, _DUMP_GTID):
            self.upgraded = "replication"
            return
        if command > _LAST and command != _BULK:
            self._lose(direction, out)
            return
        answer = Answer(_KINDS.get(command, RESULTS), self._capabilities, self._eof)
        head, sql, database = self._head(command, body)
        call = Call(packet, direction, head, answer)
        call.database = database
        call.sql = sql if command == _PREPARE else None
        if command == _PREPARE:
            self._prepared = sql
        elif command == _CHANGE_USER:
            self._phase = _LOGS_IN
            call.number = -1
        elif command == _RESET_CONNECTION:
            self._statements.clear()
        self._push(call, out)

    def _head(self, command: int, body: bytes) -> tuple[DbRequest, Sql, str | None]:
        """What a command is, the statement that it is about, and the database it turns to."""
        database: str | None = None
        sql = _UNKNOWN
        chatter = 0
        if command in (_QUERY, _PREPARE):
            text = query_text(body, self._capabilities) if command == _QUERY else body[1:]
            mode, charset = backslash_unsure(text)
            self._unsure = self._unsure or charset
            sql = sanitize(text, dialect(self._status, self._unsure or mode))
            if command == _QUERY and sql.operation == "USE":
                database = used_database(text)
        elif command in (_EXECUTE, _FETCH, _BULK):
            number = int.from_bytes(body[1:5], "little")
            sql = self._prepared
            if number != _LAST_PREPARED:
                sql = self._statements.get(number, _UNKNOWN)
        operation, summary = sql.operation, sql.summary
        if command == _PREPARE:
            operation, summary, chatter = "PREPARE", f"PREPARE {summary}".strip(), UNLESS_FAILED
        elif command in _NAMES:
            operation, chatter = _NAMES[command]
            summary = operation
            if command == _INIT_DB:
                database = database_name(body[1:])
            elif command == _CHANGE_USER:
                database = read_change_user(body)
        head = DbRequest(
            self._system,
            operation,
            sql.text,
            summary,
            sql.collection,
            self._database,
            sql.procedure,
            chatter,
            sql.statements if sql.statements > 1 and command != _PREPARE else 0,
        )
        return head, sql, database

    def _logs_in(self, direction: int, packet: Packets, out: list[Message]) -> None:
        body = packet.body
        if packet.number in (1, 2) and wants_tls(body):
            self.upgraded = TLS
            return
        login = read_login(body) if packet.number in (1, 2) else None
        if login is None:
            self._phase = _COMMANDS
            self._sync.begin(False)
            packet.reset()
            return
        self._sync.begin(True)  # a connection's start looks like nothing else
        self._phase = _LOGS_IN
        self._agree(login)
        head = DbRequest(
            self._system, "CONNECT", "", "CONNECT", "", login.database, "", UNLESS_FAILED
        )
        call = Call(packet, direction, head, Answer(LOGIN, self._capabilities, None))
        call.database = login.database
        call.number = -1
        self._push(call, out)

    def _agree(self, login: Login) -> None:
        if self._offered < 0:
            self._capabilities = login.capabilities
            self._system = MARIADB if login.mariadb else MYSQL
        else:
            self._capabilities = login.capabilities & self._offered
        self._unsure = login.backslash_unsure

    def _push(self, call: Call, out: list[Message]) -> None:
        if len(self._outstanding) >= MAX_OUTSTANDING:
            self._lose(1 - self.client, out)
            return
        if self._sync.state == SYNCED:
            self._serial += 1
            call.stream = self._serial
            out.append(call)
        self._outstanding.append(call)

    # What the server says

    def _told(
        self,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
        tail: bytes,
        out: list[Message],
    ) -> None:
        if self._sync.state == JOINED and self._phase != _GREETS:
            return
        self._last_answer = (end_ts, token)
        if self._lost[direction]:
            self._lost_answer(data, length, tail, out)
            return
        packets = self._answers
        size = len(data)
        at = 0
        while at < size:
            if not packets.inside and self._outstanding and self._outstanding[0].answer.rows:
                at = self._rows(self._outstanding[0], data, at)
                if at == size:
                    break
            at, outcome = packets.feed(data, at, ts, token)
            if outcome == PACKET:
                if not self._answer(end_ts, token, out):
                    self._lose(direction, out)
                if self.upgraded is not None or self._sync.state == JOINED:
                    return
            elif outcome == BAD:
                self._lose(direction, out)
                return
        if length > size:
            outcome = packets.skip(length - size) if packets.inside else BAD
            if outcome == BAD:
                self._begin_answer()
                packets.reset()
                self._lost[direction] = True
                self._tail = b""
                self._lost_answer(b"", length - size, tail, out)
            elif outcome == PACKET and not self._answer(end_ts, token, out):
                self._lose(direction, out)

    @staticmethod
    def _rows(call: Call, data: bytes, at: int) -> int:
        """Passes over whole rows; the place of what is none, or not whole."""
        size = len(data)
        number = call.number
        while at + HEADER < size:
            length = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            end = at + HEADER + length
            if end > size or not length or length == FULL or data[at + HEADER] >= 0xFE:
                break
            if number >= 0:
                if data[at + 3] != number:
                    break
                number = (number + 1) & 0xFF
            at = end
        call.number = number
        return at

    def _begin_answer(self) -> None:
        if self._outstanding and self._outstanding[0].began is None:
            packets = self._answers
            self._outstanding[0].began = (packets.start, packets.token, packets.offset)

    def _answer(self, end_ts: int, token: Any, out: list[Message]) -> bool:
        """A packet of the server's is whole. False: it makes no sense."""
        packet = self._answers
        if self._phase == _GREETS:
            return self._greeted(packet)
        if not self._outstanding:
            trailing, self._trailing = self._trailing, -1
            if packet.number == trailing and packet.body[:1] == b"\xfe" and packet.size == 5:
                self._eof = True
            elif packet.body[:1] != b"\xff":  # a server that shuts down says so
                self._extra()
            return True
        call = self._outstanding[0]
        if packet.number == self._trailing and call.began is None and packet.number != call.number:
            self._trailing = -1
            self._eof = True
            return True
        if call.number >= 0:
            if packet.number != call.number:
                return False
            call.number = (packet.last + 1) & 0xFF
        self._begin_answer()
        answer = call.answer
        outcome = answer.take(packet)
        if outcome == GOES_ON:
            return True
        if outcome == WRONG:
            return False
        if outcome == FILE:
            self._phase = _SENDS_FILE
            call.number = -1
            return True
        self._trailing = (packet.last + 1) & 0xFF if answer.trailing else -1
        self._outstanding.popleft()
        self._over(call)
        self._reply(call, end_ts, token, out)
        return True

    def _greeted(self, packet: Packets) -> bool:
        greeting = read_greeting(packet.body) if packet.number == 0 else None
        if greeting is None:
            # "Too many connections", and the like; or the start was not seen.
            if packet.body[:1] != b"\xff":
                self._phase = _COMMANDS
                self._sync.begin(False)
            return True
        self._sync.begin(True)
        self._system = MARIADB if greeting.mariadb else MYSQL
        self._offered = greeting.capabilities
        self._status = greeting.status
        return True

    def _over(self, call: Call) -> None:
        """Its answer has come: what it changes."""
        answer = call.answer
        if answer.eof is not None:
            self._eof = answer.eof
        if answer.status >= 0:
            self._status = answer.status
        was = self._phase
        if was in (_LOGS_IN, _SENDS_FILE):
            self._phase = _COMMANDS
            self._requests.reset()
        if answer.code:
            return
        if call.database is not None:
            self._database = call.database
        if call.sql is not None and answer.statement >= 0:
            self._statements[answer.statement] = call.sql
            self._statements.move_to_end(answer.statement)
            if len(self._statements) > MAX_STATEMENTS:
                self._statements.popitem(last=False)
        if was == _LOGS_IN:
            self._statements.clear()
            if self._capabilities & (CLIENT_COMPRESS | CLIENT_ZSTD):
                self.upgraded = COMPRESSED

    def _reply(
        self, call: Call, end_ts: int, token: Any, out: list[Message], truncated: bool = False
    ) -> None:
        if not call.stream:
            return
        answer = call.answer
        head = DONE
        if answer.code:
            code = "" if answer.code == "_OTHER" else answer.code
            said = f"SQLSTATE {answer.sqlstate}" if answer.sqlstate else ""
            head = DbResponse(code, answer.code, said)
        ts, first, offset = call.began or (end_ts, token, 0)
        message = Message(RESPONSE, 1 - self.client, ts, first, offset, head)
        message.stream = call.stream
        message.end = end_ts
        message.last_token = token
        message.complete = True
        message.truncated = truncated
        out.append(message)

    def _lost_answer(self, data: bytes, length: int, tail: bytes, out: list[Message]) -> None:
        """Rows whose lengths were not captured: a segment's end shows theirs."""
        seen = tail or (data[-11:] if len(data) == length else b"")
        self._tail = (self._tail + seen)[-11:] if len(seen) == length else seen[-11:]
        if self._outstanding and ends(self._tail, self._outstanding[0].answer.eof):
            self._settle_lost(out)

    def _settle_lost(self, out: list[Message]) -> None:
        """All answers have come, of which not all was seen."""
        end_ts, token = self._last_answer
        outstanding = self._outstanding
        if len(outstanding) > 1:
            self._lose(1 - self.client, out, desync=False)
            return
        if outstanding:
            call = outstanding.popleft()
            self._over(call)
            self._reply(call, end_ts, token, out, truncated=True)
        self._answers.reset()
        self._lost[1 - self.client] = False
        self._tail = b""

    def _extra(self) -> None:
        if self._sync.state == SYNCED:
            self.desyncs += 1
        self._sync.extra()

    def _lose(self, direction: int, out: list[Message], desync: bool = True) -> None:
        """From here on it is not known which answer is whose."""
        if desync and self._sync.state == SYNCED:
            self.desyncs += 1
        self._lost[direction] = True
        told = set(map(id, out))
        for call in self._outstanding:
            if call.stream:
                call.error = "response_lost"
                if id(call) not in told:
                    out.append(call)
        self._outstanding.clear()
        self._requests.reset()
        self._answers.reset()
        self._phase = _COMMANDS
        self._trailing = -1
        self._status = -1
        self._sync.lose()

    # Ends

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        if self.upgraded is None:
            self._lose(direction, out, desync=False)
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``. A result may stream for long: a close or a turn ends it."""
        return []

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        if self.client >= 0 and self._lost[1 - self.client] and not error:
            self._settle_lost(out)
        self._outstanding.clear()
        self._statements.clear()
        return out


PROTOCOL = Descriptor(name="mysql", number=60, parser=MysqlParser, pairs=True)
