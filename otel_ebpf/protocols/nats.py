"""NATS, seen from outside: core messages, requests by inbox, and JetStream on top of them.

A message has no acknowledgement. What makes it a request is the subject that an answer is to go to:
where that is a subscription of the connection's own, its first message there is the answer. A
message that the server delivers with such a subject is the server's request, and the client's
message to that subject the answer: so JetStream's acknowledgements are, too.
"""

from __future__ import annotations

from collections import deque

from .base import REQUEST, Message
from .by_key import ByKey
from .descriptor import Descriptor
from .half import Half
from .messaging import (
    ALWAYS,
    DONE,
    UNLESS_FAILED,
    MessagingRequest,
    MessagingResponse,
    carried_context,
)
from .nats_lines import Lines
from .nats_words import context_of, error_name, login_of, refused_subject, status_of

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


class NatsParser(ByKey):
    """One connection.

    Memory is bounded: a line and headers each way, ``MAX_OUTSTANDING`` requests of each side, and
    ``MAX_SUBSCRIPTIONS``.
    """

    __slots__ = ("_expected", "_groups", "_name", "_pings", "_subjects", "_waiting")

    expires = True
    _requests: Lines
    _replies: Lines

    def __init__(self) -> None:
        super().__init__(Lines(True), Lines(False))
        self._waiting: tuple[dict[str, Message], dict[str, Message]] = ({}, {})
        """By whether the client asks: requests by the subject of their answers."""
        self._expected: deque[Message] | None = None
        """Where the server confirms each line: those of which it has not yet."""
        self._pings: deque[Message] = deque()
        self._subjects: dict[bytes, str] = {}
        """Subscriptions: by their number what they listen to."""
        self._groups: dict[bytes, str] = {}
        self._name = ""

    @property
    def open_ended(self) -> bool:
        """Deliveries wait for an answer that may never come."""
        return bool(self._waiting[False] or self._waiting[True])

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client

    def _resumes(self, half: Lines, data: bytes, length: int, ts: int) -> bool:
        if half.begins(data):
            half.reset()
            half.lost = False
        return not half.lost

    def _unit(self, lines: Lines) -> None:
        asks = lines is self._requests
        verb = lines.verb
        if verb in (b"PUB", b"HPUB"):
            self._published(lines)
        elif verb in (b"MSG", b"HMSG"):
            self._delivered(lines)
        elif verb == b"CONNECT":
            self._connect(lines)
        elif verb in (b"SUB", b"UNSUB"):
            self._subscribe(lines)
        elif verb == b"PING" and asks:
            if len(self._pings) < MAX_OUTSTANDING:
                self._pings.append(self._ask(lines, self._chat("ping")))
        elif verb == b"PONG" and not asks:
            self._confirm_login()
            if self._pings:
                self._answer(self._pings.popleft(), lines, "")
        elif verb == b"+OK":
            self._confirmed("")
        elif verb == b"-ERR":
            self._refused(lines.rest)

    # What the client says

    def _connect(self, lines: Lines) -> None:
        self._name, verbose = login_of(lines.rest)
        head = self._chat("connect")
        head.chatter = UNLESS_FAILED
        message = self._ask(lines, head)
        self._hold("", message, True)
        if verbose:
            self._expected = deque([message])

    def _subscribe(self, lines: Lines) -> None:
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
        self._expect(self._ask(lines, head, waits=self._expected is not None))

    def _published(self, lines: Lines) -> None:
        subject, reply = lines.subject(), lines.reply()
        answered = self._waiting[False].get(subject)
        if answered is not None:
            error = "nak" if lines.body.startswith((b"-NAK", b"+TERM")) else ""
            if not (subject.startswith(_ACK) and lines.body.startswith(b"+WPI")):  # not yet
                del self._waiting[False][subject]
                self._answer(answered, lines, error)
            self._expect(None)
            return
        waits = bool(reply) and self._mine(reply) and not subject.startswith((_PULL, _ACK))
        head = self._message("request" if waits else "publish", "send", lines)
        if subject.startswith((_PULL, _ACK)):
            head.chatter = ALWAYS
        message = self._ask(lines, head, waits=waits or self._expected is not None)
        if waits:
            self._hold(reply, message, True)
        self._expect(message)

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

    def _delivered(self, lines: Lines) -> None:
        self._confirm_login()
        subject, reply = lines.subject(), lines.reply()
        status = status_of(lines.headers)
        asked = self._waiting[True].pop(subject, None)
        if asked is not None:
            self._answer(asked, lines, status if status >= "4" else "")
            return
        if status or subject.startswith(_INBOX):
            return  # the server's own word, or one more answer
        head = self._message("deliver", "process" if reply else "receive", lines)
        head.pushed = True
        head.group = self._groups.get(lines.words[1], "")
        message = self._ask(lines, head, waits=bool(reply))
        if reply:
            self._hold(reply, message, False)

    def _confirm_login(self) -> None:
        asked = self._waiting[True].pop("", None)
        if asked is not None:
            self._answer(asked, self._replies, "")

    def _confirmed(self, error: str) -> bool:
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
            self._answer(message, self._replies, error)
        return True

    def _refused(self, said: bytes) -> None:
        error = error_name(said)
        login = self._waiting[True].pop("", None)
        if self._confirmed(error):
            return
        if login is not None:
            self._answer(login, self._replies, error)
            return
        subject = refused_subject(said)
        for reply, message in list(self._waiting[True].items()) if subject else ():
            if message.head.destination == subject:
                del self._waiting[True][reply]
                self._answer(message, self._replies, error)
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

    def _ask(self, lines: Lines, head: MessagingRequest, waits: bool = True) -> Message:
        message = self._asked(lines, lines.size, head)
        message.oneway = not waits
        self._out.append(message)
        return message

    def _answer(self, asked: Message, lines: Lines, error: str) -> None:
        head = MessagingResponse(error, error) if error else DONE
        message = self._answer_to(asked, lines, lines.size, head)
        message.complete = True
        self._out.append(message)

    def _hold(self, reply: str, message: Message, asks: bool) -> None:
        waiting = self._waiting[asks]
        before = waiting.pop(reply, None)
        if before is None and len(waiting) >= MAX_OUTSTANDING:
            before = waiting.pop(next(iter(waiting)))
        if before is not None:
            self._unanswered(before, asks)
        waiting[reply] = message

    def _expect(self, message: Message | None) -> None:
        """The server confirms each line; ``message`` is the one that is said now, or none that
        is told of."""
        if self._expected is None:
            return
        if message is None:
            message = Message(REQUEST, self.client, 0, None, 0, None)
        self._expected.append(message)
        if len(self._expected) > MAX_OUTSTANDING:
            self._unexpect()

    def _unexpect(self) -> None:
        """Which line the next confirmation is for is not known any more."""
        expected, self._expected = self._expected, None
        held = set(map(id, self._waiting[True].values()))
        for message in expected or ():
            if message.stream and id(message) not in held:
                message.error = "response_lost"
                self._tell(message)

    def _unanswered(self, message: Message, asks: bool) -> None:
        """No answer came. Of a delivery none need come."""
        if asks:
            self._give_up(message, "no_response")
        else:
            message.oneway = True
            message.error = None
            self._tell(message)

    def _expire(self, ts: int) -> None:
        for asks, most in ((False, WAIT), (True, GIVE_UP)):
            waiting = self._waiting[asks]
            while waiting:
                reply, message = next(iter(waiting.items()))
                if message.end + most > ts:
                    break
                del waiting[reply]
                self._unanswered(message, asks)

    # Losses and ends

    def _lose(self, half: Half, desync: bool = True) -> None:
        super()._lose(half, desync)
        self._pings.clear()
        self._unexpect()

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        out = self._out = []
        self._end_ts = ts
        self._expire(ts)
        return out

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        out = self._out = []
        for message in self._waiting[False].values():
            self._unanswered(message, False)
        self._waiting[False].clear()
        super().close(ts, error)
        return out


PROTOCOL = Descriptor(
    name="nats", number=104, parser=NatsParser, carried_context=carried_context, pairs=True
)
