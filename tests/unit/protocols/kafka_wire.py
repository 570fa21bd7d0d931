"""Kafka's bytes, as clients and brokers say them, for tests of the parser."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cramjam

PACK: list[Callable[[bytes], bytes]] = [
    bytes,
    gzip.compress,
    lambda data: bytes(cramjam.snappy.compress_raw(data)),
    lambda data: bytes(cramjam.lz4.compress(data)),
    lambda data: bytes(cramjam.zstd.compress(data)),
    lambda data: _framed(data),
]
FLEXIBLE = {0: 9, 1: 12, 2: 6, 3: 9, 8: 8, 10: 3, 11: 6, 12: 4, 18: 3, 22: 2, 36: 2}
ID = bytes(range(16))

Topics = Mapping[Any, Mapping[int, bytes]]
"""By name, or by id."""


def _framed(data: bytes) -> bytes:
    """Blocks of 100 bytes, as Java's library has them of 32 KiB."""
    blocks = [
        bytes(cramjam.snappy.compress_raw(data[at : at + 100])) for at in range(0, len(data), 100)
    ]
    header = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
    return header + b"".join(i32(len(block)) + block for block in blocks)


def i16(number: int) -> bytes:
    return number.to_bytes(2, "big", signed=True)


def i32(number: int) -> bytes:
    return number.to_bytes(4, "big", signed=True)


