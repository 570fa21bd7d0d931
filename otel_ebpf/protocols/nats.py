"""NATS, seen from outside: core messages, requests by inbox, and JetStream on top of them.

A message has no acknowledgement. What makes it a request is the subject that an answer is to go to:
where that is a subscription of the connection's own, its first message there is the answer. A
message that the server delivers with such a subject is the server's request, and the client's
message to that subject the answer: so JetStream's acknowledgements are, too.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from .base import REQUEST, RESPONSE, Message
from .context import CarriedContext, parse_traceparent
from .descriptor import Descriptor
from .messaging import (
    ALWAYS,
    DONE,
    UNLESS_FAILED,
    MessagingRequest,
    MessagingResponse,
    carried_context,
)
from .nats_lines import BAD, UNIT, Lines

SYSTEM = "nats"
MAX_OUTSTANDING = 4096
"""Most requests of one side that wait; above it the oldest is given up."""
MAX_SUBSCRIPTIONS = 4096
WAIT = 10_000_000_000
"""Nanoseconds after which a delivery that asks for an answer is taken for one that gets none."""
GIVE_UP = 60_000_000_000
"""Nanoseconds after which a request has no answer."""
_INBOX = "_INBOX."
_PULL = "$JS.API.CONSUMER.MSG.NEXT."
_ACK = "$JS.ACK."
_PERMISSION = b'Permissions Violation for Publish to "'
_ERRORS = (
    *("Authorization Violation", "Permissions Violation", "Authorization Timeout"),
    *("User Authentication Expired", "User Authentication Revoked", "Stale Connection"),
    *("Maximum Payload Violation", "Maximum Control Line Exceeded", "Slow Consumer"),
    *("Maximum Connections Exceeded", "Invalid Subject", "Invalid Publish Subject"),
    *("Invalid Client Protocol", "Unknown Protocol Operation", "Parser Error"),
    *("Secure Connection - TLS Required", "Account Authentication Expired"),
)


def error_name(said: bytes) -> str:
    """``error.type`` of an ``-ERR``: of what the server can say a few words, else ``_OTHER``."""
    text = said.strip(b" '\t").lower()
    for known in _ERRORS:
        if text.startswith(known.lower().encode()):
            return known.lower().replace(" - ", " ").replace(" ", "_")
    return "_OTHER"


def status_of(headers: bytes) -> str:
    """The code in a message's first header line (``NATS/1.0 503``), or ""."""
    words = headers[:64].split(b"\r\n", 1)[0].split()
    return words[1].decode() if len(words) > 1 and words[1].isdigit() else ""


def context_of(headers: bytes) -> CarriedContext | None:
    """The trace context that headers carry, or None."""
    if b"traceparent" not in headers.lower():
        return None
    pairs = [line.partition(b":") for line in headers.split(b"\r\n")]
    told = [
        (name.strip().lower(), value.strip().decode("latin-1"))
        for name, colon, value in pairs
        if colon
    ]
    parents = [value for name, value in told if name == b"traceparent"]
    # Two of them contradict each other, whichever is first.
    if len(parents) != 1:
        return None
    return parse_traceparent(parents[0], [v for name, v in told if name == b"tracestate"])


class NatsParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: a line and headers each way, ``MAX_OUTSTANDING`` requests of each side, and
    ``MAX_SUBSCRIPTIONS``.
    """

    __slots__ = (
        "_expected",
        "_groups",
        "_lines",
        "_lost",
        "_name",
        "_pings",
        "_serial",
        "_subjects",
        "_waiting",
        "client",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._lines = (Lines(False), Lines(True))
        """By whether the client says them."""
        self._lost = [False, False]
        self._waiting: tuple[dict[str, Message], dict[str, Message]] = ({}, {})
        """By whether the client asks: requests by the subject of their answers."""
        self._expected: deque[Message] | None = None
        """Where the server confirms each line: those of which it has not yet."""
        self._pings: deque[Message] = deque()
        self._subjects: dict[bytes, str] = {}
        """Subscriptions: by their number what they listen to."""
        self._groups: dict[bytes, str] = {}
        self._name = ""
        self._serial = 0

    @property
    def in_step(self) -> bool:
        """Where lines begin is known."""
        return not (self._lost[0] or self._lost[1])

    @property
    def open_ended(self) -> bool:
        """Deliveries wait for an answer that may never come."""
        return bool(self._waiting[False] or self._waiting[True])

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client

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
        self._expire(ts, out)
        asks = direction == self.client
        lines = self._lines[asks]
        if self._lost[asks]:
            if not lines.begins(data):
                return out
            lines.reset()
            self._lost[asks] = False
        at, size = 0, len(data)
        while at < size:
            at, outcome = lines.feed(data, at, ts, token)
            if outcome == UNIT:
                self._unit(asks, direction, end_ts, token, out)
            elif outcome == BAD:
                self._lose(asks, out)
                return out
        if length > size:
            outcome = lines.skip(length - size)
            if outcome == UNIT:
                self._unit(asks, direction, end_ts, token, out)
            elif outcome == BAD:
                self._lose(asks, out, desync=False)
        return out

    def _unit(
        self, asks: bool, direction: int, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        lines = self._lines[asks]
        verb = lines.verb
        if verb in (b"PUB", b"HPUB"):
            self._published(direction, end_ts, token, out)
        elif verb in (b"MSG", b"HMSG"):
            self._delivered(direction, end_ts, token, out)
        elif verb == b"CONNECT":
            self._connect(direction, end_ts, token, out)
        elif verb in (b"SUB", b"UNSUB"):
            self._subscribe(direction, end_ts, token, out)
        elif verb == b"PING" and asks:
            if len(self._pings) < MAX_OUTSTANDING:
                self._pings.append(self._ask(direction, self._chat("ping"), end_ts, token, out))
        elif verb == b"PONG" and not asks:
            self._confirm_login(end_ts, token, out)
            if self._pings:
                self._answer(self._pings.popleft(), False, "", end_ts, token, out)
        elif verb == b"+OK":
            self._confirmed("", end_ts, token, out)
        elif verb == b"-ERR":
            self._refused(lines.rest, end_ts, token, out)

    # What the client says

    def _connect(self, direction: int, end_ts: int, token: Any, out: list[Message]) -> None:
        try:
            told = json.loads(self._lines[True].rest)
        except (ValueError, RecursionError):
            told = {}
        told = told if isinstance(told, dict) else {}
        name = told.get("name")
        self._name = name if isinstance(name, str) else ""
        head = self._chat("connect")
        head.chatter = UNLESS_FAILED
        message = self._ask(direction, head, end_ts, token, out)
        self._hold("", message, True, end_ts, out)
        if told.get("verbose") is True:
            self._expected = deque([message])

    def _subscribe(self, direction: int, end_ts: int, token: Any, out: list[Message]) -> None:
        lines = self._lines[True]
        words = lines.words
        subscribes = lines.verb == b"SUB"
        head = self._chat("subscribe" if subscribes else "unsubscribe")
        if subscribes and 2 <= len(words) <= 3:
            subject = words[0].decode("utf-8", "replace")
            head.destination = subject
            if len(self._subjects) < MAX_SUBSCRIPTIONS:
                self._subjects[words[-1]] = subject
                if len(words) == 3:
                    self._groups[words[-1]] = words[1].decode("utf-8", "replace")
        elif words and len(words) == 1:
            self._subjects.pop(words[0], None)
            self._groups.pop(words[0], None)
        self._ask(direction, head, end_ts, token, out, waits=self._expected is not None)
        self._expect(out[-1], out)

    def _published(self, direction: int, end_ts: int, token: Any, out: list[Message]) -> None:
        lines = self._lines[True]
        subject, reply = lines.subject(), lines.reply()
        answered = self._waiting[False].get(subject)
        if answered is not None:
            error = "nak" if lines.body.startswith((b"-NAK", b"+TERM")) else ""
            if not (subject.startswith(_ACK) and lines.body.startswith(b"+WPI")):  # not yet
                del self._waiting[False][subject]
                self._answer(answered, True, error, end_ts, token, out)
            self._expect(None, out)
            return
        waits = bool(reply) and self._mine(reply) and not subject.startswith((_PULL, _ACK))
        head = self._message("request" if waits else "publish", "send", lines)
        if subject.startswith((_PULL, _ACK)):
            head.chatter = ALWAYS
        message = self._ask(
            direction, head, end_ts, token, out, waits=waits or self._expected is not None
        )
        if waits:
            self._hold(reply, message, True, end_ts, out)
        self._expect(message, out)

    def _mine(self, reply: str) -> bool:
        """An answer to this subject comes back on this connection."""
        if reply.startswith(_INBOX):
            return True
        for subject in self._subjects.values():
            if subject == reply or (
                subject[-2:] in (".*", ".>") and reply.startswith(subject[:-1])
            ):
                return True
        return False

    # What the server says

    def _delivered(self, direction: int, end_ts: int, token: Any, out: list[Message]) -> None:
        lines = self._lines[False]
        self._confirm_login(end_ts, token, out)
        subject, reply = lines.subject(), lines.reply()
        status = status_of(lines.headers)
        asked = self._waiting[True].pop(subject, None)
        if asked is not None:
            self._answer(asked, False, status if status >= "4" else "", end_ts, token, out)
            return
        if status or subject.startswith(_INBOX):
            return  # the server's own word, or one more answer
        head = self._message("deliver", "process" if reply else "receive", lines)
        head.pushed = True
        head.group = self._groups.get(lines.words[1], "")
        message = self._ask(direction, head, end_ts, token, out, waits=bool(reply))
        if reply:
            self._hold(reply, message, False, end_ts, out)

    def _confirm_login(self, end_ts: int, token: Any, out: list[Message]) -> None:
        asked = self._waiting[True].pop("", None)
        if asked is not None:
            self._answer(asked, False, "", end_ts, token, out)

    def _confirmed(self, error: str, end_ts: int, token: Any, out: list[Message]) -> bool:
        """``+OK`` or ``-ERR`` for the oldest line that waits for it."""
        if not self._expected:
            return False
        message = self._expected.popleft()
        waiting = self._waiting[True]
        if waiting.get("") is message:
            del waiting[""]
        for reply, other in list(waiting.items())[-8:] if error else ():
            if other is message:
                del waiting[reply]
        if message.stream and (error or not any(other is message for other in waiting.values())):
            self._answer(message, False, error, end_ts, token, out)
        return True

    def _refused(self, said: bytes, end_ts: int, token: Any, out: list[Message]) -> None:
        error = error_name(said)
        login = self._waiting[True].pop("", None)
        if self._confirmed(error, end_ts, token, out):
            return
        if login is not None:
            self._answer(login, False, error, end_ts, token, out)
            return
        at = said.find(_PERMISSION)
        if at < 0:
            return
        subject = said[at + len(_PERMISSION) :].split(b'"')[0].decode("utf-8", "replace")
        for reply, message in list(self._waiting[True].items()):
            if message.head.destination == subject:
                del self._waiting[True][reply]
                self._answer(message, False, error, end_ts, token, out)
                return

    # Requests and replies

    def _chat(self, operation: str) -> MessagingRequest:
        head = MessagingRequest(SYSTEM, operation)
        head.client_id = self._name
        head.chatter = ALWAYS
        return head

    def _message(self, operation: str, kind: str, lines: Lines) -> MessagingRequest:
        head = MessagingRequest(SYSTEM, operation, kind, lines.subject())
        head.client_id = self._name
        head.body_size = lines.body_size
        context = context_of(lines.headers) if lines.headers else None
        if context is not None:
            head.contexts = (context,)
        return head

    def _ask(
        self,
        direction: int,
        head: MessagingRequest,
        end_ts: int,
        token: Any,
        out: list[Message],
        waits: bool = True,
    ) -> Message:
        lines = self._lines[direction == self.client]
        message = Message(REQUEST, direction, lines.start, lines.token, lines.offset, head)
        self._serial += 1
        message.stream = self._serial
        message.length = lines.size
        message.end = end_ts
        message.last_token = token
        message.complete = True
        message.oneway = not waits
        out.append(message)
        return message

    def _hold(
        self, reply: str, message: Message, asks: bool, end_ts: int, out: list[Message]
    ) -> None:
        waiting = self._waiting[asks]
        before = waiting.pop(reply, None)
        if before is None and len(waiting) >= MAX_OUTSTANDING:
            before = waiting.pop(next(iter(waiting)))
        if before is not None:
            self._give_up(before, asks, end_ts, out)
        waiting[reply] = message

    def _expect(self, message: Message | None, out: list[Message]) -> None:
        """The server confirms each line; ``message`` is the one that is said now, or none that
        is told of."""
        if self._expected is None:
            return
        if message is None:
            message = Message(REQUEST, self.client, 0, None, 0, None)
        self._expected.append(message)
        if len(self._expected) > MAX_OUTSTANDING:
            self._unexpect(out)

    def _unexpect(self, out: list[Message]) -> None:
        """Which line the next confirmation is for is not known any more."""
        expected, self._expected = self._expected, None
        held = set(map(id, self._waiting[True].values()))
        for message in expected or ():
            if message.stream and id(message) not in held:
                self._end_early(message, "response_lost", out)

    def _answer(
        self,
        asked: Message,
        asks: bool,
        error: str,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        lines = self._lines[asks]
        direction = self.client if asks else 1 - self.client
        head = MessagingResponse(error, error) if error else DONE
        message = Message(RESPONSE, direction, lines.start, lines.token, lines.offset, head)
        message.stream = asked.stream
        message.end = end_ts
        message.last_token = token
        message.length = lines.size
        message.complete = True
        out.append(message)

    def _give_up(self, message: Message, asks: bool, end_ts: int, out: list[Message]) -> None:
        """No answer came. Of a delivery none need come."""
        if asks:
            message.end = max(message.end, end_ts)
            self._end_early(message, "no_response", out)
        else:
            message.oneway = True
            self._end_early(message, None, out)

    @staticmethod
    def _end_early(message: Message, error: str | None, out: list[Message]) -> None:
        message.error = error
        if not any(message is other for other in out):
            out.append(message)

    def _expire(self, ts: int, out: list[Message]) -> None:
        for asks, most in ((False, WAIT), (True, GIVE_UP)):
            waiting = self._waiting[asks]
            while waiting:
                reply, message = next(iter(waiting.items()))
                if message.end + most > ts:
                    break
                del waiting[reply]
                self._give_up(message, asks, ts, out)

    # Losses and ends

    def _lose(self, asks: bool, out: list[Message], desync: bool = True) -> None:
        self.desyncs += desync
        self._lost[asks] = True
        self._lines[asks].reset()
        self._pings.clear()
        self._unexpect(out)

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        self._lose(direction == self.client, out, desync=False)
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        out: list[Message] = []
        self._expire(ts, out)
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out: list[Message] = []
        for message in self._waiting[False].values():
            self._give_up(message, False, ts, out)
        self._waiting[False].clear()
        self._lines[False].reset()
        self._lines[True].reset()
        return out


PROTOCOL = Descriptor(
    name="nats", number=104, parser=NatsParser, carried_context=carried_context, pairs=True
)
