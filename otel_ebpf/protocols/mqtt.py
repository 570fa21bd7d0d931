"""MQTT 3.1, 3.1.1 and 5, seen from outside.

Both sides publish, and packet identifiers pair: the client's PUBLISH is its request, and one that
the server delivers is the server's. Quality of service 0 has no reply, 1 ends with PUBACK, 2 with
PUBCOMP. Of a connection that was joined midway the version is not known until an acknowledgement
shows it: only 5 gives reasons. What the version says how to read is left out until then.
"""

from __future__ import annotations

from typing import Any

from .base import Message
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
from .mqtt_packets import (
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
    opens,
    whole,
)
from .packets import Packets

SYSTEM = "mqtt"
MAX_OUTSTANDING = 4096
"""Most requests of one side that wait; above it the oldest is given up."""
MAX_ALIASES = 1024
_KEPT = 8192
_LOGIN, _PING = -1, -2
_NOTHING: tuple[bytes, int, Any] = b"", 0, None
"""Keys of requests without a packet identifier."""


class MqttParser(ByKey):
    """One connection.

    Memory is bounded: the packet in progress each way, ``MAX_OUTSTANDING`` requests and
    ``MAX_ALIASES`` topics of each side.
    """

    __slots__ = ("_aliases", "_client_id", "_opened", "_pending", "_version", "_waiting")

    _requests: Packets
    _replies: Packets

    def __init__(self) -> None:
        super().__init__(Packets(measure, _KEPT), Packets(measure, _KEPT))
        self._waiting: tuple[dict[int, Message], dict[int, Message]] = ({}, {})
        """By whether the client asks: requests that wait, by packet identifier."""
        self._pending: dict[int, Message] = {}
        """Replies to requests of service 2 that have begun, by the request's number."""
        self._aliases: tuple[dict[int, str], dict[int, str]] = ({}, {})
        """By whether the client publishes."""
        self._version = 0
        """0: not known."""
        self._client_id = ""
        self._opened: list[tuple[bytes, int, Any]] = [_NOTHING, _NOTHING]
        """By whether the client asks, of a direction that was lost: what may be a packet's first
        bytes, read alone, with their time and token."""

    def _resumes(self, half: Half, data: bytes, length: int, ts: int) -> bool:
        asks = half is self._requests
        first, began, token = self._opened[asks]
        self._opened[asks] = _NOTHING
        both = first + data
        if first and whole(both, len(first) + length, asks):
            half.reset()
            half.lost = False
            half.feed(first, 0, began, token)
        elif whole(data, length, asks):
            half.reset()
            half.lost = False
        elif len(data) == length:
            if first and opens(both):
                self._opened[asks] = both, began, token
            elif opens(data):
                self._opened[asks] = data, ts, self._token
        return not half.lost

    def _unit(self, packets: Packets) -> None:
        kind = packets.data[0] >> 4
        if not fits(kind, asks=packets is self._requests):
            self._lose(packets)
            return
        reader = Reader(packets.data)
        if kind == PUBLISH:
            self._publish(packets, reader)
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self._acknowledge(packets, kind, reader)
        elif kind in (SUBSCRIBE, UNSUBSCRIBE):
            self._subscribe(packets, kind, reader)
        elif kind in (SUBACK, UNSUBACK):
            self._subscribed(packets, reader)
        elif kind == CONNECT:
            self._connect(packets, reader)
        elif kind == CONNACK:
            self._connected(packets, reader)
        elif kind == PINGREQ:
            head = self._head("ping")
            head.chatter = ALWAYS
            self._ask(packets, _PING, head)
        elif kind == PINGRESP:
            self._answer(packets, _PING, "")
        elif kind == DISCONNECT and self._version >= 5 and reader.more:
            self._disconnect(packets, failure(reader.number(1)))
        # AUTH goes on with the login.

    # Requests

    def _connect(self, packets: Packets, reader: Reader) -> None:
        reader.text()
        self._version = reader.number(1)
        reader.number(3)
        if self._version >= 5:
            reader.properties()
        self._client_id = reader.text()
        head = self._head("connect")
        head.chatter = UNLESS_FAILED
        self._ask(packets, _LOGIN, head)

    def _publish(self, packets: Packets, reader: Reader) -> None:
        first = packets.data[0]
        pushed = packets is self._replies
        quality = first >> 1 & 3
        topic = reader.text()
        number = reader.number(2) if quality else 0
        context = None
        if self._version >= 5:
            properties = reader.properties()
            context = properties.context
            topic = self._topic(not pushed, properties.alias, topic)
        head = self._head("deliver" if pushed else "publish")
        head.type = ("process" if quality else "receive") if pushed else "send"
        head.pushed = pushed
        head.destination = topic
        if not reader.short and self._version:
            head.body_size = max(packets.size - reader.at, 0)
        if context is not None:
            head.contexts = (context,)
        if first & 8 and quality and number in self._waiting[not pushed]:
            return  # sent again
        message = self._ask(packets, number, head, waits=quality > 0)
        message.truncated = reader.short

    def _topic(self, asks: bool, alias: int, topic: str) -> str:
        """The topic that a publisher names, or stands for by a number that it gave it before."""
        aliases = self._aliases[asks]
        if alias and not topic:
            return aliases.get(alias, "")
        if alias and (len(aliases) < MAX_ALIASES or alias in aliases):
            aliases[alias] = topic
        return topic

    def _subscribe(self, packets: Packets, kind: int, reader: Reader) -> None:
        number = reader.number(2)
        if self._version >= 5:
            reader.properties()
        head = self._head("subscribe" if kind == SUBSCRIBE else "unsubscribe")
        topic = reader.text()
        if kind == SUBSCRIBE:
            reader.number(1)
        if not reader.more and self._version:
            head.destination = topic
        self._ask(packets, number, head)

    def _head(self, operation: str) -> MessagingRequest:
        head = MessagingRequest(SYSTEM, operation)
        head.client_id = self._client_id
        return head

    def _ask(
        self, packets: Packets, number: int, head: MessagingRequest, waits: bool = True
    ) -> Message:
        message = self._asked(packets, packets.size, head)
        message.oneway = not waits
        self._out.append(message)
        if waits:
            waiting = self._waiting[packets is self._requests]
            before = waiting.pop(number, None)
            if before is None and len(waiting) >= MAX_OUTSTANDING:
                before = waiting.pop(next(iter(waiting)))
            if before is not None:
                self._pending.pop(before.stream, None)
                self._give_up(before, "no_response")
            waiting[number] = message
        return message

    # Replies

    def _connected(self, packets: Packets, reader: Reader) -> None:
        reader.number(1)
        code = reader.number(1)
        if self._version >= 5:
            self._client_id = reader.properties().client_id or self._client_id
        else:
            code = RETURNS.get(code, code)
        self._answer(packets, _LOGIN, failure(code))

    def _subscribed(self, packets: Packets, reader: Reader) -> None:
        number = reader.number(2)
        if self._version >= 5:
            reader.properties()
        worst = 0
        if not self._version and reader.more:  # the last of the codes: they are behind all else
            worst = packets.data[-1] if packets.size == len(packets.data) else 0
        while self._version and reader.more:
            worst = max(worst, reader.number(1))
        self._answer(packets, number, failure(worst))

    def _acknowledge(self, packets: Packets, kind: int, reader: Reader) -> None:
        number = reader.number(2)
        if reader.more:
            self._version = self._version or 5
        error = failure(reader.number(1)) if reader.more else ""
        if kind != PUBREL:  # the publisher's own
            self._answer(packets, number, error, more=kind == PUBREC and not error)

    def _answer(self, packets: Packets, number: int, error: str, more: bool = False) -> None:
        """A reply; ``more``: it goes on with another packet."""
        waiting = self._waiting[packets is self._replies]
        asked = waiting.get(number)
        if asked is None:
            return
        message = self._pending.pop(asked.stream, None)
        if message is None:
            message = self._answer_to(asked, packets, packets.size, DONE)
        else:
            message.end = self._end_ts
            message.last_token = self._token
            message.length += packets.size
        if error:
            message.head = MessagingResponse(error, error)
        if more:
            self._pending[asked.stream] = message
        else:
            del waiting[number]
            message.complete = True
        self._tell(message)

    def _disconnect(self, packets: Packets, error: str) -> None:
        """The other side's requests end with the reason for which the connection does."""
        if error:
            for number in list(self._waiting[packets is self._replies]):
                self._answer(packets, number, error)


PROTOCOL = Descriptor(
    name="mqtt", number=101, parser=MqttParser, carried_context=carried_context, pairs=True
)
