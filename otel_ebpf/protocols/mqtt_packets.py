"""MQTT's packets, read: 3.1, 3.1.1 and 5. What is secret in CONNECT is not looked at."""

from __future__ import annotations

from .context import CarriedContext, parse_traceparent

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

_FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}
_FROM_SERVER = frozenset({CONNACK, SUBACK, UNSUBACK, PINGRESP})
_FROM_CLIENT = frozenset({CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ})
_BOTH = frozenset({PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH})
_USER, _ALIAS, _ASSIGNED = 0x26, 0x23, 0x12
_ONE, _TWO, _FOUR = b"\x01\x17\x19\x24\x25\x28\x29\x2a", b"\x13\x21\x22\x23", b"\x02\x11\x18\x27"
_SIZED = b"\x03\x08\x09\x12\x15\x16\x1a\x1c\x1f"
_MOST_PROPERTIES = 64

REASONS = {
    0x80: "UNSPECIFIED_ERROR",
    0x81: "MALFORMED_PACKET",
    0x82: "PROTOCOL_ERROR",
    0x83: "IMPLEMENTATION_SPECIFIC_ERROR",
    0x84: "UNSUPPORTED_PROTOCOL_VERSION",
    0x85: "CLIENT_IDENTIFIER_NOT_VALID",
    0x86: "BAD_USER_NAME_OR_PASSWORD",
    0x87: "NOT_AUTHORIZED",
    0x88: "SERVER_UNAVAILABLE",
    0x89: "SERVER_BUSY",
    0x8A: "BANNED",
    0x8B: "SERVER_SHUTTING_DOWN",
    0x8C: "BAD_AUTHENTICATION_METHOD",
    0x8D: "KEEP_ALIVE_TIMEOUT",
    0x8E: "SESSION_TAKEN_OVER",
    0x8F: "TOPIC_FILTER_INVALID",
    0x90: "TOPIC_NAME_INVALID",
    0x91: "PACKET_IDENTIFIER_IN_USE",
    0x92: "PACKET_IDENTIFIER_NOT_FOUND",
    0x93: "RECEIVE_MAXIMUM_EXCEEDED",
    0x94: "TOPIC_ALIAS_INVALID",
    0x95: "PACKET_TOO_LARGE",
    0x96: "MESSAGE_RATE_TOO_HIGH",
    0x97: "QUOTA_EXCEEDED",
    0x98: "ADMINISTRATIVE_ACTION",
    0x99: "PAYLOAD_FORMAT_INVALID",
    0x9A: "RETAIN_NOT_SUPPORTED",
    0x9B: "QOS_NOT_SUPPORTED",
    0x9C: "USE_ANOTHER_SERVER",
    0x9D: "SERVER_MOVED",
    0x9E: "SHARED_SUBSCRIPTIONS_NOT_SUPPORTED",
    0x9F: "CONNECTION_RATE_EXCEEDED",
    0xA0: "MAXIMUM_CONNECT_TIME",
    0xA1: "SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED",
    0xA2: "WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED",
}
"""MQTT 5's reason codes that say that something failed."""
RETURNS = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
"""MQTT 3's codes of CONNACK, as those of 5."""


def failure(code: int) -> str:
    """``error.type`` of a reason code; "" where it says that all went well."""
    return "" if code < 0x80 else REASONS.get(code, "_OTHER")


def measure(head: bytes) -> int:
    """A packet's length from its first bytes; 0: more are needed, -1: it is none."""
    if not head:
        return 0
    first = head[0]
    kind, flags = first >> 4, first & 15
    if kind == 0 or (flags & 6 == 6 if kind == PUBLISH else flags != _FLAGS.get(kind, 0)):
        return -1
    value = 0
    for at in range(1, 5):
        if at >= len(head):
            return 0
        byte = head[at]
        value |= (byte & 0x7F) << 7 * (at - 1)
        if byte < 0x80:
            return -1 if kind in (PINGREQ, PINGRESP) and value else value + at + 1
    return -1


