"""AMQP 0-9-1, seen from outside.

Calls pair with their replies by channel and method, publishes with the broker's confirmations by
their number on the channel, deliveries with the consumer's acknowledgements by their tag. On
channels that are older than the tracer publishes and deliveries are told of once that is certain
(``amqp_midway``).
"""

from __future__ import annotations

from typing import Any

from .amqp_channel import AmqpChannel, Content
from .amqp_methods import (
    ACK,
    BODY,
    CALLS,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    CODES,
    CONFIRM_SELECT,
    CONNECTION_CLOSE,
    CONSUME,
    DELIVER,
    GET,
    GET_EMPTY,
    GET_OK,
    GREETING,
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
    framed,
    joined,
    measure,
)
from .base import Message
from .by_key import ByKey
from .descriptor import Descriptor
from .half import BAD, MORE, UNIT, Half
from .messaging import DONE, UNLESS_FAILED, MessagingRequest, MessagingResponse, carried_context
from .packets import Packets

SYSTEM = "rabbitmq"
MAX_CHANNELS = 2048
MAX_OUTSTANDING = 8192
"""Most requests of a connection that wait; above it the oldest is given up."""
_KEPT = 8192
_FRAME_MAX = 131_072


class AmqpParser(ByKey):
    """One connection.

    Memory is bounded: a frame each way, ``MAX_CHANNELS`` and ``MAX_OUTSTANDING``.
    """

    __slots__ = ("_channels", "_errors", "_frame_max", "_fresh", "_waiting")

    _requests: Packets
    _replies: Packets

    def __init__(self) -> None:
        super().__init__(Packets(measure, _KEPT), Packets(measure, _KEPT))
        self._channels: dict[int, AmqpChannel] = {}
        self._waiting: dict[int, tuple[AmqpChannel, Any]] = {}
        """By a request's number: where it waits, and under which key; the oldest first."""
        self._errors: dict[int, str] = {}
        """Errors that are known before the reply comes (returned messages), by number."""
        self._frame_max = _FRAME_MAX
        self._fresh = True

    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""
        super().begin(client, fresh)
        self._fresh = fresh

    def _resumes(self, half: Half, data: bytes, length: int, ts: int) -> bool:
        if half is self._requests and not self._channels and data.startswith(GREETING):
            self.begin(self.client, True)  # nothing was said before
        elif framed(data, length):
            half.reset()
            half.lost = False
        return not half.lost

    def _torn(self, half: Packets, missing: int, ts: int) -> None:
        while missing > 0:
            inside = half.left or self._next_body(half, ts)
            taken = min(missing, inside)
            outcome = half.skip(taken) if taken else BAD
            if outcome == BAD:
                self._lose(half, desync=False)
                return
            missing -= taken
            if outcome == UNIT:
                self._unit(half)
            elif outcome == MORE:
                return

    def _next_body(self, half: Packets, ts: int) -> int:
        """Of a long body that was not captured: its next frame begins; returns its length."""
        if len(half.data) < 3 or half.data[0] not in (HEADER, BODY):
            return 0
        number = half.data[1:3]
        channel = self._channels.get(int.from_bytes(number, "big"))
        content = channel.content[self._direction(half)] if channel is not None else None
        if content is None or content.left <= 0:
            return 0
        size = min(content.left, self._frame_max - OVERHEAD)
        half.begin(b"\3" + number + size.to_bytes(4, "big"), size + OVERHEAD, ts, self._token)
        return size + OVERHEAD

    # Frames

    def _unit(self, half: Packets) -> None:
        direction = self._direction(half)
        data = half.data
        kind, number = data[0], int.from_bytes(data[1:3], "big")
        if kind == METHOD and len(data) >= 11:
            method = int.from_bytes(data[7:9], "big"), int.from_bytes(data[9:11], "big")
            channel = self._channel(number)
            reader = Reader(data[11 : half.size - 1])
            channel.content[direction] = None
            if half is self._requests:
                self._says(channel, method, reader)
            else:
                self._told(channel, method, reader)
            return
        known = self._channels.get(number)
        content = known.content[direction] if known is not None else None
        if known is None or content is None or kind not in (HEADER, BODY):
            return
        if kind == HEADER:
            content.take_header(Properties(data[7:]))
        else:
            content.left -= half.size - OVERHEAD
        if content.left <= 0:
            known.content[direction] = None
            self._whole(known, content)

    def _channel(self, number: int) -> AmqpChannel:
        channel = self._channels.get(number)
        if channel is None:
            if len(self._channels) >= MAX_CHANNELS:
                oldest = self._channels.pop(next(iter(self._channels)))
                self._fail(oldest, "no_response")
            channel = self._channels[number] = AmqpChannel(self._fresh)
        return channel

    def _says(self, channel: AmqpChannel, method: Method, reader: Reader) -> None:
        """A method of the client's."""
        call = CALLS.get(method)
        if call is not None:
            if method == CHANNEL_OPEN:
                self._fail(channel, "no_response")
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
            message = self._asked(self._requests, self._requests.size, head)
            message.oneway = quiet
            self._out.append(message)
            if not quiet:
                self._wait(channel, method, message)
        elif method == PUBLISH:
            reader.take(2)
            exchange, key = reader.name(), reader.name()
            head = MessagingRequest(SYSTEM, "publish", "send", joined(exchange, key))
            if key:
                head.notes["messaging.rabbitmq.destination.routing_key"] = key
            message = self._asked(self._requests, self._requests.size, head)
            channel.content[self.client] = Content(method, message)
        elif method == GET:
            reader.take(2)
            head = MessagingRequest(SYSTEM, "get", "receive", reader.name())
            message = self._asked(self._requests, self._requests.size, head)
            self._out.append(message)
            self._wait(channel, method, message)
        elif method in (ACK, NACK, REJECT):
            tag, several = reader.number(8), method != REJECT and reader.number(1) & 1 == 1
            error = "" if method == ACK else "nack" if method == NACK else "reject"
            channel.acknowledges(tag)
            for message in channel.settled(1 - self.client, tag, several):
                self._answer(message, error, self._requests)
        elif method == START_OK:
            head = MessagingRequest(SYSTEM, "connect")
            head.chatter = UNLESS_FAILED
            message = self._asked(self._requests, self._requests.size, head)
            self._out.append(message)
            self._wait(channel, START_OK, message)
        elif method == TUNE_OK:
            reader.take(2)
            self._frame_max = min(max(reader.number(4), 4096), 1 << 24)
        elif method == CHANNEL_CLOSE:
            self._fail(channel, "channel_closed")
        elif method == CONNECTION_CLOSE:
            for each in self._channels.values():
                self._fail(each, "connection_closed")

    def _told(self, channel: AmqpChannel, method: Method, reader: Reader) -> None:
        """A method of the broker's."""
        broker = 1 - self.client
        asked = START_OK if method == TUNE else REPLIES.get(method)
        if asked is not None:
            waiting = channel.calls.pop(asked, None)
            if asked == CONSUME:
                channel.consuming(reader.name())
            if waiting is not None:
                self._answer(waiting, "", self._replies)
        elif method == DELIVER:
            consumer, tag, _ = reader.name(), reader.number(8), reader.number(1)
            exchange, key = reader.name(), reader.name()
            queue, automatic = channel.automatic(consumer, tag, self._end_ts)
            if automatic is None:
                return
            head = MessagingRequest(SYSTEM, "deliver", destination=joined(exchange, key, queue))
            head.type = "receive" if automatic else "process"
            head.pushed = True
            if key:
                head.notes["messaging.rabbitmq.destination.routing_key"] = key
            message = self._asked(self._replies, self._replies.size, head)
            message.oneway = automatic
            channel.content[broker] = Content(method, message, tag)
        elif method in (ACK, NACK):
            tag, several = reader.number(8), reader.number(1) & 1 == 1
            if not channel.confirmed(tag, self._end_ts):
                for message in channel.unconfirmed(self.client):
                    self._give_up(message, "response_lost")
            for message in channel.settled(self.client, tag, several):
                error = "nack" if method == NACK else self._errors.pop(message.stream, "")
                self._answer(message, error, self._replies)
        elif method == GET_OK:
            _, _, exchange, key = reader.number(8), reader.number(1), reader.name(), reader.name()
            waiting = channel.calls.pop(GET, None)
            if waiting is not None:
                queue = waiting.head.destination
                waiting.head.destination = joined(exchange, key, queue)
                reply = self._begin_reply(waiting, "", self._replies)
                channel.content[broker] = Content(method, waiting, reply=reply)
        elif method == GET_EMPTY:
            waiting = channel.calls.pop(GET, None)
            if waiting is not None:
                self._answer(waiting, "", self._replies)
        elif method == RETURN:
            code, _ = reader.number(2), reader.name()
            back = channel.returned(self.client, joined(reader.name(), reader.name()), self._errors)
            if back is not None:
                self._errors[back.stream] = CODES.get(code, "_OTHER")
        elif method == CHANNEL_CLOSE:
            error = CODES.get(reader.number(2), "channel_closed")
            self._refuse(channel, error)
        elif method == CONNECTION_CLOSE:
            error = CODES.get(reader.number(2), "connection_closed")
            for each in self._channels.values():
                self._refuse(each, error)

    def _whole(self, channel: AmqpChannel, content: Content) -> None:
        """A message has come to its end."""
        message, reply = content.message, content.reply
        ended = message if reply is None else reply
        ended.end = self._end_ts
        ended.last_token = self._token
        if reply is not None:
            self._close(message, reply)
            return
        number = content.tag
        if content.method == PUBLISH:
            number = channel.published(message.start)
            if number < 0:
                return
            message.oneway = not number
        self._out.append(message)
        if not message.oneway:
            self._wait(channel, (message.direction, number), message)

    # Requests and replies

    def _wait(self, channel: AmqpChannel, key: Any, message: Message) -> None:
        before = channel.wait(key, message)
        if before is not None:
            self._give_up(before, "no_response")
        self._waiting[message.stream] = channel, key
        if len(self._waiting) > MAX_OUTSTANDING:
            owner, place = self._waiting.pop(next(iter(self._waiting)))
            oldest = owner.drop(place)
            if oldest is not None:
                self._give_up(oldest, "no_response")

    def _begin_reply(self, asked: Message, error: str, half: Packets) -> Message:
        head = MessagingResponse(error, error) if error else DONE
        return self._answer_to(asked, half, half.size, head)

    def _answer(self, asked: Message, error: str, half: Packets) -> None:
        self._close(asked, self._begin_reply(asked, error, half))

    def _close(self, asked: Message, reply: Message) -> None:
        self._waiting.pop(asked.stream, None)
        reply.complete = True
        self._out.append(reply)

    def _give_up(self, message: Message, error: str) -> None:
        self._waiting.pop(message.stream, None)
        self._errors.pop(message.stream, None)
        super()._give_up(message, error)

    def _fail(self, channel: AmqpChannel, error: str) -> None:
        """All that waits on a channel ends so."""
        for message in channel.clear():
            self._give_up(message, error)

    def _refuse(self, channel: AmqpChannel, error: str) -> None:
        """The broker closes: its word is the reply to all that the client waits for."""
        for message in channel.clear():
            if message.direction == self.client:
                self._answer(message, error, self._replies)
            else:
                self._give_up(message, error)

    # Losses

    def _lose(self, half: Half, desync: bool = True) -> None:
        super()._lose(half, desync)
        direction = self._direction(half)
        for channel in self._channels.values():
            content, channel.content[direction] = channel.content[direction], None
            if content is not None and content.reply is not None:
                self._give_up(content.message, "response_lost")
            if half is self._requests:  # the number of a publish is not known any more
                for message in channel.unconfirmed(direction):
                    self._give_up(message, "response_lost")


PROTOCOL = Descriptor(
    name="amqp", number=102, parser=AmqpParser, carried_context=carried_context, pairs=True
)
