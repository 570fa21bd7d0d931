"""PostgreSQL's protocol, version 3, seen from outside.

A call is a simple query, or an Execute with what prepares it (Parse, Bind, Describe). Texts of
prepared statements are remembered by their names. Answers come in order: each Execute ends with
CommandComplete or its kin, each query and each Sync with ReadyForQuery; behind an error the
server skips all up to the next Sync.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from .base import REQUEST, RESPONSE, Message
from .database import ALWAYS, DONE, UNLESS_FAILED, DbRequest, DbResponse
from .descriptor import Descriptor
from .postgresql_frames import BAD, MESSAGE, Frames
from .sql import Sql, sanitize
from .sync import JOINED, SYNCED, Sync

SYSTEM = "postgresql"
MAX_OUTSTANDING = 4096
MAX_STATEMENTS = 256
"""Statements and portals remembered on a connection; the oldest are forgotten."""
_UNKNOWN = Sql("", "", "", "", 0)
_READY = b"Z\0\0\0\5"

_QUERY, _EXECUTE, _SYNC, _START, _FLUSH = range(5)
_WITHIN = (_EXECUTE, _FLUSH)
"""Those that end without ReadyForQuery."""


class Call(Message):
    """Something that the server answers.

    Attributes:
        part: what it is. _SYNC: ReadyForQuery alone, of preparations without an Execute where
            it has a head. _FLUSH: preparations whose answers the client asks for at once.
        answer: the response, once it has begun.
        failure: SQLSTATE of it.
        due: answers that are still to come to a _FLUSH.
    """

    __slots__ = ("began", "due", "failure", "part")

    def __init__(self, part: int, direction: int, start: int, token: Any, offset: int) -> None:
        super().__init__(REQUEST, direction, start, token, offset, None)
        self.part = part
        self.failure = ""
        self.due = 0
        self.began: tuple[int, Any, int] | None = None


class PostgresqlParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: ``MAX_OUTSTANDING`` calls, ``MAX_STATEMENTS`` statements without literals.
    """

    __slots__ = (
        "_aborted",
        "_answers",
        "_database",
        "_due",
        "_failure",
        "_group",
        "_last_answer",
        "_lost",
        "_outstanding",
        "_parsed",
        "_portals",
        "_requests",
        "_serial",
        "_ssl",
        "_statements",
        "_sync",
        "client",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._sync = Sync()
        self._requests = Frames(client=True)
        self._answers = Frames(client=False)
        self._outstanding: deque[Call] = deque()
        self._statements: OrderedDict[bytes, Sql] = OrderedDict()
        self._portals: OrderedDict[bytes, Sql] = OrderedDict()
        self._group: Message | None = None
        """The first message of a call whose Execute has not come."""
        self._parsed: Sql | None = None
        self._due = 0  # answers to the group so far
        self._aborted = False  # the server skips all up to a Sync that has not been sent
        self._failure = ""  # of the group
        self._lost = [False, False]
        self._serial = 0
        self._ssl = False
        self._database = ""
        self._last_answer: tuple[int, Any] = (0, None)

    @property
    def in_step(self) -> bool:
        """See ``PairingParser``."""
        return self._sync.state == SYNCED

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return self.client >= 0 and self._lost[1 - self.client] and bool(self._outstanding)

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        self._sync.begin(fresh)
        self._requests.startup = fresh

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
        else:
            self._told(direction, data, length, ts, end_ts, token, tail, out)
        self._sync.last = end_ts
        return out

    # What the client says

    def _asked(
        self, direction: int, data: bytes, length: int, ts: int, token: Any, out: list[Message]
    ) -> None:
        frames = self._requests
        size = len(data)
        if self._sync.state != SYNCED and data[:1] == b"\0" and not frames.inside:
            self._sync.begin(True)  # a connection's start looks like nothing else
            frames.startup = True
        elif frames.startup and data and data[:1] != b"\0" and not frames.inside:
            frames.startup = False
        if not frames.inside or self._lost[direction]:
            self._run(data, ts, out)
            if self._sync.state == JOINED or self._lost[direction]:
                return
        at = 0
        while at < size:
            at, outcome = frames.feed(data, at, ts, token)
            if outcome == MESSAGE:
                self._request(direction, ts, token, out)
                if self.upgraded is not None:
                    return
            elif outcome == BAD:
                self._lose(direction, out)
                return
        if length > size:
            outcome = frames.skip(length - size) if frames.inside else BAD
            if outcome == MESSAGE:
                self._request(direction, ts, token, out)
            elif outcome == BAD:
                # Copied data, mostly: the next call shows where messages begin again.
                self._lost[direction] = True
                frames.reset()
                self._group = None

    def _run(self, data: bytes, ts: int, out: list[Message]) -> None:
        """Requests come where one can begin."""
        client = self.client
        begins = data[:1] in (b"Q", b"P", b"B", b"F", b"E", b"S", b"C", b"D", b"X")
        if self._sync.state == SYNCED:
            if self._lost[1 - client] and begins:
                self._settle_lost(out)
            if self._lost[client] and begins and not self._outstanding:
                self._lost[client] = False
            return
        if self._sync.asks(begins, ts, bool(self._outstanding)):
            self._lost = [False, False]
            self._outstanding.clear()
            self._requests.reset()
            self._answers.reset()
            self._group = None
            self._due = 0
            self._aborted = False
            self._failure = ""

    def _request(self, direction: int, ts: int, token: Any, out: list[Message]) -> None:
        frames = self._requests
        kind = frames.kind
        if kind == 0:
            self._startup(direction, frames, token, out)
            return
        if kind in b"PBDCEF":
            if self._group is None:
                self._group = Message(
                    REQUEST, direction, frames.start, frames.token, frames.offset, None
                )
            self._group.length += frames.length
            self._due += 1
        if kind == 80:  # Parse
            name, text = _name(frames.body)
            query = text[: text.find(b"\0")] if b"\0" in text else text
            self._parsed = sanitize(query)
            _remember(self._statements, name, self._parsed)
        elif kind == 66:  # Bind
            portal, rest = _name(frames.body)
            statement = _name(rest)[0]
            _remember(self._portals, portal, self._statements.get(statement, _UNKNOWN))
        elif kind == 69:  # Execute
            sql = self._portals.get(_name(frames.body)[0], _UNKNOWN)
            self._call(_EXECUTE, sql, token, out)
        elif kind == 83:  # Sync
            self._end_group(frames, direction, token, out)
            self._aborted = False
            self._failure = ""
        elif kind == 72 and self._group is not None:  # Flush
            self._prepared(_FLUSH, frames, token, out)
        elif kind == 81:  # Query
            self._group = Message(
                REQUEST, direction, frames.start, frames.token, frames.offset, None
            )
            self._group.length = frames.length
            self._call(_QUERY, sanitize(frames.body.partition(b"\0")[0]), token, out)
        elif kind == 70:  # FunctionCall
            self._call(_QUERY, Sql("", "CALL", "CALL", "", 1), token, out)
        elif kind == 67 and frames.body[:1] == b"S":
            self._statements.pop(_name(frames.body[1:])[0], None)

    def _call(self, part: int, sql: Sql, token: Any, out: list[Message]) -> None:
        head = DbRequest(
            SYSTEM,
            sql.operation,
            sql.text,
            sql.summary,
            sql.collection,
            self._database,
            sql.procedure,
            0,
            sql.statements if sql.statements > 1 else 0,
        )
        self._add(part, head, token, out)

    def _end_group(self, frames: Frames, direction: int, token: Any, out: list[Message]) -> None:
        """Sync: ReadyForQuery will come; preparations without an Execute are a call, too."""
        if self._group is None:
            call = Call(_SYNC, direction, frames.start, frames.token, frames.offset)
            self._push(call, out)
        else:
            self._prepared(_SYNC, frames, token, out)

    def _prepared(self, part: int, frames: Frames, token: Any, out: list[Message]) -> None:
        """Preparations without an Execute are a call of the client's own."""
        assert self._group is not None
        sql = self._parsed or _UNKNOWN
        head = DbRequest(
            SYSTEM,
            "PREPARE" if self._parsed else "",
            sql.text,
            f"PREPARE {sql.summary}".strip() if self._parsed else "",
            sql.collection,
            self._database,
            "",
            UNLESS_FAILED,
        )
        self._group.length += frames.length
        self._add(part, head, token, out)

    def _add(self, part: int, head: DbRequest, token: Any, out: list[Message]) -> None:
        group, self._group, self._parsed = self._group, None, None
        assert group is not None
        call = Call(part, group.direction, group.start, group.token, group.offset)
        call.length = group.length
        call.head = head
        call.last_token = token
        call.complete = True
        call.truncated = self._requests.truncated
        call.due, self._due = self._due, 0
        if self._aborted and part in _WITHIN:
            call.failure = self._failure or "pipeline_aborted"
        elif part == _SYNC:
            call.failure = self._failure
        self._failure = ""
        self._push(call, out)

    def _push(self, call: Call, out: list[Message]) -> None:
        if self._sync.state == SYNCED and call.head is not None:
            self._serial += 1
            call.stream = self._serial
            out.append(call)
        if len(self._outstanding) >= MAX_OUTSTANDING:
            self._lose(1 - self.client, out)
            return
        self._outstanding.append(call)

    def _startup(self, direction: int, frames: Frames, token: Any, out: list[Message]) -> None:
        body = frames.body
        code = int.from_bytes(body[:4], "big")
        if code in (80877103, 80877104):  # SSLRequest, GSSENCRequest: a start follows
            self._ssl = True
            return
        head = DbRequest(SYSTEM, "CONNECT", "", "CONNECT", "", "", "", UNLESS_FAILED)
        self._group = Message(REQUEST, direction, frames.start, frames.token, frames.offset, None)
        self._group.length = frames.length
        if code == 80877102:
            head = DbRequest(SYSTEM, "CANCEL", "", "CANCEL", chatter=ALWAYS)
            self.upgraded = "cancel"
        else:
            frames.startup = False
            fields = body[4:].split(b"\0")
            named = dict(zip(fields[::2], fields[1::2], strict=False))
            database = named.get(b"database") or named.get(b"user") or b""
            self._database = head.namespace = database[:64].decode("utf-8", "replace")
            if b"replication" in named and named[b"replication"] not in (b"false", b"off", b"0"):
                self.upgraded = "replication"
        self._add(_START, head, token, out)
        if self.upgraded is not None:
            out[-1].oneway = True

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
        if self._ssl:
            self._ssl = False
            if length == 1:
                if data != b"N":
                    self.upgraded = "tls" if data == b"S" else "gss"
                return
        if self._sync.state == JOINED:
            return
        self._last_answer = (end_ts, token)
        if self._lost[direction]:
            self._lost_answer(data, length, end_ts, token, tail, out)
            return
        frames = self._answers
        size = len(data)
        at = 0
        while at < size:
            at, outcome = frames.feed(data, at, ts, token)
            if outcome == MESSAGE:
                self._answer(end_ts, token, out)
                if self.upgraded is not None or self._sync.state == JOINED:
                    return
            elif outcome == BAD:
                self._lose(direction, out)
                return
        if length > size:
            outcome = frames.skip(length - size) if frames.inside else BAD
            if outcome == MESSAGE:
                self._answer(end_ts, token, out)
            elif outcome == BAD:
                self._start_answer()
                frames.reset()
                self._lost[direction] = True
                self._lost_answer(b"", length - size, end_ts, token, tail, out)

    def _start_answer(self) -> None:
        if self._outstanding and self._outstanding[0].began is None:
            frames = self._answers
            self._outstanding[0].began = (frames.start, frames.token, frames.offset)

    def _answer(self, end_ts: int, token: Any, out: list[Message]) -> None:
        """A message of the server's is whole."""
        frames = self._answers
        kind = frames.kind
        outstanding = self._outstanding
        if kind in b"ANSKRv" or not outstanding:
            # Told without being asked; or of a request that nobody saw.
            # A server that shuts down says so in an error; a Sync may be among copied data.
            prepares = self._group is not None  # its answers may come before it is whole
            if not outstanding and kind in b"ZCDT" and not self._lost[self.client]:
                if kind != 84 or not prepares:
                    self._extra()
            elif kind == 69 and prepares and not outstanding:
                self._failure = _sqlstate(frames.body)
                self._aborted = True
            return
        front = outstanding[0]
        if front.began is None:
            front.began = (frames.start, frames.token, frames.offset)
        if kind == 90:  # ReadyForQuery
            self._ready(end_ts, token, out)
        elif kind == 69:  # ErrorResponse
            front.failure = _sqlstate(frames.body)
            if front.part in _WITHIN or front.part == _START:
                outstanding.popleft()
                self._reply(front, end_ts, token, out)
                if front.part != _START:
                    self._fail_group(end_ts, token, out)
        elif front.part == _FLUSH and kind in b"123Tn":
            front.due -= 1
            if front.due <= 0:
                outstanding.popleft()
                self._reply(front, end_ts, token, out)
        elif kind in b"CIs" and front.part == _EXECUTE:
            outstanding.popleft()
            self._reply(front, end_ts, token, out)
        elif kind == 87:  # CopyBoth: replication
            self.upgraded = "replication"

    def _fail_group(self, end_ts: int, token: Any, out: list[Message]) -> None:
        """What the server skips up to the next Sync."""
        outstanding = self._outstanding
        while outstanding and outstanding[0].part in _WITHIN:
            call = outstanding.popleft()
            call.failure = "pipeline_aborted"
            self._reply(call, end_ts, token, out)
        self._aborted = not outstanding

    def _ready(self, end_ts: int, token: Any, out: list[Message]) -> None:
        outstanding = self._outstanding
        while outstanding:
            call = outstanding.popleft()
            self._reply(call, end_ts, token, out)
            if call.part not in _WITHIN:
                return

    def _reply(
        self, call: Call, end_ts: int, token: Any, out: list[Message], truncated: bool = False
    ) -> None:
        if not call.stream:
            return
        head = DONE
        if call.failure:
            code = "" if call.failure in ("_OTHER", "pipeline_aborted") else call.failure
            head = DbResponse(code, call.failure)
        ts, first, offset = call.began or (end_ts, token, 0)
        message = Message(RESPONSE, 1 - self.client, ts, first, offset, head)
        message.stream = call.stream
        message.end = end_ts
        message.last_token = token
        message.complete = True
        message.truncated = truncated
        out.append(message)

    def _lost_answer(
        self, data: bytes, length: int, end_ts: int, token: Any, tail: bytes, out: list[Message]
    ) -> None:
        """Rows whose lengths were not captured: a segment's end shows ReadyForQuery."""
        seen = tail or (data[-8:] if len(data) == length else b"")
        if len(seen) >= 6 and seen[-6:-1] == _READY and seen[-1] in b"ITE":
            self._settle_lost(out)

    def _settle_lost(self, out: list[Message]) -> None:
        """All answers have come, of which not all was seen."""
        end_ts, token = self._last_answer
        direction = 1 - self.client
        outstanding = self._outstanding
        ends = sum(1 for call in outstanding if call.part not in _WITHIN)
        if ends > 1:
            self._lose(direction, out, desync=False)
            return
        while outstanding:
            self._reply(outstanding.popleft(), end_ts, token, out, truncated=True)
        self._answers.reset()
        self._lost[direction] = False

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
        self._requests.startup = False
        self._answers.reset()
        self._group = None
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
        self._portals.clear()
        return out


def _name(body: bytes) -> tuple[bytes, bytes]:
    """A text that ends with NUL, and what follows it."""
    name, _, rest = body.partition(b"\0")
    return name[:128], rest


def _remember(table: OrderedDict[bytes, Sql], name: bytes, sql: Sql) -> None:
    table[name] = sql
    table.move_to_end(name)
    if len(table) > MAX_STATEMENTS:
        table.popitem(last=False)


def _sqlstate(body: bytes) -> str:
    """The code of an ErrorResponse; ``_OTHER`` where it was not captured."""
    for field in body.split(b"\0"):
        if field[:1] == b"C" and len(field) == 6 and field[1:].isalnum():
            return field[1:].decode("ascii", "replace").upper()
    return "_OTHER"


PROTOCOL = Descriptor(name="postgresql", number=61, parser=PostgresqlParser, pairs=True)
