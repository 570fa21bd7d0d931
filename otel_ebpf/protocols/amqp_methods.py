"""AMQP 0-9-1's frames, methods and properties, read. What logs in is not looked at."""

from __future__ import annotations

from typing import NamedTuple

from .context import CarriedContext, parse_traceparent
from .messaging import ALWAYS, UNLESS_FAILED

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
OVERHEAD = 8
"""Bytes of a frame besides its payload."""
_LONGEST = 1 << 27
_END = 0xCE
_STARTS = (b"\0\0", b"\0")
"""High bytes of class and method; the second may not be there."""
GREETING = b"AMQP"
"""What a client begins with."""

Method = tuple[int, int]
"""Class and number."""

START_OK: Method = (10, 11)
SECURE_OK: Method = (10, 21)
TUNE: Method = (10, 30)
TUNE_OK: Method = (10, 31)
CONNECTION_CLOSE: Method = (10, 50)
CHANNEL_OPEN: Method = (20, 10)
CHANNEL_CLOSE: Method = (20, 40)
CONFIRM_SELECT: Method = (85, 10)
CONSUME: Method = (60, 20)
PUBLISH: Method = (60, 40)
RETURN: Method = (60, 50)
DELIVER: Method = (60, 60)
GET: Method = (60, 70)
GET_OK: Method = (60, 71)
GET_EMPTY: Method = (60, 72)
ACK: Method = (60, 80)
REJECT: Method = (60, 90)
NACK: Method = (60, 120)


class Call(NamedTuple):
    """A method that has a reply.

    Attributes:
        name: of the operation. reply: the method that answers.
        names: short strings before its bits; about: which of them the call is about, -1: none.
        quiet: the bit that says that no reply is wanted; -1: there is none.
        reserved: bytes before the names. chatter: as of ``MessagingRequest``.
    """

    name: str
    reply: Method
    names: int
    about: int
    quiet: int
    reserved: int = 2
    chatter: int = 0


CALLS: dict[Method, Call] = {
    (10, 40): Call("connection.open", (10, 41), 0, -1, -1, 0, UNLESS_FAILED),
    CHANNEL_OPEN: Call("channel.open", (20, 11), 0, -1, -1, 0, UNLESS_FAILED),
    (20, 20): Call("channel.flow", (20, 21), 0, -1, -1, 0, ALWAYS),
    (40, 10): Call("exchange.declare", (40, 11), 2, 0, 4),
    (40, 20): Call("exchange.delete", (40, 21), 1, 0, 1),
    (40, 30): Call("exchange.bind", (40, 31), 3, 0, 0),
    (40, 40): Call("exchange.unbind", (40, 51), 3, 0, 0),
    (50, 10): Call("queue.declare", (50, 11), 1, 0, 4),
    (50, 20): Call("queue.bind", (50, 21), 3, 0, 0),
    (50, 30): Call("queue.purge", (50, 31), 1, 0, 0),
    (50, 40): Call("queue.delete", (50, 41), 1, 0, 2),
    (50, 50): Call("queue.unbind", (50, 51), 3, 0, -1),
    (60, 10): Call("basic.qos", (60, 11), 0, -1, -1, 7, UNLESS_FAILED),
    CONSUME: Call("basic.consume", (60, 21), 2, 0, 3),
    (60, 30): Call("basic.cancel", (60, 31), 1, -1, 0, 0),
    (60, 110): Call("basic.recover", (60, 111), 0, -1, -1, 0),
    CONFIRM_SELECT: Call("confirm.select", (85, 11), 0, -1, 0, 0, UNLESS_FAILED),
    (90, 10): Call("tx.select", (90, 11), 0, -1, -1, 0, UNLESS_FAILED),
    (90, 20): Call("tx.commit", (90, 21), 0, -1, -1, 0),
    (90, 30): Call("tx.rollback", (90, 31), 0, -1, -1, 0),
}
REPLIES: dict[Method, Method] = {call.reply: method for method, call in CALLS.items()}

CODES = {
    311: "CONTENT_TOO_LARGE",
    312: "NO_ROUTE",
    313: "NO_CONSUMERS",
    320: "CONNECTION_FORCED",
    402: "INVALID_PATH",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    506: "RESOURCE_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}
"""Reply codes that say that something failed."""

_FIXED = {
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"sUu", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"lLdT", 8),
    ord("D"): 5,
    ord("V"): 0,
}
_SIZED = b"SxAF"
_MOST_HEADERS = 256


