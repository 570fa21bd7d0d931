"""MQTT 3.1, 3.1.1 and 5, seen from outside.

Both sides publish, and packet identifiers pair: the client's PUBLISH is its request, and one that
the server delivers is the server's. Quality of service 0 has no reply, 1 ends with PUBACK, 2 with
PUBCOMP. A connection is known by its CONNECT alone, so nothing is ever joined midway.
"""

from __future__ import annotations

from typing import Any

from .base import REQUEST, RESPONSE, Message
from .descriptor import Descriptor
from .messaging import (
    ALWAYS,
    DONE,
    UNLESS_FAILED,
    MessagingRequest,
    MessagingResponse,
    carried_context,
)
from .mqtt_packets import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    RETURNS,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Reader,
    failure,
    fits,
    measure,
)
from .packets import BAD, PACKET, Packets, chained

SYSTEM = "mqtt"
MAX_OUTSTANDING = 4096
"""Most requests of one side that wait; above it the oldest is given up."""
MAX_ALIASES = 1024
_KEPT = 8192
_LOGIN, _PING = -1, -2
"""Keys of requests without a packet identifier."""
_ANSWERS = {SUBACK: SUBSCRIBE, UNSUBACK: UNSUBSCRIBE}


class MqttParser:
    """One connection. Follows ``base.PairingParser``; never raises on any bytes.

    Memory is bounded: the packet in progress each way, ``MAX_OUTSTANDING`` requests and
    ``MAX_ALIASES`` topics of each side.
    """

    __slots__ = (
        "_aliases",
        "_client_id",
        "_lost",
        "_packets",
        "_replies",
        "_serial",
        "_version",
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
        """By direction: where the next packet begins is not known."""
        self._waiting: tuple[dict[int, Message], dict[int, Message]] = ({}, {})
        """By direction of requests: those that wait, by packet identifier."""
        self._replies: dict[int, Message] = {}
        """Replies to requests of service 2 that have begun, by the request's number."""
        self._aliases: tuple[dict[int, str], dict[int, str]] = ({}, {})
        self._serial = 0
        self._version = 0
        self._client_id = ""

    @property
    def in_step(self) -> bool:
        """Where packets begin is known."""
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
            if outcome == PACKET:
                self._packet(direction, end_ts, token, out)
            elif outcome == BAD:
                self._lose(direction)
                return out
        if length > size:
            outcome = packets.skip(length - size)
            if outcome == PACKET:
                self._packet(direction, end_ts, token, out)
            elif outcome == BAD:
                self._lose(direction, desync=False)
        return out

    def _packet(self, direction: int, end_ts: int, token: Any, out: list[Message]) -> None:
        data = self._packets[direction].data
        kind = data[0] >> 4
        asks = direction == self.client
        if not fits(kind, asks):
            self._lose(direction)
            return
        reader = Reader(data)
        if kind == PUBLISH:
            self._publish(direction, data[0], reader, end_ts, token, out)
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self._acknowledge(direction, kind, reader, end_ts, token, out)
        elif kind in (SUBSCRIBE, UNSUBSCRIBE):
            self._subscribe(direction, kind, reader, end_ts, token, out)
        elif kind in _ANSWERS:
            number = reader.number(2)
            if self._version >= 5:
                reader.properties()
            worst = 0
            while reader.more:
                worst = max(worst, reader.number(1))
            self._answer(direction, number, failure(worst), end_ts, token, out)
        elif kind == CONNECT:
            self._connect(direction, reader, end_ts, token, out)
        elif kind == CONNACK:
            reader.number(1)
            code = reader.number(1)
            if self._version >= 5:
                given = reader.properties().client_id
                self._client_id = given or self._client_id
            else:
                code = RETURNS.get(code, code)
            self._answer(direction, _LOGIN, failure(code), end_ts, token, out)
        elif kind == PINGREQ:
            head = self._head("ping")
            head.chatter = ALWAYS
            self._ask(direction, _PING, head, end_ts, token, out)
        elif kind == PINGRESP:
            self._answer(direction, _PING, "", end_ts, token, out)
        elif kind == DISCONNECT and self._version >= 5 and reader.more:
            self._disconnect(direction, failure(reader.number(1)), end_ts, token, out)
        elif kind == AUTH:  # goes on with the login
            return

    # Requests

    def _connect(
        self, direction: int, reader: Reader, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        reader.text()
        self._version = reader.number(1)
        reader.number(3)
        if self._version >= 5:
            reader.properties()
        self._client_id = reader.text()
        head = self._head("connect")
        head.chatter = UNLESS_FAILED
        self._ask(direction, _LOGIN, head, end_ts, token, out)

    def _publish(
        self,
        direction: int,
        first: int,
        reader: Reader,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        quality = first >> 1 & 3
        topic = reader.text()
        number = reader.number(2) if quality else 0
        context = None
        aliases = self._aliases[direction]
        if self._version >= 5:
            properties = reader.properties()
            context = properties.context
            if properties.alias and not topic:
                topic = aliases.get(properties.alias, "")
            elif properties.alias and (len(aliases) < MAX_ALIASES or properties.alias in aliases):
                aliases[properties.alias] = topic
        pushed = direction != self.client
        head = self._head("deliver" if pushed else "publish")
        head.type = ("process" if quality else "receive") if pushed else "send"
        head.pushed = pushed
        head.destination = topic
        if not reader.short:
            head.body_size = max(self._packets[direction].size - reader.at, 0)
        if context is not None:
            head.contexts = (context,)
        known = self._waiting[direction].get(number) if quality else None
        if first & 8 and known is not None:
            return  # sent again
        self._ask(direction, number, head, end_ts, token, out, waits=quality > 0)
        if reader.short and out:
            out[-1].truncated = True

    def _subscribe(
        self,
        direction: int,
        kind: int,
        reader: Reader,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        number = reader.number(2)
        if self._version >= 5:
            reader.properties()
        head = self._head("subscribe" if kind == SUBSCRIBE else "unsubscribe")
        topic = reader.text()
        if kind == SUBSCRIBE:
            reader.number(1)
        if not reader.more:
            head.destination = topic
        self._ask(direction, number, head, end_ts, token, out)

    def _head(self, operation: str) -> MessagingRequest:
        head = MessagingRequest(SYSTEM, operation)
        head.client_id = self._client_id
        return head

    def _ask(
        self,
        direction: int,
        number: int,
        head: MessagingRequest,
        end_ts: int,
        token: Any,
        out: list[Message],
        waits: bool = True,
    ) -> None:
        packets = self._packets[direction]
        message = Message(REQUEST, direction, packets.start, packets.token, packets.offset, head)
        self._serial += 1
        message.stream = self._serial
        message.length = packets.size
        message.end = end_ts
        message.last_token = token
        message.complete = True
        message.oneway = not waits
        out.append(message)
        if not waits:
            return
        waiting = self._waiting[direction]
        before = waiting.pop(number, None)
        if before is None and len(waiting) >= MAX_OUTSTANDING:
            before = waiting.pop(next(iter(waiting)))
        if before is not None:
            self._give_up(before, "no_response", end_ts, out)
        waiting[number] = message

    def _give_up(self, message: Message, error: str, end_ts: int, out: list[Message]) -> None:
        self._replies.pop(message.stream, None)
        message.error = error
        message.end = max(message.end, end_ts)
        if not any(message is other for other in out):
            out.append(message)

    # Replies

    def _acknowledge(
        self,
        direction: int,
        kind: int,
        reader: Reader,
        end_ts: int,
        token: Any,
        out: list[Message],
    ) -> None:
        number = reader.number(2)
        error = failure(reader.number(1)) if reader.more else ""
        if kind == PUBREL:  # the publisher's own
            return
        self._answer(direction, number, error, end_ts, token, out, kind == PUBREC and not error)

    def _answer(
        self,
        direction: int,
        number: int,
        error: str,
        end_ts: int,
        token: Any,
        out: list[Message],
        more: bool = False,
    ) -> None:
        """A reply; ``more``: it goes on with another packet."""
        waiting = self._waiting[1 - direction]
        asked = waiting.get(number)
        if asked is None:
            return
        message = self._replies.pop(asked.stream, None)
        packets = self._packets[direction]
        if message is None:
            message = Message(
                RESPONSE, direction, packets.start, packets.token, packets.offset, DONE
            )
            message.stream = asked.stream
        if error:
            message.head = MessagingResponse(error, error)
        message.end = end_ts
        message.last_token = token
        message.length += packets.size
        if more:
            self._replies[asked.stream] = message
        else:
            del waiting[number]
            message.complete = True
        if not any(message is other for other in out):
            out.append(message)

    def _disconnect(
        self, direction: int, error: str, end_ts: int, token: Any, out: list[Message]
    ) -> None:
        """The other side's requests end with the reason for which the connection does."""
        if error:
            for number in list(self._waiting[1 - direction]):
                self._answer(direction, number, error, end_ts, token, out)

    # Losses and ends

    def _lose(self, direction: int, desync: bool = True) -> None:
        self.desyncs += desync
        self._lost[direction] = True
        self._packets[direction].reset()

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        self._lose(direction, desync=False)
        return []

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``."""
        return []

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        self._packets[0].reset()
        self._packets[1].reset()
        return []


PROTOCOL = Descriptor(
    name="mqtt", number=101, parser=MqttParser, carried_context=carried_context, pairs=True
)
