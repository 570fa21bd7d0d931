"""Kafka's protocol, seen from outside.

A request has the number of its call, its version and a correlation id, which its answer
repeats. Produce is one span for each topic, Fetch one for each topic of which messages came;
all else is what clients do on their own account, or the program's own administration.
"""

from __future__ import annotations

import base64
from typing import Any

from .base import EGRESS, REQUEST, RESPONSE, Message
from .descriptor import Descriptor
from .kafka_api import (
    API_VERSIONS,
    APIS,
    CONTROLLED_SHUTDOWN,
    FETCH,
    GROUP_FIRST,
    OWN,
    PRODUCE,
    SASL_AUTHENTICATE,
    USUAL_ERRORS,
    error_name,
)
from .kafka_calls import (
    Part,
    Parts,
    fetch_request,
    fetch_response,
    produce_request,
    produce_response,
)
from .kafka_frames import BAD, FRAME, LONGEST, Body, Frames, Unseen
from .kafka_layouts import layout, read
from .kafka_memory import KafkaMemory
from .messaging import UNLESS_FAILED, MessagingRequest, MessagingResponse

SYSTEM = "kafka"
MAX_OUTSTANDING = 4096
_NEWEST = 24
"""A call of a higher version is none."""
_SURELY = 4096
"""An answer to Fetch that is longer has messages in it, seen or not."""


class Call:
    """A request whose answer is waited for.

    Attributes:
        api, version: of the call. client: the client's own name.
        group: that the request names.
        messages: what was returned of it: Produce has one for each topic.
        parts: what Produce carries, or who fetches.
        doubtful: answers were lost since.
    """

    __slots__ = ("api", "client", "doubtful", "group", "messages", "parts", "version")

    def __init__(self, api: int, version: int) -> None:
        self.api = api
        self.version = version
        self.client = self.group = ""
        self.messages: list[Message] = []
        self.parts: Parts | None = None
        self.doubtful = False


def plausible(head: bytes) -> bool:
    """Whether a request can begin so; ``head`` has its length, and what was seen behind it."""
    if len(head) < 12:
        return False
    size = int.from_bytes(head[:4], "big")
    api, version = int.from_bytes(head[4:6], "big"), int.from_bytes(head[6:8], "big")
    if not 8 <= size < LONGEST or api not in APIS or version >= _NEWEST or head[8] >> 7:
        return False
    if len(head) < 14 or (api == CONTROLLED_SHUTDOWN and version == 0):
        return True
    name = int.from_bytes(head[12:14], "big", signed=True)
    shown = head[14 : 14 + max(name, 0)]
    return -1 <= name < 256 and name + 10 <= size and all(c >= 32 for c in shown)


class KafkaParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: ``MAX_OUTSTANDING`` calls, and the parts of one frame each way.
    """

    __slots__ = (
        "_answers",
        "_calls",
        "_doubts",
        "_memory",
        "_prefix",
        "_process",
        "_requests",
        "_serial",
        "_step",
        "_wanted",
        "client",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._requests = Frames()
        self._answers = Frames()
        self._calls: dict[int, Call] = {}
        """By correlation id, the oldest first."""
        self._step = [False, False]
        """By direction: where frames begin is known."""
        self._prefix: list[tuple[bytes, int, Any] | None] = [None, None]
        """By direction: a frame's length, read alone while out of step."""
        self._doubts = False
        """Some calls are doubtful."""
        self._serial = 0
        self._wanted: dict[tuple[object, int], int] = {}
        self._memory = KafkaMemory()
        self._process = 0

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return False

    @property
    def in_step(self) -> bool:
        """Where frames begin is known."""
        return self._step[0] and self._step[1]

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        self.client = client
        self._step = [fresh, fresh]

    def remember(self, memory: KafkaMemory, process: int) -> None:
        """``memory``: what all connections know; ``process``: whose this one is."""
        self._memory = memory
        self._process = process

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
        frames = self._requests if direction == self.client else self._answers
        if not self._step[direction] and not self._catch_up(direction, data, length, ts, token):
            return out
        asks = direction == self.client
        at, size = 0, len(data)
        while at < size:
            if not frames.inside and size - at >= 14 and not self._fits(asks, data[at : at + 16]):
                self._lose(direction)
                return out
            at, outcome = frames.feed(data, at, ts, token)
            if outcome == FRAME:
                self._frame(asks, token, end_ts, out)
                if not self._step[direction]:
                    return out
            elif outcome == BAD:
                self._lose(direction)
                return out
        if length > size:
            outcome = frames.skip(length - size) if frames.inside else BAD
            if outcome == FRAME:
                self._frame(asks, token, end_ts, out)
            elif outcome == BAD:
                self._lose(direction, desync=False)
        return out

    # Framing

    def _fits(self, asks: bool, head: bytes) -> bool:
        """Whether what begins so can be meant."""
        if asks:
            return plausible(head)
        size = int.from_bytes(head[:4], "big")
        return 4 <= size < LONGEST and int.from_bytes(head[4:8], "big", signed=True) in self._calls

    def _catch_up(self, direction: int, data: bytes, length: int, ts: int, token: Any) -> bool:
        """A segment out of step: whether a frame begins with it."""
        asks = direction == self.client
        frames = self._requests if asks else self._answers
        prefix, self._prefix[direction] = self._prefix[direction], None
        for before in (prefix, None):
            head = (before[0] if before else b"") + data[:16]
            if len(head) >= (12 if asks else 8) and self._fits(asks, head):
                frames.reset()
                self._step[direction] = True
                if before:
                    frames.feed(before[0], 0, before[1], before[2])
                return True
        if len(data) == length == 4:
            self._prefix[direction] = data, ts, token
        return False

    def _lose(self, direction: int, desync: bool = True) -> None:
        """Where frames begin is not known any more."""
        self.desyncs += desync
        self._step[direction] = False
        if direction == self.client:
            self._requests.reset()
        else:
            self._answers.reset()
            for call in self._calls.values():
                call.doubtful = self._doubts = True

    def _frame(self, asks: bool, token: Any, end_ts: int, out: list[Message]) -> None:
        frames = self._requests if asks else self._answers
        body = frames.body()
        try:
            if asks:
                self._asked(body, token, end_ts, out)
            else:
                self._told(body, token, end_ts, out)
        except Unseen:
            return

    # Requests

    def _asked(self, body: Body, token: Any, end_ts: int, out: list[Message]) -> None:
        number, version, correlation = body.number(2), body.number(2), body.number(4)
        api = APIS.get(number)
        if api is None or not 0 <= version < _NEWEST:
            self._lose(self.client)
            return
        call = Call(number, version)
        answered = True
        try:
            if number != CONTROLLED_SHUTDOWN or version:
                length = body.number(2)  # never compact
                call.client = body.take(length).decode("utf-8", "replace") if length > 0 else ""
            body.flexible = 0 <= api.flexible <= version
            body.tags()
            answered = self._read(call, body)
        except Unseen:
            pass
        if not call.messages:
            if number == PRODUCE:  # of a version that is not known
                head = self._head(call, "send")
                head.type = "send"
            else:
                head = self._head(call, api.name)
                head.chatter = 0 if api.name in OWN else UNLESS_FAILED
            self._message(call, head, 0)
        for message in call.messages:
            message.end = end_ts
            message.last_token = token
            message.oneway = not answered
            message.truncated = self._cut(call)
        out += call.messages
        if not answered:
            return
        before = self._calls.pop(correlation, None)
        if before is not None:
            self._give_up(before, out)
        if len(self._calls) >= MAX_OUTSTANDING:
            self._give_up(self._calls.pop(next(iter(self._calls))), out)
        self._calls[correlation] = call

    @staticmethod
    def _cut(call: Call) -> bool:
        parts = call.parts
        if parts is None or call.api != PRODUCE:
            return False
        return not (parts.whole and all(part.records.whole for part in parts.parts))

    def _read(self, call: Call, body: Body) -> bool:
        """Reads what matters of a request; False: it has no answer."""
        api, version = call.api, call.version
        if version > APIS[api].newest or api == SASL_AUTHENTICATE:
            return True
        if api == PRODUCE:
            parts = call.parts = produce_request(body, version)
            for number, part in enumerate(parts.parts):
                self._message(call, self._send(call, part), part.place + 4 if number else 0)
            return parts.acks != 0
        if api == FETCH:
            call.parts = fetch_request(body, version, self._wanted)
        elif api in GROUP_FIRST:
            call.group = body.text()
            if call.group and self.client == EGRESS:
                self._memory.learn_group(self._process, call.client, call.group)
        return True

    def _message(self, call: Call, head: MessagingRequest, place: int) -> Message:
        """Adds a request; ``place``: where in the frame it begins, apart from others."""
        frames = self._requests
        message = Message(
            REQUEST, self.client, frames.start, frames.token, frames.offset + place, head
        )
        self._serial += 1
        message.stream = self._serial
        message.length = frames.length if not call.messages else 0
        message.complete = True
        call.messages.append(message)
        return message

    def _head(self, call: Call, operation: str) -> MessagingRequest:
        head = MessagingRequest(SYSTEM, operation)
        head.client_id = call.client
        head.group = call.group
        return head

    def _send(self, call: Call, part: Part) -> MessagingRequest:
        head = self._head(call, "send")
        head.type = "send"
        self._fill(head, part)
        return head

    def _fill(self, head: MessagingRequest, part: Part) -> None:
        """What a span says of its topic's messages."""
        records = part.records
        head.destination = part.name or self._memory.topic(part.topic)
        if not head.destination and part.topic:
            head.notes["otel_ebpf.kafka.topic_id"] = (
                base64.urlsafe_b64encode(part.topic).decode().rstrip("=")
            )
        if len(part.partitions) == 1:
            head.partition = str(part.partitions[0])
        if records.whole and records.count:
            head.batch = records.count
        head.contexts = tuple(records.contexts)
        if records.unread:
            head.notes["otel_ebpf.links.unread"] = records.unread

    # Answers

    def _told(self, body: Body, token: Any, end_ts: int, out: list[Message]) -> None:
        correlation = body.number(4)
        call = self._calls.get(correlation)
        if call is None:
            self._lose(1 - self.client)
            return
        if self._doubts:
            self._settle_doubts(call, out)
        del self._calls[correlation]
        api = APIS[call.api]
        known = call.version <= api.newest
        if 0 <= api.flexible <= call.version and call.api != API_VERSIONS:
            body.flexible = True
            if known:
                body.tags()
        if known and call.api == PRODUCE:
            self._produced(call, produce_response(body, call.version), token, end_ts, out)
        elif known and call.api == FETCH:
            told = fetch_response(body, call.version, self._wanted)
            if call.parts is not None and call.parts.follower:
                told.parts = []
            elif not told.whole and not told.parts and body.size > _SURELY:
                told.parts = [Part("", b"", 0)]
                told.parts[0].records.whole = False
            self._fetched(call, told, token, end_ts, out)
        else:
            answer = read(body, layout(call.api, call.version))
            self._memory.learn_topics(answer.topics)
            self._answer(call.messages[0], answer.error, token, end_ts, out)

    def _settle_doubts(self, call: Call, out: list[Message]) -> None:
        """Answers come in order: those of calls before this one that are doubtful were lost."""
        before = list(self._calls.items())
        for number, other in before[: next(n for n, (_, c) in enumerate(before) if c is call)]:
            if other.doubtful:
                del self._calls[number]
                self._give_up(other, out)
        self._doubts = any(other.doubtful for other in self._calls.values() if other is not call)

    def _produced(
        self, call: Call, told: Parts, token: Any, end_ts: int, out: list[Message]
    ) -> None:
        """Each topic has its own answer; one that was not seen being asked for is told of now."""
        parts = call.parts.parts if call.parts is not None else []
        waiting = {
            part.key: (part, message) for part, message in zip(parts, call.messages, strict=False)
        }
        for part in told.parts:
            found = waiting.pop(part.key, None)
            if found is not None:
                asked, message = found
                if part.offset >= 0 and asked.records.count == 1 and len(asked.partitions) == 1:
                    message.head.offset = part.offset
            elif call.parts is None or not call.parts.whole:
                message = self._late(call, self._send(call, part), out)
                message.truncated = True
            else:
                continue
            self._answer(message, part.error, token, end_ts, out)
        for _, message in waiting.values():
            self._answer(message, 0, token, end_ts, out, truncated=True)

    def _fetched(
        self, call: Call, told: Parts, token: Any, end_ts: int, out: list[Message]
    ) -> None:
        """Each topic of which there are messages, or an error, is a call of its own."""
        first = call.messages[0]
        if not told.parts or told.error:
            self._answer(first, told.error, token, end_ts, out, truncated=not told.whole)
            return
        for number, part in enumerate(told.parts):
            message = first if not number else self._late(call, self._head(call, "poll"), out)
            head = message.head
            head.operation, head.type = "poll", "receive"
            self._fill(head, part)
            if self.client == EGRESS:
                head.group = self._memory.group(self._process, call.client)
            if part.records.count == 1 and part.records.whole:
                head.offset = part.records.first
            if part.records.bytes or error_name(part.error) not in USUAL_ERRORS:
                head.chatter = 0
            self._answer(message, part.error, token, end_ts, out, truncated=not part.records.whole)
        if told.unseen:
            message.head.notes["otel_ebpf.kafka.topics_unseen"] = told.unseen

    def _late(self, call: Call, head: MessagingRequest, out: list[Message]) -> Message:
        """One more request of a call that was made: what it asked for is known now."""
        first = call.messages[0]
        message = Message(
            REQUEST, first.direction, first.start, first.token,
            first.offset + len(call.messages), head,
        )  # fmt: skip
        self._serial += 1
        message.stream = self._serial
        message.end, message.last_token = first.end, first.last_token
        message.complete = True
        call.messages.append(message)
        out.append(message)
        return message

    def _answer(
        self,
        request: Message,
        code: int,
        token: Any,
        end_ts: int,
        out: list[Message],
        truncated: bool = False,
    ) -> None:
        frames = self._answers
        name = error_name(code)
        message = Message(
            RESPONSE, 1 - self.client, frames.start, frames.token, frames.offset,
            MessagingResponse(error="" if name in USUAL_ERRORS else name),
        )  # fmt: skip
        message.stream = request.stream
        message.end = end_ts
        message.last_token = token
        message.length = frames.length
        message.truncated = truncated
        message.complete = True
        out.append(message)

    @staticmethod
    def _give_up(call: Call, out: list[Message]) -> None:
        """Its answer will never be known."""
        for message in call.messages:
            message.error = "response_lost"
            if message not in out:
                out.append(message)

    # Ends

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        self._lose(direction, desync=False)
        return []

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        return []

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        self._calls.clear()
        self._requests.reset()
        self._answers.reset()
        return []


PROTOCOL = Descriptor(
    name="kafka", number=100, parser=KafkaParser, pairs=True, relayed=True, memory=KafkaMemory
)