def measure(head: bytes) -> int:
    """A frame's length from its first bytes; 0: more are needed, -1: it is none."""
    if head[:4] == GREETING[: len(head)]:
        return 8 if len(head) >= 4 else 0
    if head[:1] not in (b"\1", b"\2", b"\3", b"\x08"):
        return -1 if head else 0
    if len(head) < 7:
        return 0
    size = int.from_bytes(head[3:7], "big")
    if size > _LONGEST or (head[0] == HEARTBEAT and (size or head[1:3] != b"\0\0")):
        return -1
    return size + OVERHEAD


def framed(data: bytes, length: int) -> bool:
    """Whether a segment of ``length`` bytes, of which ``data`` was captured, is made of whole
    frames: by their lengths, and by what was seen of their ends, classes and methods."""
    at = 0
    while at < len(data):
        size = measure(data[at : at + 16])
        if size < OVERHEAD or data[at : at + 1] == GREETING[:1]:
            return False
        if data[at] == METHOD and (size < 12 or data[at + 7 : at + 10 : 2] not in _STARTS):
            return False
        at += size
        if at <= len(data) and data[at - 1] != _END:
            return False
    return at == length > 0


class Reader:
    """Reads a payload's fields in turn. What is not there reads as 0 or "".

    Attributes:
        short: something was not there.
    """

    __slots__ = ("_at", "_data", "short")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.short = False

    def number(self, length: int) -> int:
        """In network order."""
        found = self.take(length)
        return int.from_bytes(found, "big") if len(found) == length else 0

    def take(self, length: int) -> bytes:
        """Bytes, as many as there are of these."""
        found = self._data[self._at : self._at + length]
        self._at += length
        self.short |= len(found) < length
        return found

    def name(self) -> str:
        """A short string."""
        return self.take(self.number(1)).decode("utf-8", "replace")

    def context(self) -> CarriedContext | None:
        """The trace context in a table of headers; reading goes on behind it."""
        size = self.number(4)
        end = self._at + size
        carried: list[tuple[str, str]] = []
        for _ in range(_MOST_HEADERS):
            if self._at >= min(end, len(self._data)):
                break
            name, kind = self.name().lower(), self.number(1)
            if kind in _SIZED:
                value = self.take(self.number(4))
                if kind in b"Sx" and name in ("traceparent", "tracestate"):
                    carried.append((name, value.decode("latin-1")))
            elif kind in _FIXED:
                self.take(_FIXED[kind])
            else:
                break
        self._at = end
        self.short |= end > len(self._data)
        parents = [value for name, value in carried if name == "traceparent"]
        # Two of them contradict each other, whichever is first.
        if len(parents) != 1:
            return None
        return parse_traceparent(parents[0], [v for n, v in carried if n == "tracestate"])


class Properties:
    """What matters of a content's header.

    Attributes:
        size: of the body, if that is ``known``. message_id, conversation: as the message has
            them, or "". context: that it carries.
    """

    __slots__ = ("context", "conversation", "known", "message_id", "size")

    def __init__(self, payload: bytes) -> None:
        reader = Reader(payload)
        reader.number(4)
        self.size = reader.number(8)
        self.known = not reader.short
        self.context: CarriedContext | None = None
        self.conversation = self.message_id = ""
        flags = reader.number(2)
        for bit in (15, 14):
            if flags >> bit & 1:
                reader.name()
        if flags >> 13 & 1:
            self.context = reader.context()
        reader.take((flags >> 12 & 1) + (flags >> 11 & 1))
        if flags >> 10 & 1:
            self.conversation = reader.name()
        for bit in (9, 8):
            if flags >> bit & 1:
                reader.name()
        if flags >> 7 & 1:
            self.message_id = reader.name()


def joined(*names: str) -> str:
    """A destination by the conventions for RabbitMQ: exchange, routing key, queue."""
    parts: list[str] = []
    for name in names:
        if name and name not in parts:
            parts.append(name)
    return ":".join(parts) or "amq.default"
