"""The protocol of MySQL and MariaDB, seen from outside.

The server speaks first. A call is a command, in a packet with the number 0, and its answer's
packets count on from there; one command follows the other's answer, or is sent before it.
Texts of prepared statements are remembered by the numbers that the server gives them.
"""

from __future__ import annotations

from typing import Any

from .base import COMPRESSED, REQUEST, TLS, Message
from .database import DONE, DbRequest, DbResponse
from .descriptor import Descriptor
from .half import BAD, UNIT, Half
from .in_order import InOrder
from .mysql_answers import FILE, GOES_ON, LOGIN, RESULTS, WRONG, Answer, ends
from .mysql_login import CLIENT_COMPRESS, CLIENT_ZSTD, read_greeting, read_login, wants_tls
from .mysql_packets import FULL, HEADER, Packets
from .mysql_query import KEEP
from .mysql_session import (
    BULK,
    CHANGE_USER,
    CLOSE,
    DUMP,
    DUMP_GTID,
    KINDS,
    LAST,
    LONG_DATA,
    PREPARE,
    QUIT,
    RESET_CONNECTION,
    Session,
)
from .sql import Sql
from .sync import JOINED

_ANSWER_KEEP = 160
_TAIL = 11
"""Bytes of a segment's end that show the end of rows."""
_GREETS, _LOGS_IN, _COMMANDS, _SENDS_FILE = range(4)
"""Phases. GREETS: nothing has been said."""
_UNHEARD = (_LOGS_IN, _SENDS_FILE)
"""What clients send in these is not looked at."""


class Call(Message):
    """A command.

    Attributes:
        answer: what has come of its answer.
        number: of the packet that comes next in it, or -1.
        database: what the connection turns to where it succeeds; sql: what it prepares.
    """

    __slots__ = ("answer", "database", "number", "sql")

    def __init__(self, packet: Packets, direction: int, head: DbRequest, answer: Answer) -> None:
        super().__init__(REQUEST, direction, packet.start, packet.token, packet.offset, head)
        self.length = HEADER + packet.size
        self.complete = True
        self.truncated = packet.truncated
        self.answer = answer
        self.number = (packet.last + 1) & 0xFF
        self.database: str | None = None
        self.sql: Sql | None = None


