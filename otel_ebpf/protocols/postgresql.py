"""PostgreSQL's protocol, version 3, seen from outside.

A call is a simple query, or an Execute with what prepares it (Parse, Bind, Describe). Texts of
prepared statements are remembered by their names. Answers come in order: each Execute ends with
CommandComplete or its kin, each query and each Sync with ReadyForQuery; behind an error the
server skips all up to the next Sync.
"""

from __future__ import annotations

from .base import REQUEST, TLS, Message
from .database import ALWAYS, DONE, UNLESS_FAILED, DbRequest, DbResponse
from .descriptor import Descriptor
from .half import Half
from .in_order import InOrder, Place
from .postgresql_frames import Frames
from .postgresql_start import begins_connection, read_start
from .postgresql_statements import UNKNOWN, Statements
from .sql import Sql, sanitize
from .sync import SYNCED

SYSTEM = "postgresql"
_READY = b"Z\0\0\0\5"
_STATES = b"ITE"
_BEGINNINGS = tuple(bytes((kind,)) for kind in b"QPBFESCDX")
_PARTS = b"PBDCEF"
"""Types of messages that belong to a call of several."""
_UNASKED = b"ANSKRv"
"""Types of the server's messages that answer nothing."""

_QUERY, _EXECUTE, _SYNC, _START, _FLUSH = range(5)
_WITHIN = (_EXECUTE, _FLUSH)
"""Those that end without ReadyForQuery."""
_ABORTED, _OTHER = "pipeline_aborted", "_OTHER"


class Call(Message):
    """Something that the server answers.

    Attributes:
        part: what it is. _SYNC: ReadyForQuery alone, of preparations without an Execute where
            it has a head. _FLUSH: preparations whose answers the client asks for at once.
        failure: SQLSTATE of its answer, or ``pipeline_aborted``; else "".
        due: answers that are still to come to a _FLUSH.
    """

    __slots__ = ("due", "failure", "part")

    def __init__(self, part: int, direction: int, place: Place, head: DbRequest | None) -> None:
        super().__init__(REQUEST, direction, place.start, place.token, place.offset, head)
        self.complete = True
        self.part = part
        self.failure = ""
        self.due = 0


