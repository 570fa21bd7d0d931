"""AMQP 0-9-1's frames, written."""

from __future__ import annotations

from tests.unit.protocols.mqtt_wire import TRACEPARENT

GREETING = b"AMQP\0\0\x09\x01"


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    head = bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big")
    return head + payload + b"\xce"


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def method(number: tuple[int, int], body: bytes = b"", channel: int = 1) -> bytes:
    return frame(1, channel, number[0].to_bytes(2, "big") + number[1].to_bytes(2, "big") + body)


def content(size: int = 6, context: bool = False, channel: int = 1, split: int = 0) -> bytes:
    """Header and body; ``split``: bytes of the first of two body frames."""
    table = b""
    if context:
        table = short("n") + b"I\0\0\0\1" + short("traceparent")
        table += b"S" + len(TRACEPARENT).to_bytes(4, "big") + TRACEPARENT.encode()
    flags = 1 << 13 | 1 << 12 | 1 << 10 | 1 << 7
    properties = flags.to_bytes(2, "big") + len(table).to_bytes(4, "big") + table
    properties += b"\2" + short("chat") + short("m1")
    header = b"\0\x3c\0\0" + size.to_bytes(8, "big") + properties
    body = (b"s3cr3t" * (size // 6 + 1))[:size]
    bodies = [body[:split], body[split:]] if split else [body] if size else []
    return frame(2, channel, header) + b"".join(frame(3, channel, part) for part in bodies)


def tag(number: int, several: bool = False) -> bytes:
    return number.to_bytes(8, "big") + bytes([several])


def publish(key: str, exchange: str = "", channel: int = 1, **more: int) -> bytes:
    head = method((60, 40), b"\0\0" + short(exchange) + short(key) + b"\0", channel)
    return head + content(channel=channel, **more)  # type: ignore[arg-type]


def deliver(number: int, key: str, consumer: str = "c", channel: int = 1, **more: int) -> bytes:
    body = short(consumer) + number.to_bytes(8, "big") + b"\0" + short("") + short(key)
    return method((60, 60), body, channel) + content(channel=channel, **more)  # type: ignore[arg-type]


def ack(number: int, several: bool = False, channel: int = 1) -> bytes:
    return method((60, 80), tag(number, several), channel)


def nack(number: int, several: bool = False) -> bytes:
    return method((60, 120), tag(number, several))


def consume(queue: str, consumer: str = "c", automatic: bool = False) -> bytes:
    body = b"\0\0" + short(queue) + short(consumer) + bytes([2 * automatic]) + b"\0\0\0\0"
    return method((60, 20), body)


def consume_ok(consumer: str = "c") -> bytes:
    return method((60, 21), short(consumer))


def close(code: int, channel: int = 1, number: tuple[int, int] = (20, 40)) -> bytes:
    body = code.to_bytes(2, "big") + short("s3cr3t words") + b"\0\x32\0\x0a"
    return method(number, body, channel)


CONFIRM = method((85, 10), b"\0")
CONFIRM_OK = method((85, 11))
START_OK = method(
    (10, 11), b"\0\0\0\0" + short("PLAIN") + b"\0\0\0\x0a\0me\0s3cr3t" + short("en"), 0
)
TUNE = method((10, 30), b"\0\0\0\x02\0\0\0\x3c", 0)
TUNE_OK = method((10, 31), b"\0\0\0\x02\0\0\0\x3c", 0)
HEARTBEAT = frame(8, 0, b"")
