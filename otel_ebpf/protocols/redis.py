"""Redis, seen from outside: RESP2, RESP3 and inline commands.

Replies come in the order of commands, but not every reply is one: subscriptions and
client-side caching push, and ``CLIENT REPLY`` leaves replies out. All commands of a
connection pair by counting, so that one miscounted would give each of the following ones
another's reply. Where the count may be wrong (a connection joined midway, bytes that were not
seen) nothing is reported until it is right again for certain: see ``Sync``.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from .base import REQUEST, RESPONSE, Message
from .database import DONE, DbResponse
from .descriptor import Descriptor
from .redis_command import STREAMS, SUBSCRIBES, command_name, describe, error_prefix
from .redis_requests import BAD, COMMAND, Commands, whole_command
from .redis_values import VALUE, Values
from .sync import JOINED, SYNCED, Sync

MAX_OUTSTANDING = 4096
"""Most commands that wait for their replies; above it counting is given up."""

_PUSHED = frozenset(
    {b"message", b"pmessage", b"smessage", *(name.lower().encode() for name in SUBSCRIBES)}
)
_UNSUBSCRIBES = frozenset(name for name in SUBSCRIBES if "UN" in name)


class Command(Message):
    """A command that waits.

    Attributes:
        due: confirmations that it still gets (subscriptions), else 1.
        database: that it selects, or "".
    """

    __slots__ = ("database", "due")

    def __init__(self, direction: int, start: int, token: Any, offset: int, head: Any) -> None:
        super().__init__(REQUEST, direction, start, token, offset, head)
        self.due = 1
        self.database = ""


class RedisParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: a command's first arguments, cut, and ``MAX_OUTSTANDING`` commands.
    """

    __slots__ = (
        "_commands",
        "_database",
        "_lost",
        "_open",
        "_outstanding",
        "_pipelines",
        "_reply",
        "_reply_length",
        "_serial",
        "_silence",
        "_subscribed",
        "_sync",
        "_values",
        "client",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._sync = Sync()
        self._commands = Commands()
        self._values = Values()
        self._outstanding: deque[Command] = deque()
        self._open: Message | None = None
        """A reply whose end no framing shows."""
        self._reply: tuple[int, Any, int] = (0, None, 0)
        self._reply_length = 0
        self._lost = [False, False]
        """By direction: where the next value begins is not known."""
        self._serial = 0
        self._pipelines = False
        self._subscribed = False
        self._silence = 0  # 1: CLIENT REPLY OFF; 2: the next command has no reply
        self._database = ""

    @property
    def in_step(self) -> bool:
        """See ``PairingParser``."""
        return self._sync.state == SYNCED

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return self._open is not None

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        self._sync.begin(fresh)
        if fresh:
            self._database = "0"

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
        if self.upgraded is not None:
            return out
        if direction == self.client:
            self._requests(direction, data, length, ts, token, out)
            for message in out:
                if message.direction == direction:  # not a reply that is over by now
                    message.end = end_ts
        else:
            self._replies(direction, data, length, ts, end_ts, token, out)
        self._sync.last = end_ts
        return out

    # Commands

    def _requests(
        self, direction: int, data: bytes, length: int, ts: int, token: Any, out: list[Message]
    ) -> None:
        commands = self._commands
        size = len(data)
        if not commands.inside or self._lost[direction]:
            self._run(data[:1] == b"*", ts, out)
            if self._sync.state == JOINED or self._lost[direction]:
                return
        at = 0
        while at < size:
            if not commands.inside:
                whole = whole_command(data, at)
                if whole is not None:
                    args, total, end = whole
                    message = Command(direction, ts, token, at, None)
                    message.length = end - at
                    at = end
                    self._asked(message, args, total, token, out)
                    if self.upgraded is not None:
                        return
                    continue
                commands.begin(ts, token, at)
            at, outcome = commands.feed(data, at)
            if outcome == COMMAND:
                self._collected(direction, token, out)
                if self.upgraded is not None:
                    return
            elif outcome == BAD:
                self._lose(direction, out)
                return
        if length > size:
            outcome = commands.skip(length - size) if commands.inside else BAD
            if outcome == COMMAND:
                self._collected(direction, token, out)
            elif outcome == BAD:
                self._lose(direction, out, desync=False)

    def _collected(self, direction: int, token: Any, out: list[Message]) -> None:
        """A command that came in pieces is whole."""
        c = self._commands
        args, total = c.args, c.total
        message = Command(direction, c.start, c.token, c.offset, None)
        message.length = c.length
        c.reset()
        if args:
            self._asked(message, args, total, token, out)

    def _asked(
        self, message: Command, args: list[bytes], total: int, token: Any, out: list[Message]
    ) -> None:
        head = message.head = describe(args, total, self._database)
        message.last_token = token
        message.complete = True
        name = head.operation
        if name in STREAMS and name != "MONITOR":
            self._hand_off("replication", out)
            return
        if self._silence:
            if not (name == "CLIENT REPLY" and total > 2 and args[2].upper() == b"ON"):
                message.oneway = True
                if self._silence == 2:
                    self._silence = 0
            else:
                self._silence = 0
        if head.chatter or name in SUBSCRIBES:
            self._special(message, name, args, total)
        elif self._subscribed and name != "MONITOR":
            self._subscribed = False  # as a subscriber it could not ask for this
        if self._sync.state == SYNCED:
            self._serial += 1
            message.stream = self._serial
            out.append(message)
        if message.oneway:
            return
        outstanding = self._outstanding
        if outstanding:
            self._pipelines = True
            if len(outstanding) >= MAX_OUTSTANDING:
                self._lose(1 - self.client, out)
                return
        outstanding.append(message)

    def _special(self, message: Command, name: str, args: list[bytes], total: int) -> None:
        """Commands that change how replies come."""
        if name in SUBSCRIBES:
            self._subscribed = True
            message.due = max(1, total - 1)
        elif name == "CLIENT REPLY" and total > 2:
            way = args[2].upper()
            if way in (b"OFF", b"SKIP"):
                message.oneway = True
                self._silence = 1 if way == b"OFF" else 2
        elif name == "SELECT" and total > 1:
            number = args[1]
            message.database = number.decode() if number.isdigit() and len(number) < 8 else ""
            self._database = ""  # until it is confirmed
        elif name == "RESET":
            self._subscribed = False
            message.database = "0"

    def _run(self, begins: bool, ts: int, out: list[Message]) -> None:
        """Requests come where one can begin: what this tells of the replies before."""
        sync = self._sync
        if sync.state == SYNCED:
            if self._open is not None:
                self._conclude(out)
            return
        if sync.asks(begins, ts, bool(self._outstanding)):
            self._lost = [False, False]
            self._outstanding.clear()
            self._commands.reset()
            self._values.reset()

    # Replies

    def _replies(
        self,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        if self._open is not None:
            self._open.end = end_ts
            self._open.length += length
            self._open.last_token = token
            return
        if self._sync.state == JOINED or self._lost[direction]:
            return
        values = self._values
        size = len(data)
        at = 0
        while at < size:
            if not values.inside:
                self._reply = (ts, token, at)
                self._reply_length = 0
            began = at
            at, outcome = values.feed(data, at)
            self._reply_length += at - began
            if outcome == VALUE:
                self._answered(values.kind, values.first, end_ts, token, out)
                values.reset()
                if self.upgraded is not None or self._sync.state == JOINED:
                    return
            elif outcome == BAD:
                self._lose(direction, out)
                return
        if length > size:
            self._reply_length += length - size
            outcome = values.skip(length - size)
            if outcome == VALUE:
                self._answered(values.kind, values.first, end_ts, token, out)
                values.reset()
            elif outcome == BAD:
                self._cut(direction, end_ts, token, out)

    def _answered(
        self, kind: int, first: bytes, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        """A value has ended."""
        outstanding = self._outstanding
        if kind == 62 or (kind == 42 and self._subscribed):
            word = first.lower()
            if kind == 62 or word in _PUSHED:
                name = command_name(word)
                if name not in SUBSCRIBES or not outstanding:
                    return
                front = outstanding[0]
                if front.head.operation != name:
                    return
                front.due -= 1
                if front.due > 0:
                    return
        elif kind == 42 and first == b"REPLCONF":
            self._hand_off("replication", out)
            return
        if not outstanding:
            self._extra(out)
            return
        command = outstanding.popleft()
        head = DONE
        if kind == 45 or kind == 33:
            prefix = error_prefix(first)
            head = DbResponse(prefix, prefix or "_OTHER")
        elif command.database:
            self._database = command.database
        if command.head.operation == "MONITOR" and head is DONE:
            self._hand_off("monitor", out)
        if not command.stream:
            return
        ts, first_token, offset = self._reply
        message = Message(RESPONSE, 1 - self.client, ts, first_token, offset, head)
        message.stream = command.stream
        message.end = end_ts
        message.last_token = token
        message.length = self._reply_length
        message.complete = True
        out.append(message)

    def _extra(self, out: list[Message]) -> None:
        """A reply that nobody waits for: the count is wrong."""
        if self._sync.state == SYNCED:
            self.desyncs += 1
        self._sync.extra()

    def _cut(self, direction: int, end_ts: int, token: Any, out: list[Message]) -> None:
        """Bytes of replies were not captured, beyond the end of one string."""
        outstanding = self._outstanding
        if self._sync.state != SYNCED or not outstanding or not outstanding[0].stream:
            self._lose(direction, out, desync=False)
            return
        command = outstanding.popleft()
        kind = self._values.kind
        ts, first_token, offset = self._reply
        if not self._values.inside:
            ts, first_token, offset = end_ts, token, 0
        error = error_prefix(self._values.first) if kind == 45 else ""
        message = Message(
            RESPONSE,
            direction,
            ts,
            first_token,
            offset,
            DbResponse(error, error) if error else DONE,
        )
        message.stream = command.stream
        message.end = end_ts
        message.last_token = token
        message.length = self._reply_length
        message.truncated = True
        self._values.reset()
        if outstanding or self._pipelines:
            # How many more replies were in there nobody knows.
            message.complete = True
            out.append(message)
            self._lose(direction, out, desync=False)
        else:
            self._open = message
            out.append(message)

    def _conclude(self, out: list[Message]) -> None:
        message, self._open = self._open, None
        if message is not None:
            message.complete = True
            out.append(message)

    def _lose(self, direction: int, out: list[Message], desync: bool = True) -> None:
        """From here on it is not known which reply is whose."""
        if desync and self._sync.state == SYNCED:
            self.desyncs += 1
        self._lost[direction] = True
        self._conclude(out)
        told = set(map(id, out))
        for command in self._outstanding:
            if command.stream:
                command.error = "response_lost"
                if id(command) not in told:
                    out.append(command)
        self._outstanding.clear()
        self._sync.lose()
        self._silence = 0

    def _hand_off(self, what: str, out: list[Message]) -> None:
        """The connection carries no commands with replies any more."""
        self.upgraded = what
        self._conclude(out)

    # Ends

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        if self.upgraded is None:
            self._lose(direction, out, desync=False)
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        out: list[Message] = []
        self._conclude(out)
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        if self._open is not None:
            self._open.error = error
        self._conclude(out)
        self._outstanding.clear()
        self._commands.reset()
        self._values.reset()
        return out


PROTOCOL = Descriptor(name="redis", number=80, parser=RedisParser, pairs=True)