def i64(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def varint(number: int) -> bytes:
    return uvarint(number << 1 if number >= 0 else (-number << 1) - 1)


def text(said: str, flexible: bool = False) -> bytes:
    raw = said.encode()
    return (uvarint(len(raw) + 1) if flexible else i16(len(raw))) + raw


def array(items: Sequence[bytes], flexible: bool = False) -> bytes:
    return (uvarint(len(items) + 1) if flexible else i32(len(items))) + b"".join(items)


def traceparent(number: int) -> bytes:
    return b"00-%032x-%016x-01" % (number, number)


def record(
    delta: int, value: bytes = b"value", headers: Mapping[str, bytes] | None = None
) -> bytes:
    said = [
        varint(len(name)) + name.encode() + varint(len(content)) + content
        for name, content in (headers or {}).items()
    ]
    key = varint(-1) if delta & 1 else varint(3) + b"key"
    body = b"\0" + varint(delta * 10) + varint(delta) + key + varint(len(value)) + value
    body += varint(len(said)) + b"".join(said)
    return varint(len(body)) + body


def batch(records: Sequence[bytes], base: int = 0, packed: int = 0, control: bool = False) -> bytes:
    """``packed``: 0 not, 1 gzip, 2 snappy, 3 lz4, 4 zstd; 5 snappy as Java frames it."""
    content = PACK[packed](b"".join(records))
    packed = 2 if packed == 5 else packed
    flags = packed | (0x20 if control else 0)
    behind = i16(flags) + i32(len(records) - 1) + i64(1) + i64(2) + i64(-1) + i16(-1) + i32(-1)
    behind += i32(len(records)) + content
    return i64(base) + i32(len(behind) + 9) + i32(0) + b"\2" + b"crc!" + behind


def traced(*numbers: int, base: int = 0, packed: int = 0) -> bytes:
    """A batch of messages made in these traces."""
    records = [
        record(delta, headers={"a": b"b", "traceparent": traceparent(number)})
        for delta, number in enumerate(numbers)
    ]
    return batch(records, base, packed)


def frame(body: bytes) -> bytes:
    return i32(len(body)) + body


def request(api: int, version: int, number: int, body: bytes = b"", client: str = "shop") -> bytes:
    flexible = version >= FLEXIBLE.get(api, 99)
    head = i16(api) + i16(version) + i32(number) + text(client) + b"\0" * flexible
    return frame(head + body)


def answer(api: int, version: int, number: int, body: bytes = b"") -> bytes:
    flexible = version >= FLEXIBLE.get(api, 99) and api != 18
    return frame(i32(number) + b"\0" * flexible + body)


def _topic(name: str | bytes, flexible: bool) -> bytes:
    return name if isinstance(name, bytes) else text(name, flexible)


def produce(number: int, topics: Topics, version: int = 9, acks: int = -1) -> bytes:
    new = version >= 9
    said = [
        _topic(name, new)
        + array(
            [
                i32(at) + (uvarint(len(data) + 1) if new else i32(len(data))) + data + b"\0" * new
                for at, data in partitions.items()
            ],
            new,
        )
        + b"\0" * new
        for name, partitions in topics.items()
    ]
    transaction = b"" if version < 3 else b"\0" if new else i16(-1)
    body = transaction + i16(acks) + i32(30000) + array(said, new) + b"\0" * new
    return request(0, version, number, body)


def produced(
    number: int, topics: Mapping[Any, Mapping[int, int]], version: int = 9, base: int = 100
) -> bytes:
    """The answer; of each partition its error's code."""
    new = version >= 9

    def partition(at: int, error: int) -> bytes:
        said = i32(at) + i16(error) + i64(base if not error else -1)
        said += i64(-1) * (version >= 2) + i64(0) * (version >= 5)
        if version >= 8:
            said += array([i32(0) + text("bad", new) + b"\0" * new] if error else [], new)
            said += b"\0" if new else i16(-1)
        return said + b"\0" * new

    said = [
        _topic(name, new) + array([partition(*each) for each in found.items()], new) + b"\0" * new
        for name, found in topics.items()
    ]
    body = array(said, new) + i32(0) * (version >= 1) + b"\0" * new
    return answer(0, version, number, body)


def fetch(
    number: int,
    topics: Mapping[Any, Mapping[int, int]],
    version: int = 12,
    replica: int = -1,
    epoch: int = 0,
) -> bytes:
    """Of each partition the offset that is wanted."""
    new = version >= 12

    def partition(at: int, wanted: int) -> bytes:
        said = i32(at) + i32(-1) * (version >= 9) + i64(wanted) + i32(-1) * (version >= 12)
        return said + i64(-1) * (version >= 5) + i32(1 << 20) + b"\0" * new

    said = [
        _topic(name, new) + array([partition(*each) for each in found.items()], new) + b"\0" * new
        for name, found in topics.items()
    ]
    body = (i32(replica) if version < 15 else b"") + i32(500) + i32(1)
    body += i32(1 << 25) * (version >= 3) + b"\0" * (version >= 4)
    body += (i32(0) + i32(epoch)) * (version >= 7) + array(said, new)
    body += array([], new) * (version >= 7) + text("", new) * (version >= 11)
    if version >= 15 and replica >= 0:
        state = i32(replica) + i64(1) + b"\0"
        body += b"\1\1" + uvarint(len(state)) + state
    else:
        body += b"\0" * new
    return request(1, version, number, body)


def fetched(
    number: int, topics: Topics, version: int = 12, error: int = 0, failed: int = 0
) -> bytes:
    """The answer; ``error``: of the whole, ``failed``: of each partition without messages."""
    new = version >= 12

    def partition(at: int, data: bytes) -> bytes:
        said = i32(at) + i16(0 if data else failed) + i64(10)
        said += i64(10) * (version >= 4) + i64(0) * (version >= 5)
        if version >= 4:
            said += array([i64(1) + i64(2) + b"\0" * new] if at else [], new)
        said += i32(-1) * (version >= 11)
        return said + (uvarint(len(data) + 1) if new else i32(len(data))) + data + b"\0" * new

    said = [
        _topic(name, new) + array([partition(*each) for each in found.items()], new) + b"\0" * new
        for name, found in topics.items()
    ]
    body = i32(0) * (version >= 1) + (i16(error) + i32(5)) * (version >= 7)
    return answer(1, version, number, body + array(said, new) + b"\0" * new)


def metadata(number: int, topics: Mapping[str, bytes], version: int = 12) -> bytes:
    """The answer to Metadata: topics with their ids."""
    broker = i32(1) + text("127.0.0.1", True) + i32(9092) + b"\0" + b"\0"
    partition = i16(0) + i32(0) + i32(1) + i32(0) + array([i32(1)], True) * 2 + b"\1" + b"\0"
    said = [
        i16(0) + text(name, True) + topic + b"\0" + array([partition], True) + i32(0) + b"\0"
        for name, topic in topics.items()
    ]
    body = i32(0) + array([broker], True) + text("cluster", True) + i32(1) + array(said, True)
    return answer(3, version, number, body + b"\0")
