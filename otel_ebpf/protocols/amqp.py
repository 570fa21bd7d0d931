"""AMQP 0-9-1, seen from outside.

Calls pair with their replies by channel and method, publishes with the broker's confirmations by
their number on the channel, deliveries with the consumer's acknowledgements by their tag. A
connection is known by its greeting alone, so nothing is ever joined midway.
"""

from __future__ import annotations

from typing import Any

from .amqp_channel import AmqpChannel, Content
from .amqp_methods import (
    ACK,
    BODY,
    CALLS,
    CHANNEL_CLOSE,
    CODES,
    CONFIRM_SELECT,
    CONNECTION_CLOSE,
    CONSUME,
    DELIVER,
    GET,
    GET_EMPTY,
    GET_OK,
    HEADER,
    METHOD,
    NACK,
    OVERHEAD,
    PUBLISH,
    REJECT,
    REPLIES,
    RETURN,
    START_OK,
    TUNE,
    TUNE_OK,
    Method,
    Properties,
    Reader,
    joined,
    measure,
)
from .base import REQUEST, RESPONSE, Message
from .descriptor import Descriptor
from .half import BAD, MORE, UNIT
from .messaging import DONE, UNLESS_FAILED, MessagingRequest, MessagingResponse, carried_context
from .packets import Packets, chained

SYSTEM = "rabbitmq"
MAX_CHANNELS = 2048
MAX_OUTSTANDING = 8192
"""Most requests of a connection that wait; above it the oldest is given up."""
_KEPT = 8192
_FRAME_MAX = 131_072


class AmqpParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: a frame each way, ``MAX_CHANNELS`` and ``MAX_OUTSTANDING``.
    """

    __slots__ = (
        "_channels",
        "_frame_max",
        "_lost",
        "_packets",
        "_replies",
        "_serial",
        "_waiting",
        "client",
        "desyncs",
        "upgraded",
    )

    def __init__(self) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._packets = (Packets(measure, _KEPT), Packets(measure, _KEPT))
        self._lost = [False, False]
        """By direction: where the next frame begins is not known."""
        self._channels: dict[int, AmqpChannel] = {}
        self._waiting: dict[int, tuple[AmqpChannel, Any]] = {}
        """By a request's number: where it waits, and under which key; the oldest first."""
        self._replies: dict[int, str] = {}
        """Errors that are known before the reply comes (returned messages), by number."""
        self._serial = 0
        self._frame_max = _FRAME_MAX

    @property
    def in_step(self) -> bool:
        """Where frames begin is known."""
        return not (self._lost[0] or self._lost[1])

    @property
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""
        return False

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
        packets = self._packets[direction]
        if self._lost[direction]:
            if not chained(measure, data, length):
                return out
            packets.reset()
            self._lost[direction] = False
        at, size = 0, len(data)
        while at < size:
            at, outcome = packets.feed(data, at, ts, token)
            if outcome == UNIT:
                self._frame(direction, end_ts, token, out)
                if self._lost[direction]:
                    return out
            elif outcome == BAD:
                self._lose(direction, end_ts, out)
                return out
        missing = length - size
        while missing > 0:
            inside = packets.left
            if not inside:
                inside = self._next_body(direction, ts, token)
            taken = min(missing, inside)
            outcome = packets.skip(taken) if taken else BAD
            if outcome == BAD:
                self._lose(direction, end_ts, out, desync=False)
                return out
            missing -= taken
            if outcome == UNIT:
                self._frame(direction, end_ts, token, out)
            elif outcome == MORE:
                break
        return out

    def _next_body(self, direction: int, ts: int, token: Any) -> int:
        """Of a long body that was not captured: its next frame begins; returns its length."""
        packets = self._packets[direction]
        if len(packets.data) < 3 or packets.data[0] not in (HEADER, BODY):
            return 0
        number = packets.data[1:3]
        channel = self._channels.get(int.from_bytes(number, "big"))
        content = channel.content[direction] if channel is not None else None
        if content is None or content.left <= 0:
            return 0
        size = min(content.left, self._frame_max - OVERHEAD)
        packets.begin(b"\3" + number + size.to_bytes(4, "big"), size + OVERHEAD, ts, token)
        return size + OVERHEAD

    # Frames

    def _frame(self, direction: int, end_ts: int, token: Any, out: list[Message]) -> None:
        data = self._packets[direction].data
        kind, number = data[0], int.from_bytes(data[1:3], "big")
        if kind == METHOD and len(data) >= 11:
            method = int.from_bytes(data[7:9], "big"), int.from_bytes(data[9:11], "big")
            channel = self._channel(number, end_ts, out)
            reader = Reader(data[11 : self._packets[direction].size - 1])
            channel.content[direction] = None
            if direction == self.client:
                self._asked(channel, method, reader, end_ts, token, out)
            else:
                self._told(channel, method, reader, end_ts, token, out)
            return
        known = self._channels.get(number)
        content = known.content[direction] if known is not None else None
        if known is None or content is None or kind not in (HEADER, BODY):
            return
        if kind == HEADER:
            content.take_header(Properties(data[7:]))
        else:
            content.left -= self._packets[direction].size - OVERHEAD
        if content.left <= 0:
            known.content[direction] = None
            self._whole(known, content, end_ts, token, out)

    def _channel(self, number: int, end_ts: int, out: list[Message]) -> AmqpChannel:
        channel = self._channels.get(number)
        if channel is None:
            if len(self._channels) >= MAX_CHANNELS:
                oldest = self._channels.pop(next(iter(self._channels)))
                self._fail(oldest, "no_response", end_ts, out)
            channel = self._channels[number] = AmqpChannel()
        return channel

    def _asked(
        self,
        channel: AmqpChannel,
        method: Method,
        reader: Reader,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        """A method of the client's."""
        call = CALLS.get(method)
        if call is not None:
            reader.take(call.reserved)
            names = [reader.name() for _ in range(call.names)]
            bits = reader.number(1) if call.quiet >= 0 or method == CONSUME else 0
            head = MessagingRequest(SYSTEM, call.name)
            head.chatter = call.chatter
            if call.about >= 0:
                head.destination = names[call.about]
            if method == CONSUME:
                channel.consume(names[1], names[0], bool(bits & 2))
            quiet = call.quiet >= 0 and bits >> call.quiet & 1 == 1
            if method == CONFIRM_SELECT:
                channel.confirms()
            message = self._begin(head, end_ts, token)
            message.oneway = quiet
            out.append(message)
            if not quiet:
                self._wait(channel, method, message, end_ts, out)
        elif method == PUBLISH:
            reader.take(2)
            exchange, key = reader.name(), reader.name()
            head = MessagingRequest(SYSTEM, "publish", "send", joined(exchange, key))
            if key:
                head.notes["messaging.rabbitmq.destination.routing_key"] = key
            message = self._begin(head, end_ts, token)
            channel.content[self.client] = Content(method, message)
        elif method == GET:
            reader.take(2)
            head = MessagingRequest(SYSTEM, "get", "receive", reader.name())
            message = self._begin(head, end_ts, token)
            out.append(message)
            self._wait(channel, method, message, end_ts, out)
        elif method in (ACK, NACK, REJECT):
            tag, several = reader.number(8), method != REJECT and reader.number(1) & 1 == 1
            error = "" if method == ACK else "nack" if method == NACK else "reject"
            for message in channel.settled(1 - self.client, tag, several):
                self._answer(message, error, self.client, end_ts, token, out)
        elif method == START_OK:
            head = MessagingRequest(SYSTEM, "connect")
            head.chatter = UNLESS_FAILED
            message = self._begin(head, end_ts, token)
            out.append(message)
            self._wait(channel, START_OK, message, end_ts, out)
        elif method == TUNE_OK:
            reader.take(2)
            self._frame_max = min(max(reader.number(4), 4096), 1 << 24)
        elif method == CHANNEL_CLOSE:
            self._fail(channel, "channel_closed", end_ts, out)
        elif method == CONNECTION_CLOSE:
            for each in self._channels.values():
                self._fail(each, "connection_closed", end_ts, out)

    def _told(
        self,
        channel: AmqpChannel,
        method: Method,
        reader: Reader,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        """A method of the broker's."""
        broker = 1 - self.client
        asked = START_OK if method == TUNE else REPLIES.get(method)
        if asked is not None:
            waiting = channel.calls.pop(asked, None)
            if asked == CONSUME:
                channel.consuming(reader.name())
            if waiting is not None:
                self._answer(waiting, "", broker, end_ts, token, out)
        elif method == DELIVER:
            consumer, tag, _ = reader.name(), reader.number(8), reader.number(1)
            exchange, key = reader.name(), reader.name()
            queue, automatic = channel.consumers.get(consumer, ("", False))
            head = MessagingRequest(SYSTEM, "deliver", destination=joined(exchange, key, queue))
            head.type = "receive" if automatic else "process"
            head.pushed = True
            if key:
                head.notes["messaging.rabbitmq.destination.routing_key"] = key
            message = self._begin(head, end_ts, token, broker)
            message.oneway = automatic
            channel.content[broker] = Content(method, message, tag)
        elif method in (ACK, NACK):
            tag, several = reader.number(8), reader.number(1) & 1 == 1
            for message in channel.settled(self.client, tag, several):
                error = "nack" if method == NACK else self._replies.pop(message.stream, "")
                self._answer(message, error, broker, end_ts, token, out)
        elif method == GET_OK:
            _, _, exchange, key = reader.number(8), reader.number(1), reader.name(), reader.name()
            waiting = channel.calls.pop(GET, None)
            if waiting is not None:
                queue = waiting.head.destination
                waiting.head.destination = joined(exchange, key, queue)
                reply = self._reply(waiting, "", broker, end_ts, token)
                channel.content[broker] = Content(method, waiting, reply=reply)
        elif method == GET_EMPTY:
            waiting = channel.calls.pop(GET, None)
            if waiting is not None:
                self._answer(waiting, "", broker, end_ts, token, out)
        elif method == RETURN:
            code, _ = reader.number(2), reader.name()
            back = channel.returned(
                self.client, joined(reader.name(), reader.name()), self._replies
            )
            if back is not None:
                self._replies[back.stream] = CODES.get(code, "_OTHER")
        elif method == CHANNEL_CLOSE:
            error = CODES.get(reader.number(2), "channel_closed")
            self._refuse(channel, error, end_ts, token, out)
        elif method == CONNECTION_CLOSE:
            error = CODES.get(reader.number(2), "connection_closed")
            for each in self._channels.values():
                self._refuse(each, error, end_ts, token, out)

    def _whole(
        self, channel: AmqpChannel, content: Content, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        """A message has come to its end."""
        message, reply = content.message, content.reply
        if reply is not None:
            reply.end = end_ts
            reply.last_token = token
            self._close(message, reply, out)
            return
        message.end = end_ts
        message.last_token = token
        number = content.tag
        if content.method == PUBLISH:
            number = channel.published()
            message.oneway = not number
        out.append(message)
        if not message.oneway:
            self._wait(channel, (message.direction, number), message, end_ts, out)

    # Requests and replies

    def _begin(
        self, head: MessagingRequest, end_ts: int, token: Any, direction: int = -1
    ) -> Message:
        direction = self.client if direction < 0 else direction
        packets = self._packets[direction]
        message = Message(REQUEST, direction, packets.start, packets.token, packets.offset, head)
        self._serial += 1
        message.stream = self._serial
        message.length = packets.size
        message.end = end_ts
        message.last_token = token
        message.complete = True
        return message

    def _wait(
        self, channel: AmqpChannel, key: Any, message: Message, end_ts: int, out: list[Message]
    ) -> None:
        before = channel.wait(key, message)
        if before is not None:
            self._give_up(before, "no_response", end_ts, out)
        self._waiting[message.stream] = channel, key
        if len(self._waiting) > MAX_OUTSTANDING:
            owner, place = self._waiting.pop(next(iter(self._waiting)))
            oldest = owner.drop(place)
            if oldest is not None:
                self._give_up(oldest, "no_response", end_ts, out)

    def _reply(
        self, asked: Message, error: str, direction: int, end_ts: int, token: Any
    ) -> Message:
        packets = self._packets[direction]
        head = MessagingResponse(error, error) if error else DONE
        message = Message(RESPONSE, direction, packets.start, packets.token, packets.offset, head)
        message.stream = asked.stream
        message.end = end_ts
        message.last_token = token
        message.length = packets.size
        return message

    def _answer(
        self,
        asked: Message,
        error: str,
        direction: int,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        self._close(asked, self._reply(asked, error, direction, end_ts, token), out)

    def _close(self, asked: Message, reply: Message, out: list[Message]) -> None:
        self._waiting.pop(asked.stream, None)
        reply.complete = True
        out.append(reply)

    def _give_up(self, message: Message, error: str, end_ts: int, out: list[Message]) -> None:
        self._waiting.pop(message.stream, None)
        self._replies.pop(message.stream, None)
        message.error = error
        message.end = max(message.end, end_ts)
        if not any(message is other for other in out):
            out.append(message)

    def _fail(self, channel: AmqpChannel, error: str, end_ts: int, out: list[Message]) -> None:
        """All that waits on a channel ends so."""
        for message in channel.clear():
            self._give_up(message, error, end_ts, out)

    def _refuse(
        self, channel: AmqpChannel, error: str, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        """The broker closes: its word is the reply to all that the client waits for."""
        for message in channel.clear():
            if message.direction == self.client:
                self._answer(message, error, 1 - self.client, end_ts, token, out)
            else:
                self._give_up(message, error, end_ts, out)

    # Losses and ends

    def _lose(self, direction: int, end_ts: int, out: list[Message], desync: bool = True) -> None:
        self.desyncs += desync
        self._lost[direction] = True
        self._packets[direction].reset()
        for channel in self._channels.values():
            content, channel.content[direction] = channel.content[direction], None
            if content is not None and content.reply is not None:
                self._give_up(content.message, "response_lost", end_ts, out)
            if direction == self.client:  # the number of a publish is not known any more
                for message in channel.unconfirmed(direction):
                    self._give_up(message, "response_lost", end_ts, out)

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out: list[Message] = []
        self._lose(direction, ts, out, desync=False)
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        return []

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        self._packets[0].reset()
        self._packets[1].reset()
        return []


PROTOCOL = Descriptor(
    name="amqp", number=102, parser=AmqpParser, carried_context=carried_context, pairs=True
)
