"""Memcached, seen from outside: text and meta commands, and binary packets.

Replies come in order. Quiet commands (meta's ``q``, binary's ``...Q``) are answered only if
something is to be said; clients end a row of them with a command that is always answered. They
are calls without a reply here, and what may be theirs is nobody's.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from .base import REQUEST, RESPONSE, Message
from .database import ALWAYS, DONE, UNLESS_FAILED, DbRequest, DbResponse
from .descriptor import Descriptor
from .memcached_frames import BAD, UNIT, Units
from .sync import JOINED, SYNCED, Sync

SYSTEM = "memcached"
MAX_OUTSTANDING = 4096
_MAX_KEYS = 32

_BINARY = {
    0x00: "get",
    0x01: "set",
    0x02: "add",
    0x03: "replace",
    0x04: "delete",
    0x05: "incr",
    0x06: "decr",
    0x07: "quit",
    0x08: "flush_all",
    0x0A: "noop",
    0x0B: "version",
    0x0C: "get",
    0x0E: "append",
    0x0F: "prepend",
    0x10: "stats",
    0x1C: "touch",
    0x1D: "gat",
    0x1B: "verbosity",
    0x20: "sasl_list_mechs",
    0x21: "sasl_auth",
    0x22: "sasl_step",
}
_QUIET = {
    0x09: "get",
    0x0D: "get",
    0x11: "set",
    0x12: "add",
    0x13: "replace",
    0x14: "delete",
    0x15: "incr",
    0x16: "decr",
    0x17: "quit",
    0x18: "flush_all",
    0x19: "append",
    0x1A: "prepend",
    0x1E: "gat",
}
_STATUS = {
    0x03: "TOO_LARGE",
    0x04: "INVALID_ARGUMENTS",
    0x06: "NON_NUMERIC",
    0x20: "AUTH_ERROR",
    0x81: "UNKNOWN_COMMAND",
    0x82: "OUT_OF_MEMORY",
    0x83: "NOT_SUPPORTED",
    0x84: "INTERNAL_ERROR",
    0x85: "BUSY",
    0x86: "TEMPORARY_FAILURE",
}
"""Binary statuses that are failures; a missing key is none."""
_META = {"mg": "get", "ms": "set", "md": "delete", "ma": "arithmetic", "mn": "noop", "me": "debug"}
_MANY = frozenset({"get", "gets", "gat", "gats", "stats"})
"""Text commands whose replies end with a line of their own."""
_KEYED = frozenset(
    {"set", "add", "replace", "append", "prepend", "cas", "delete", "incr", "decr", "touch"}
)
_CHATTER = {"version": UNLESS_FAILED, "noop": ALWAYS, "quit": ALWAYS, "verbosity": UNLESS_FAILED}
_CHATTER |= dict.fromkeys(("sasl_list_mechs", "sasl_auth", "sasl_step"), UNLESS_FAILED)
_FAILURES = frozenset({b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"})
_STREAMS = frozenset({b"watch", b"lru_crawler", b"lru"})


class Command(Message):
    """A command that waits. ``many``: its reply has several units; ``fence``: it ends a row of
    quiet ones; ``opaque``: of a binary one, else -1."""

    __slots__ = ("fence", "many", "opaque")

    def __init__(self, direction: int, units: Units, head: Any) -> None:
        super().__init__(REQUEST, direction, units.start, units.token, units.offset, head)
        self.length = units.length
        self.complete = True
        self.many = False
        self.fence = False
        self.opaque = -1


class MemcachedParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes."""

    __slots__ = (
        "_began",
        "_last",
        "_lost",
        "_outstanding",
        "_quiet",
        "_replies",
        "_requests",
        "_serial",
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
        self._requests = Units(client=True)
        self._replies = Units(client=False)
        self._outstanding: deque[Command] = deque()
        self._began: tuple[int, Any, int] | None = None
        self._quiet = False  # a quiet command's reply may come before the next one's
        self._lost = [False, False]
        self._last: tuple[int, Any] = (0, None)
        self._serial = 0

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
        asked = direction == self.client
        units = self._requests if asked else self._replies
        reads = True
        if asked:
            if not units.inside or self._lost[direction]:
                self._run(data, ts, out)
                reads = self._sync.state != JOINED and not self._lost[direction]
        else:
            reads = self._sync.state != JOINED and not self._lost[direction]
            self._last = (end_ts, token)
            if self._lost[direction] and self._sync.state != JOINED:
                seen = tail or (data[-8:] if len(data) == length else b"")
                if seen.endswith(b"END\r\n"):
                    self._settle_lost(out)
        if reads:
            self._units(units, asked, direction, data, length, ts, end_ts, token, out)
        self._sync.last = end_ts
        return out

    def _units(
        self,
        units: Units,
        asked: bool,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        at, size, outcome = 0, len(data), UNIT
        while at < size:
            at, outcome = units.feed(data, at, ts, token)
            if outcome == UNIT:
                self._unit(units, asked, direction, end_ts, token, out)
                if self.upgraded is not None or self._sync.state == JOINED:
                    return
            elif outcome == BAD:
                self._lose(direction, out)
                return
        if length > size:
            outcome = units.skip(length - size) if units.inside else BAD
            if outcome == UNIT:
                self._unit(units, asked, direction, end_ts, token, out)
            elif outcome == BAD and (asked or len(self._outstanding) != 1):
                self._lose(direction, out, desync=False)
            elif outcome == BAD:
                # One reply with more items than were captured: its last line shows the end.
                self._note_start()
                units.reset()
                self._lost[direction] = True

    def _unit(
        self, units: Units, asked: bool, direction: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        if not asked:
            self._reply(units, end_ts, token, out)
        elif units.words:
            self._line(units, direction, end_ts, token, out)
        else:
            self._packet(units, direction, end_ts, token, out)

    # Requests

    def _line(
        self, units: Units, direction: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        words = units.words
        if words[0] in _STREAMS:
            self.upgraded = "stream"
            return
        verb = words[0].decode("latin-1").lower()
        meta = verb in _META
        known = meta or verb in _MANY or verb in _KEYED or verb in _CHATTER or verb == "flush_all"
        operation = _META.get(verb, verb) if known else ""
        told: list[str] = []
        if verb in _KEYED or meta:
            told = [_text(word) for word in words[1:2]] + ["?"] * (len(words) - 2)
        elif verb in _MANY and verb != "stats":
            keys = words[1:] if verb in ("get", "gets") else words[2:]
            told = ["?"] * (len(words) - 1 - len(keys)) + [_text(key) for key in keys[:_MAX_KEYS]]
        text = " ".join([verb, *told]) if known else ""
        command = Command(direction, units, self._head(operation, text))
        command.many = verb in _MANY
        command.fence = verb == "mn"
        quiet = meta and any(flag == b"q" for flag in words[2:])
        silent = verb == "quit" or (words[-1] == b"noreply" and len(words) > 1)
        self._add(command, quiet, silent or quiet, end_ts, token, out)

    def _packet(
        self, units: Units, direction: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        header = units.header
        code = header[1]
        quiet = code in _QUIET
        operation = _QUIET.get(code) or _BINARY.get(code, "")
        key = units.body[header[4] :]
        secret = operation.startswith("sasl")
        text = f"{operation} {_text(key)}" if key and operation and not secret else operation
        command = Command(direction, units, self._head(operation, text))
        command.many = code == 0x10
        command.fence = code == 0x0A
        command.opaque = int.from_bytes(header[12:16], "big")
        self._add(command, quiet, quiet, end_ts, token, out)

    def _head(self, operation: str, text: str) -> DbRequest:
        return DbRequest(SYSTEM, operation, text, operation, chatter=_CHATTER.get(operation, 0))

    def _add(
        self,
        command: Command,
        quiet: bool,
        oneway: bool,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        command.end = end_ts
        command.last_token = token
        command.oneway = oneway
        if self._sync.state == SYNCED:
            self._serial += 1
            command.stream = self._serial
            out.append(command)
        if quiet:
            self._quiet = True
        if oneway:
            return
        if self._quiet and not command.fence and command.opaque < 0:
            # Whose the next reply is cannot be told.
            self._quiet = False
            self._lose(1 - self.client, out, [command])
            return
        if len(self._outstanding) >= MAX_OUTSTANDING:
            self._lose(1 - self.client, out, [command])
            return
        self._outstanding.append(command)

    def _run(self, data: bytes, ts: int, out: list[Message]) -> None:
        """Requests come where one can begin."""
        if self._sync.state == SYNCED:
            if self._lost[1 - self.client]:
                self._settle_lost(out)
            return
        begins = data[:1].isalpha() or data[:1] == b"\x80"
        if self._sync.asks(begins, ts, bool(self._outstanding)):
            self._lost = [False, False]
            self._outstanding.clear()
            self._requests.reset()
            self._replies.reset()
            self._began = None
            self._quiet = False

    # Replies

    def _note_start(self) -> None:
        if self._began is None:
            units = self._replies
            self._began = (units.start, units.token, units.offset)

    def _reply(self, units: Units, end_ts: int, token: Any, out: list[Message]) -> None:
        """A unit of a reply is whole."""
        outstanding = self._outstanding
        words = units.words
        if not words:
            opaque = int.from_bytes(units.header[12:16], "big")
            if units.header[1] in _QUIET:
                return
            if not outstanding or outstanding[0].opaque != opaque:
                self._extra()
                return
            self._note_start()
            if outstanding[0].many and int.from_bytes(units.header[2:4], "big"):
                return  # a statistic; an empty one is the last
            status = int.from_bytes(units.header[6:8], "big")
            self._end(_STATUS.get(status, ""), end_ts, token, out)
            return
        if not outstanding:
            if not self._quiet:
                self._extra()
            return
        front = outstanding[0]
        if self._quiet and front.fence and words[0] != b"MN":
            return  # of a quiet one before it
        self._note_start()
        failure = words[0].decode() if words[0] in _FAILURES else ""
        if front.many and not failure and words[0] not in (b"END", b"RESET", b"OK"):
            return
        self._end(failure, end_ts, token, out)

    def _end(
        self, failure: str, end_ts: int, token: Any, out: list[Message], truncated: bool = False
    ) -> None:
        command = self._outstanding.popleft()
        began, self._began = self._began or (end_ts, token, 0), None
        if command.fence:
            self._quiet = False
        if not command.stream:
            return
        ts, first, offset = began
        head = DbResponse(failure, failure) if failure else DONE
        message = Message(RESPONSE, 1 - self.client, ts, first, offset, head)
        message.stream = command.stream
        message.end = end_ts
        message.last_token = token
        message.complete = True
        message.truncated = truncated
        out.append(message)

    def _settle_lost(self, out: list[Message]) -> None:
        """The reply whose end no framing showed has ended."""
        end_ts, token = self._last
        if len(self._outstanding) > 1:
            self._lose(1 - self.client, out, desync=False)
            return
        if self._outstanding:
            self._end("", end_ts, token, out, truncated=True)
        self._replies.reset()
        self._lost[1 - self.client] = False

    def _extra(self) -> None:
        if self._sync.state == SYNCED:
            self.desyncs += 1
        self._sync.extra()

    def _lose(
        self,
        direction: int,
        out: list[Message],
        more: list[Command] | None = None,
        desync: bool = True,
    ) -> None:
        """From here on it is not known which reply is whose."""
        if desync and self._sync.state == SYNCED:
            self.desyncs += 1
        self._lost[direction] = True
        told = set(map(id, out))
        for command in [*self._outstanding, *(more or [])]:
            if command.stream:
                command.error = "response_lost"
                if id(command) not in told:
                    out.append(command)
        self._outstanding.clear()
        self._requests.reset()
        self._replies.reset()
        self._began = None
        self._quiet = False
        self._sync.lose()

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
        if self.open_ended:
            self._settle_lost(out)
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        if self.open_ended and not error:
            self._settle_lost(out)
        self._outstanding.clear()
        self._requests.reset()
        self._replies.reset()
        return out


def _text(key: bytes) -> str:
    return key[:250].decode("utf-8", "replace")


PROTOCOL = Descriptor(name="memcached", number=82, parser=MemcachedParser, pairs=True)
