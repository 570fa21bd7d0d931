"""Kafka's protocol, seen from outside.

A request has the number of its call, its version and a correlation id, which its answer
repeats. Produce is one span for each topic, Fetch one for each topic of which messages came;
all else is what clients do on their own account, or the program's own administration.
"""

from __future__ import annotations

import base64

from .base import EGRESS, REQUEST, Message
from .by_number import ByNumber
from .descriptor import Descriptor
from .half import Half
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
from .kafka_frames import LONGEST, Body, Frames, Unseen
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


class KafkaParser(ByNumber):
    """One connection.

    Memory is bounded: ``MAX_OUTSTANDING`` calls, and the parts of one frame each way.
    """

    __slots__ = ("_calls", "_doubts", "_memory", "_process", "_wanted")

    alone = range(4, 5)
    _requests: Frames
    _replies: Frames

    def __init__(self) -> None:
        super().__init__(Frames(plausible), Frames(self._answers))
        self._calls: dict[int, Call] = {}
        """By correlation id, the oldest first."""
        self._doubts = False
        """Some calls are doubtful."""
        self._wanted: dict[tuple[object, int], int] = {}
        self._memory = KafkaMemory()
        self._process = 0

    def remember(self, memory: KafkaMemory, process: int) -> None:
        """``memory``: what all connections know; ``process``: whose this one is."""
        self._memory = memory
        self._process = process

    # Framing

    def _answers(self, head: bytes) -> bool:
        """Whether an answer to a call that waits can begin so."""
        size = int.from_bytes(head[:4], "big")
        return 4 <= size < LONGEST and int.from_bytes(head[4:8], "big", signed=True) in self._calls

    def _fits(self, half: Half, head: bytes) -> bool:
        if half is self._requests:
            return plausible(head)
        return len(head) >= 8 and self._answers(head)

    def _lose(self, half: Half, desync: bool = True) -> None:
        super()._lose(half, desync)
        if half is self._replies:
            for call in self._calls.values():
                call.doubtful = self._doubts = True

    def _unit(self, frames: Frames) -> None:
        body = frames.body()
        try:
            if frames is self._requests:
                self._request(body)
            else:
                self._answered(body)
        except Unseen:
            return

    # Requests

    def _request(self, body: Body) -> None:
        number, version, correlation = body.number(2), body.number(2), body.number(4)
        api = APIS.get(number)
        if api is None or not 0 <= version < _NEWEST:
            self._lose(self._requests)
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
            message.oneway = not answered
            message.truncated = self._cut(call)
        self._out += call.messages
        if not answered:
            return
        before = self._calls.pop(correlation, None)
        if before is not None:
            self._give_up_call(before)
        if len(self._calls) >= MAX_OUTSTANDING:
            self._give_up_call(self._calls.pop(next(iter(self._calls))))
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
        message = self._asked(frames, frames.length if not call.messages else 0, head)
        message.offset += place
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

    def _answered(self, body: Body) -> None:
        correlation = body.number(4)
        call = self._calls.get(correlation)
        if call is None:
            self._lose(self._replies)
            return
        if self._doubts:
            self._settle_doubts(call)
        del self._calls[correlation]
        api = APIS[call.api]
        known = call.version <= api.newest
        if 0 <= api.flexible <= call.version and call.api != API_VERSIONS:
            body.flexible = True
            if known:
                body.tags()
        if known and call.api == PRODUCE:
            self._produced(call, produce_response(body, call.version))
        elif known and call.api == FETCH:
            told = fetch_response(body, call.version, self._wanted)
            if call.parts is not None and call.parts.follower:
                told.parts = []
            elif not told.whole and not told.parts and body.size > _SURELY:
                told.parts = [Part("", b"", 0)]
                told.parts[0].records.whole = False
            self._fetched(call, told)
        else:
            answer = read(body, layout(call.api, call.version))
            self._memory.learn_topics(answer.topics)
            self._answer(call.messages[0], answer.error)

    def _settle_doubts(self, call: Call) -> None:
        """Answers come in order: those of calls before this one that are doubtful were lost."""
        before = list(self._calls.items())
        for number, other in before[: next(n for n, (_, c) in enumerate(before) if c is call)]:
            if other.doubtful:
                del self._calls[number]
                self._give_up_call(other)
        self._doubts = any(other.doubtful for other in self._calls.values() if other is not call)

    def _produced(self, call: Call, told: Parts) -> None:
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
                message = self._late(call, self._send(call, part))
                message.truncated = True
            else:
                continue
            self._answer(message, part.error)
        for _, message in waiting.values():
            self._answer(message, 0, truncated=True)

    def _fetched(self, call: Call, told: Parts) -> None:
        """Each topic of which there are messages, or an error, is a call of its own."""
        first = call.messages[0]
        if not told.parts or told.error:
            self._answer(first, told.error, truncated=not told.whole)
            return
        for number, part in enumerate(told.parts):
            message = first if not number else self._late(call, self._head(call, "poll"))
            head = message.head
            head.operation, head.type = "poll", "receive"
            self._fill(head, part)
            if self.client == EGRESS:
                head.group = self._memory.group(self._process, call.client)
            if part.records.count == 1 and part.records.whole:
                head.offset = part.records.first
            if part.records.bytes or error_name(part.error) not in USUAL_ERRORS:
                head.chatter = 0
            self._answer(message, part.error, truncated=not part.records.whole)
        if told.unseen:
            message.head.notes["otel_ebpf.kafka.topics_unseen"] = told.unseen

    def _late(self, call: Call, head: MessagingRequest) -> Message:
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
        self._out.append(message)
        return message

    def _answer(self, request: Message, code: int, truncated: bool = False) -> None:
        frames = self._replies
        name = error_name(code)
        head = MessagingResponse(error="" if name in USUAL_ERRORS else name)
        message = self._answer_to(request, frames, frames.length, head)
        message.truncated = truncated
        message.complete = True
        self._out.append(message)

    def _give_up_call(self, call: Call) -> None:
        """Its answer will never be known."""
        for message in call.messages:
            message.error = "response_lost"
            self._tell(message)


PROTOCOL = Descriptor(
    name="kafka", number=100, parser=KafkaParser, pairs=True, relayed=True, memory=KafkaMemory
)