class MysqlParser(InOrder[Call]):
    """One connection.

    Memory is bounded: the calls that wait, ``MAX_STATEMENTS`` statements without literals.
    """

    __slots__ = ("_eof", "_phase", "_session", "_tail", "_trailing")

    _requests: Packets
    _replies: Packets

    def __init__(self) -> None:
        super().__init__(Packets(KEEP), Packets(_ANSWER_KEEP))
        self._session = Session()
        self._eof: bool | None = None
        """Definitions end with a packet of their own; None: not known."""
        self._tail = b""
        self._trailing = -1
        """Number of a packet that may follow an answer which is over."""
        self._turn(_GREETS)

    def _turn(self, phase: int) -> None:
        self._phase = phase
        self._guard_requests = phase != _COMMANDS

    def follow(self, before: MysqlParser) -> None:
        """Within TLS the connection goes on behind the greeting that ``before`` has read."""
        self._session.follow(before._session)

    # Segments

    def _begins(self, data: bytes) -> bool:
        return data[3:4] == b"\0" and (data[4:5] <= b"\x1f" or data[4] == BULK)

    def _may_ask(self, data: bytes, ts: int) -> bool:
        if self._phase in _UNHEARD:
            return False
        if self._phase == _GREETS:
            if not self._begins(data):
                return not self._requests.lost
            self._turn(_COMMANDS)  # the connection's start was not seen
            self._sync.begin(False)
        return super()._may_ask(data, ts)

    def _may_answer(self, data: bytes, length: int, tail: bytes) -> bool:
        if self._phase == _GREETS and self._sync.state == JOINED:
            return not self._replies.lost
        return super()._may_answer(data, length, tail)

    def _read(self, half: Half, data: bytes, length: int, ts: int, token: Any, tail: bytes) -> None:
        """As ``InOrder``, but whole rows are passed over together, and what is said while a
        client logs in or sends a file is not read."""
        asks = half is self._requests
        at, size = 0, len(data)
        while at < size:
            if not (asks or half.inside or not self._outstanding):
                at = self._rows(self._outstanding[0], data, at)
                if at == size:
                    break
            at, outcome = half.feed(data, at, ts, token)
            if outcome == UNIT:
                if asks:
                    self._request()
                else:
                    self._reply()
                if self.upgraded is not None or self._sync.state == JOINED:
                    return
                if asks and self._phase in _UNHEARD:
                    return
            elif outcome == BAD:
                self._lose(half)
                return
        if length > size:
            outcome = half.skip(length - size)
            if outcome == UNIT:
                if asks:
                    self._request()
                else:
                    self._reply()
            elif outcome == BAD:
                self._torn(half, length - size, tail)

    @staticmethod
    def _rows(call: Call, data: bytes, at: int) -> int:
        """Passes over whole rows; the place of what is none, or not whole."""
        if not call.answer.rows:
            return at
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

    # What the client says

    def _request(self) -> None:
        packet = self._requests
        if self._phase == _GREETS:
            self._logs_in(packet)
            return
        body = packet.body
        if packet.number or not body:
            self._lose(packet)
            return
        command = body[0]
        if command in (QUIT, LONG_DATA):
            return
        if command == CLOSE:
            self._session.statements.pop(int.from_bytes(body[1:5], "little"), None)
        elif command in (DUMP, DUMP_GTID):
            self.upgraded = "replication"
        elif command > LAST and command != BULK:
            self._lose(packet)
        else:
            self._call(packet, command)

    def _call(self, packet: Packets, command: int) -> None:
        """A command that has an answer."""
        session = self._session
        answer = Answer(KINDS.get(command, RESULTS), session.capabilities, self._eof)
        head, sql, database = session.describe(command, packet.body)
        call = Call(packet, self.client, head, answer)
        call.database = database
        if command == PREPARE:
            call.sql = sql
        elif command == CHANGE_USER:
            self._turn(_LOGS_IN)
            call.number = -1
        elif command == RESET_CONNECTION:
            session.statements.clear()
        self._ask(call)

    def _logs_in(self, packet: Packets) -> None:
        body = packet.body
        if packet.number in (1, 2) and wants_tls(body):
            self.upgraded = TLS
            return
        login = read_login(body) if packet.number in (1, 2) else None
        if login is None:
            self._turn(_COMMANDS)
            self._sync.begin(False)
            packet.reset()
            return
        self._sync.begin(True)  # a connection's start looks like nothing else
        self._turn(_LOGS_IN)
        session = self._session
        session.agree(login)
        head = session.login(login.database)
        call = Call(packet, self.client, head, Answer(LOGIN, session.capabilities, None))
        call.database = login.database
        call.number = -1
        self._ask(call)

    # What the server says

    def _greeted(self, packet: Packets) -> None:
        greeting = read_greeting(packet.body) if packet.number == 0 else None
        if greeting is not None:
            self._sync.begin(True)
            self._session.greeted(greeting)
        elif packet.body[:1] != b"\xff":
            # "Too many connections", and the like, are errors; the start was not seen.
            self._turn(_COMMANDS)
            self._sync.begin(False)

    def _reply(self) -> None:
        packet = self._replies
        if self._phase == _GREETS:
            self._greeted(packet)
            return
        trailing = self._trailing
        if not self._outstanding:
            self._trailing = -1
            if packet.number == trailing and packet.body[:1] == b"\xfe" and packet.size == 5:
                self._eof = True
            elif packet.body[:1] != b"\xff":  # a server that shuts down says so
                self._extra()
            return
        call = self._outstanding[0]
        number = packet.number
        if number == trailing and self._began is None and number != call.number:
            self._trailing = -1
            self._eof = True
            return
        if call.number >= 0:
            if number != call.number:
                self._lose(packet)
                return
            call.number = (packet.last + 1) & 0xFF
        if self._began is None:
            self._note_start()
        answer = call.answer
        outcome = answer.take(packet)
        if outcome == GOES_ON:
            return
        if outcome == WRONG:
            self._lose(packet)
        elif outcome == FILE:
            self._turn(_SENDS_FILE)
            self._requests.reset()
            call.number = -1
        else:
            self._trailing = (packet.last + 1) & 0xFF if answer.trailing else -1
            self._over(self._outstanding.popleft())

    def _over(self, call: Call, truncated: bool = False) -> None:
        """Its answer has come: what it changes, and what is told of it."""
        answer, session = call.answer, self._session
        if answer.eof is not None:
            self._eof = answer.eof
        session.learn(answer, call.sql, call.database)
        if self._phase in _UNHEARD:
            if self._phase == _LOGS_IN and not answer.code:
                session.statements.clear()
                if session.capabilities & (CLIENT_COMPRESS | CLIENT_ZSTD):
                    self.upgraded = COMPRESSED
            self._turn(_COMMANDS)
            self._requests.reset()
        head = DONE
        if answer.code:
            code = "" if answer.code == "_OTHER" else answer.code
            said = f"SQLSTATE {answer.sqlstate}" if answer.sqlstate else ""
            head = DbResponse(code, answer.code, said)
        self._answer(call, head, truncated)

    # Losses

    def _torn(self, half: Half, missing: int, tail: bytes) -> None:
        if half is self._requests:
            # The next command shows where packets begin again.
            if self._requests.size >= FULL:
                self._requests.truncated = True
                self._request()
                if self._outstanding:
                    self._outstanding[-1].number = -1
        elif self._outstanding:
            self._note_start()
        half.reset()
        half.lost = True
        if half is self._replies:
            self._tail = b""
            self._follow(b"", missing, tail)

    def _follow(self, data: bytes, length: int, tail: bytes) -> None:
        """Rows whose lengths were not captured: a segment's end shows theirs."""
        seen = tail or (data[-_TAIL:] if len(data) == length else b"")
        self._tail = (self._tail + seen)[-_TAIL:] if len(seen) == length else seen[-_TAIL:]
        if self._outstanding and ends(self._tail, self._outstanding[0].answer.eof):
            self._settle_lost()

    def _end(self, call: Call) -> None:
        self._tail = b""
        self._over(call, truncated=True)

    def _lose(self, half: Half, desync: bool = True) -> None:
        super()._lose(half, desync)
        self._turn(_COMMANDS)
        self._trailing = -1
        self._session.status = -1


PROTOCOL = Descriptor(name="mysql", number=60, parser=MysqlParser, pairs=True)