class PostgresqlParser(InOrder[Call]):
    """One connection.

    Memory is bounded: the calls that wait, and ``MAX_STATEMENTS`` statements without literals.
    """

    __slots__ = (
        *("_aborted", "_database", "_due", "_failure", "_group"),
        *("_parsed", "_statements"),
    )

    _requests: Frames
    _replies: Frames

    def __init__(self) -> None:
        super().__init__(Frames(client=True), Frames(client=False))
        self._statements = Statements()
        self._group: Message | None = None
        """The first message of a call whose Execute has not come."""
        self._parsed: Sql | None = None
        self._due = 0
        """Answers to the group so far."""
        self._aborted = False
        """The server skips all up to a Sync that has not been sent."""
        self._failure = ""
        """SQLSTATE of the group."""
        self._database = ""

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        super().begin(client, fresh)
        self._expect_start(fresh)

    def _expect_start(self, startup: bool) -> None:
        self._requests.startup = self._guard_requests = startup

    # What the client says

    def _begins(self, data: bytes) -> bool:
        return data[:1] in _BEGINNINGS

    def _may_ask(self, data: bytes, ts: int) -> bool:
        if self._sync.state != SYNCED and begins_connection(data):
            self._sync.begin(True)
            self._requests.lost = self._replies.lost = False
            self._restart()
            self._expect_start(True)
        elif self._requests.startup and data and data[:1] != b"\0":
            self._expect_start(False)
        return super()._may_ask(data, ts)

    def _request(self) -> None:
        frames = self._requests
        kind, body = frames.kind, frames.body
        if kind == 0:
            self._started(frames)
            return
        if kind in _PARTS:
            if self._group is None:
                self._open_group(frames)
            else:
                self._group.length += frames.length
            self._due += 1
        if kind == 80:  # Parse
            self._parsed = self._statements.parse(body)
        elif kind == 66:  # Bind
            self._statements.bind(body)
        elif kind == 69:  # Execute
            self._call(_EXECUTE, self._statements.execute(body))
        elif kind == 83:  # Sync: ReadyForQuery will come
            if self._group is None:
                self._ask(Call(_SYNC, self.client, frames, None))
            else:
                self._prepared(_SYNC)
            self._aborted = False
            self._failure = ""
        elif kind == 72 and self._group is not None:  # Flush
            self._prepared(_FLUSH)
        elif kind == 81:  # Query
            self._open_group(frames)
            self._call(_QUERY, sanitize(body.partition(b"\0")[0]))
        elif kind == 70:  # FunctionCall
            self._call(_QUERY, Sql("", "CALL", "CALL", "", 1))
        elif kind == 67:  # Close
            self._statements.close(body)

    def _open_group(self, frames: Frames) -> None:
        group = Message(REQUEST, self.client, frames.start, frames.token, frames.offset, None)
        group.length = frames.length
        self._group = group

    def _call(self, part: int, sql: Sql) -> None:
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
        self._ask(self._grouped(part, head))

    def _prepared(self, part: int) -> None:
        """Preparations without an Execute are a call of the client's own."""
        assert self._group is not None
        sql = self._parsed or UNKNOWN
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
        self._group.length += self._requests.length
        self._ask(self._grouped(part, head))

    def _grouped(self, part: int, head: DbRequest) -> Call:
        """The group is whole: a call."""
        group, self._group, self._parsed = self._group, None, None
        assert group is not None
        call = Call(part, group.direction, group, head)
        call.length = group.length
        call.truncated = self._requests.truncated
        call.due, self._due = self._due, 0
        if self._aborted and part in _WITHIN:
            call.failure = self._failure or _ABORTED
        elif part == _SYNC:
            call.failure = self._failure
        self._failure = ""
        return call

    def _started(self, frames: Frames) -> None:
        """The message that begins a connection."""
        start = read_start(frames.body)
        if start.encrypts:
            self._guard_replies = True
            return
        if start.cancels:
            head = DbRequest(SYSTEM, "CANCEL", "", "CANCEL", chatter=ALWAYS)
            self.upgraded = "cancel"
        else:
            self._database = start.database
            head = DbRequest(
                SYSTEM, "CONNECT", "", "CONNECT", "", start.database, "", UNLESS_FAILED
            )
            self._expect_start(False)
            if start.replicates:
                self.upgraded = "replication"
        self._open_group(frames)
        call = self._grouped(_START, head)
        call.oneway = self.upgraded is not None
        self._ask(call)

    # What the server says

    def _may_answer(self, data: bytes, length: int, tail: bytes) -> bool:
        if self._guard_replies:  # a byte that says whether the server encrypts
            self._guard_replies = False
            if length == 1:
                if data != b"N":
                    self.upgraded = TLS if data == b"S" else "gss"
                return False
        return super()._may_answer(data, length, tail)

    def _reply(self) -> None:
        frames = self._replies
        kind = frames.kind
        outstanding = self._outstanding
        if kind in _UNASKED or not outstanding:
            if not outstanding:
                self._unasked(kind, frames.body)
            return
        front = outstanding[0]
        self._note_start()
        if kind == 90:  # ReadyForQuery
            self._ready()
        elif kind == 69:  # ErrorResponse
            front.failure = _sqlstate(frames.body)
            if front.part in _WITHIN or front.part == _START:
                self._over(outstanding.popleft())
                if front.part != _START:
                    self._fail_group()
        elif front.part == _FLUSH and kind in b"123Tn":
            front.due -= 1
            if front.due <= 0:
                self._over(outstanding.popleft())
        elif kind in b"CIs" and front.part == _EXECUTE:
            self._over(outstanding.popleft())
        elif kind == 87:  # CopyBoth
            self.upgraded = "replication"

    def _unasked(self, kind: int, body: bytes) -> None:
        """Told without being asked; or of a request that nobody saw. A server that shuts down says
        so in an error; a Sync may be among copied data."""
        prepares = self._group is not None  # its answers may come before it is whole
        if kind in b"ZCDT" and not self._requests.lost:
            if kind != 84 or not prepares:
                self._extra()
        elif kind == 69 and prepares:
            self._failure = _sqlstate(body)
            self._aborted = True

    def _fail_group(self) -> None:
        """What the server skips up to the next Sync."""
        outstanding = self._outstanding
        while outstanding and outstanding[0].part in _WITHIN:
            call = outstanding.popleft()
            call.failure = _ABORTED
            self._over(call)
        self._aborted = not outstanding

    def _ready(self) -> None:
        outstanding = self._outstanding
        while outstanding:
            call = outstanding.popleft()
            self._over(call)
            if call.part not in _WITHIN:
                return

    def _over(self, call: Call, truncated: bool = False) -> None:
        """The answer has ended."""
        head = DONE
        if call.failure:
            code = "" if call.failure in (_OTHER, _ABORTED) else call.failure
            head = DbResponse(code, call.failure)
        self._answer(call, head, truncated)

    # Losses

    def _torn(self, half: Half, missing: int, tail: bytes) -> None:
        if half is self._requests:
            # Copied data, mostly: the next call shows where messages begin again.
            self._group = None
        elif self._outstanding:
            self._note_start()
        half.reset()
        half.lost = True
        if half is self._replies:
            self._follow(b"", missing, tail)

    def _follow(self, data: bytes, length: int, tail: bytes) -> None:
        """Rows whose lengths were not captured: a segment's end shows ReadyForQuery."""
        seen = tail or (data[-8:] if len(data) == length else b"")
        if len(seen) >= 6 and seen[-6:-1] == _READY and seen[-1] in _STATES:
            self._settle_lost()

    def _settle_lost(self) -> None:
        """All answers have come, of which not all was seen."""
        outstanding = self._outstanding
        if sum(1 for call in outstanding if call.part not in _WITHIN) > 1:
            self._lose(self._replies, desync=False)
            return
        while outstanding:
            self._over(outstanding.popleft(), truncated=True)
        self._replies.reset()
        self._replies.lost = False

    def _lose(self, half: Half, desync: bool = True) -> None:
        super()._lose(half, desync)
        self._expect_start(False)

    def _forget(self) -> None:
        super()._forget()
        self._group = None
        self._due = 0
        self._aborted = False
        self._failure = ""


def _sqlstate(body: bytes) -> str:
    """The code of an ErrorResponse; ``_OTHER`` where it was not captured."""
    for field in body.split(b"\0"):
        if field[:1] == b"C" and len(field) == 6 and field[1:].isalnum():
            return field[1:].decode("ascii", "replace").upper()
    return _OTHER


PROTOCOL = Descriptor(name="postgresql", number=61, parser=PostgresqlParser, pairs=True)
