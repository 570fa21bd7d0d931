"""Redis, seen from outside: RESP2, RESP3 and inline commands.

Replies come in the order of commands, but not every reply is one: subscriptions and
client-side caching push, and ``CLIENT REPLY`` leaves replies out. All commands of a
connection pair by counting, so that one miscounted would give each of the following ones
another's reply. Where the count may be wrong (a connection joined midway, bytes that were not
seen) nothing is reported until it is right again for certain: see ``Sync``.
"""

from __future__ import annotations

from .base import REQUEST, Message
from .database import DONE, DbRequest, DbResponse
from .descriptor import Descriptor
from .half import Half
from .in_order import InOrder
from .redis_command import STREAMS, SUBSCRIBES, command_name, describe, error_prefix
from .redis_requests import Commands
from .redis_values import Values
from .sync import SYNCED

_PUSHED = frozenset(
    {b"message", b"pmessage", b"smessage", *(name.lower().encode() for name in SUBSCRIBES)}
)
_UNSUBSCRIBES = frozenset(name for name in SUBSCRIBES if "UN" in name)


_PUSH, _ARRAY, _ERROR, _BLOB_ERROR = b">*-!"
"""Kinds of values."""


class Command(Message):
    """A command that waits.

    Attributes:
        due: confirmations that it still gets (subscriptions), else 1.
        database: that it selects, or "".
    """

    __slots__ = ("database", "due")

    def __init__(self, direction: int, commands: Commands, head: DbRequest) -> None:
        super().__init__(REQUEST, direction, commands.start, commands.token, commands.offset, head)
        self.length = commands.length
        self.complete = True
        self.due = 1
        self.database = ""


class RedisParser(InOrder[Command]):
    """One connection.

    Memory is bounded: a command's first arguments, cut, and the commands that wait.
    """

    __slots__ = ("_database", "_open", "_pipelines", "_silence", "_subscribed")

    _requests: Commands
    _replies: Values

    def __init__(self) -> None:
        super().__init__(Commands(), Values())
        self._open: Message | None = None
        """A reply whose end no framing shows; ``_replies`` is lost meanwhile."""
        self._pipelines = False
        self._subscribed = False
        self._silence = 0  # 1: CLIENT REPLY OFF; 2: the next command has no reply
        self._database = ""

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return self._open is not None

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        super().begin(client, fresh)
        if fresh:
            self._database = "0"

    # Commands

    def _begins(self, data: bytes) -> bool:
        return data[:1] == b"*"

    def _request(self) -> None:
        commands = self._requests
        args, total = commands.args, commands.total
        if not args:
            return
        head = describe(args, total, self._database)
        name = head.operation
        if name in STREAMS and name != "MONITOR":
            self._hand_off("replication")
            return
        command = Command(self.client, commands, head)
        if self._silence:
            if name == "CLIENT REPLY" and total > 2 and args[2].upper() == b"ON":
                self._silence = 0
            else:
                command.oneway = True
                if self._silence == 2:
                    self._silence = 0
        if head.chatter or name in SUBSCRIBES:
            self._special(command, name, args, total)
        elif self._subscribed and name != "MONITOR":
            self._subscribed = False  # as a subscriber it could not ask for this
        if self._outstanding and not command.oneway:
            self._pipelines = True
        self._ask(command)

    def _special(self, command: Command, name: str, args: list[bytes], total: int) -> None:
        """Commands that change how replies come."""
        if name in SUBSCRIBES:
            self._subscribed = True
            command.due = max(1, total - 1)
        elif name == "CLIENT REPLY" and total > 2:
            way = args[2].upper()
            if way in (b"OFF", b"SKIP"):
                command.oneway = True
                self._silence = 1 if way == b"OFF" else 2
        elif name == "SELECT" and total > 1:
            number = args[1]
            command.database = number.decode() if number.isdigit() and len(number) < 8 else ""
            self._database = ""  # until it is confirmed
        elif name == "RESET":
            self._subscribed = False
            command.database = "0"

    # Replies

    def _reply(self) -> None:
        values, outstanding = self._replies, self._outstanding
        kind, first = values.kind, values.first
        if kind == _PUSH or (kind == _ARRAY and self._subscribed):
            if self._pushed(kind, first.lower()):
                return
        elif kind == _ARRAY and first == b"REPLCONF":
            self._hand_off("replication")
            return
        if not outstanding:
            self._extra()
            return
        command = outstanding.popleft()
        head = DONE
        if kind in (_ERROR, _BLOB_ERROR):
            prefix = error_prefix(first)
            head = DbResponse(prefix, prefix or "_OTHER")
        elif command.database:
            self._database = command.database
        if command.head.operation == "MONITOR" and head is DONE:
            self._hand_off("monitor")
        self._began = values.start, values.token, values.offset
        message = self._answer(command, head)
        if message is not None:
            message.length = values.length

    def _pushed(self, kind: int, word: bytes) -> bool:
        """Whether a value is nobody's answer: a message, or a confirmation that is not the last
        of its command."""
        if kind != _PUSH and word not in _PUSHED:
            return False
        name = command_name(word)
        if name not in SUBSCRIBES or not self._outstanding:
            return True
        front = self._outstanding[0]
        if front.head.operation != name:
            return True
        front.due -= 1
        return front.due > 0

    # Losses and ends

    def _torn(self, half: Half, missing: int, tail: bytes) -> None:
        outstanding = self._outstanding
        told = self._sync.state == SYNCED and outstanding and outstanding[0].stream
        if half is self._requests or not told:
            self._lose(half, desync=False)
            return
        values = self._replies
        head, length = DONE, missing
        if values.inside:
            self._began = values.start, values.token, values.offset
            length += values.length
            error = error_prefix(values.first) if values.kind == _ERROR else ""
            head = DbResponse(error, error) if error else DONE
        message = self._answer(outstanding.popleft(), head, truncated=True)
        assert message is not None
        message.length = length
        values.reset()
        if outstanding or self._pipelines:
            # How many more replies were in there nobody knows.
            self._lose(half, desync=False)
        else:
            message.complete = False
            self._open = message
            half.lost = True

    def _follow(self, data: bytes, length: int, tail: bytes) -> None:
        message = self._open
        if message is not None:
            message.end, message.last_token = self._last
            message.length += length

    def _next_turn(self, begins: bool) -> None:
        self._conclude()

    def _conclude(self) -> None:
        """The reply whose end no framing shows is over."""
        message, self._open = self._open, None
        if message is not None:
            message.complete = True
            self._replies.lost = False
            self._tell(message)

    def _lose(self, half: Half, desync: bool = True) -> None:
        self._conclude()
        super()._lose(half, desync)
        self._silence = 0

    def _forget(self) -> None:
        # A command that is half read when replies are lost is read to its end.
        self._outstanding.clear()
        self._began = None

    def _restart(self) -> None:
        super()._forget()

    def _hand_off(self, what: str) -> None:
        """The connection carries no commands with replies any more."""
        self.upgraded = what
        self._conclude()

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        out = self._out = []
        self._conclude()
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out = self._out = []
        if self._open is not None:
            self._open.error = error
        self._conclude()
        super()._forget()
        return out


PROTOCOL = Descriptor(name="redis", number=80, parser=RedisParser, pairs=True)