def whole(data: bytes, length: int, asks: bool) -> bool:
    """Whether a segment of ``length`` bytes, of which ``data`` was captured, is made of whole
    packets that come from the client (``asks``) or the server: by all that is fixed of them."""
    at = 0
    while at < len(data):
        head = data[at : at + 16]
        size = measure(head)
        if size <= 0 or not fits(head[0] >> 4, asks) or not _sound(Reader(head), head[0], size):
            return False
        at += size
    return at == length > 0


def _sound(reader: Reader, first: int, size: int) -> bool:
    """Whether a packet of ``size`` bytes, that ``reader`` has the first of, has room for what such
    packets must hold."""
    kind, left = first >> 4, size - reader.at
    if kind == PUBLISH:
        quality = first >> 1 & 3
        return left >= 2 and reader.number(2) + 2 + 2 * (quality > 0) <= left
    if kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE):
        least = 2 if kind < SUBSCRIBE or kind == UNSUBACK else 3 if kind == SUBACK else 4
        return left >= least and reader.number(2) > 0
    return kind in (PINGREQ, PINGRESP, DISCONNECT, AUTH) or left >= 2


def opens(data: bytes) -> bool:
    """Whether these bytes are a packet's first and (some of) its length, as many programs read
    them, byte by byte."""
    size = measure(data)
    return (
        bool(data)
        and len(data) < 5
        and (
            not size
            or (size > len(data) and data[-1] < 0x80 and (len(data) == 2 or data[-2] > 0x7F))
        )
    )


def fits(kind: int, asks: bool) -> bool:
    """Whether such a packet can come from the client (``asks``), or from the server."""
    return kind in _BOTH or kind in (_FROM_CLIENT if asks else _FROM_SERVER)


class Reader:
    """Reads a packet's fields in turn. What is not there reads as 0 or "".

    Attributes:
        short: something was not there.
    """

    __slots__ = ("_at", "_data", "short")

    def __init__(self, data: bytes) -> None:
        """``data``: the packet, from its first byte on."""
        self._data = data
        self._at = 1
        self.short = False
        self.varint()

    @property
    def at(self) -> int:
        """Bytes read."""
        return self._at

    @property
    def more(self) -> bool:
        """There is something behind."""
        return self._at < len(self._data)

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

    def text(self) -> str:
        """A string with its length."""
        return self.take(self.number(2)).decode("utf-8", "replace")

    def varint(self) -> int:
        """A variable byte integer."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        return value

    def properties(self) -> Properties:
        """MQTT 5's; reading goes on behind them."""
        size = self.varint()
        end = self._at + size
        found = Properties()
        carried: list[tuple[str, str]] = []
        for _ in range(_MOST_PROPERTIES):
            if self._at >= min(end, len(self._data)):
                break
            kind = self.number(1)
            if kind == _USER:
                name, value = self.text(), self.text()
                if name.lower() in ("traceparent", "tracestate"):
                    carried.append((name.lower(), value))
            elif kind == _ALIAS:
                found.alias = self.number(2)
            elif kind == _ASSIGNED:
                found.client_id = self.text()
            elif kind in _ONE:
                self.number(1)
            elif kind in _TWO:
                self.number(2)
            elif kind in _FOUR:
                self.number(4)
            elif kind in _SIZED:
                self.take(self.number(2))
            elif kind == 0x0B:
                self.varint()
            else:
                break
        self._at = end
        self.short |= end > len(self._data)
        found.context = _context(carried)
        return found


class Properties:
    """What matters of them.

    Attributes:
        alias: the topic's, or 0. client_id: that the server gave. context: that user properties
            carry.
    """

    __slots__ = ("alias", "client_id", "context")

    def __init__(self) -> None:
        self.alias = 0
        self.client_id = ""
        self.context: CarriedContext | None = None


def _context(carried: list[tuple[str, str]]) -> CarriedContext | None:
    parents = [value for name, value in carried if name == "traceparent"]
    # Two of them contradict each other, whichever is first.
    if len(parents) != 1:
        return None
    return parse_traceparent(parents[0], [v for name, v in carried if name == "tracestate"])
