"""The kernel half's inference from first bytes, compiled with gcc as it is and fed here."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from otel_ebpf.events.layout import MAYBE, NOTHING, REQUEST, RESPONSE
from tests.unit.protocols import dns_wire, dubbo_wire, thrift_wire
from tests.unit.protocols import mysql_wire as wire

BPF = Path(__file__).resolve().parents[2] / "bpf"
COMPILER = shutil.which("gcc") or shutil.which("cc")
UNKNOWN, SERVER, CLIENT = range(3)

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")

_SOURCE = """
#define OTEL_EBPF_HOST_COMPILE
#include "infer_redis.h"
#include "infer_postgresql.h"
#include "infer_memcached.h"
#include "infer_mysql.h"
u8 mysql(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_mysql(p, n, total, towards, start);
}
u8 mysql_hides(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return mysql_secret(p, n);
}
#include "infer_kafka.h"
#include "infer_mongodb.h"
u8 mongodb(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_mongodb(p, n, total, towards, start);
}
u8 mongodb_hides(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return mongodb_secret(p);
}
#include "infer_mqtt.h"
#include "infer_amqp.h"
#include "infer_nats.h"
u8 mqtt(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_mqtt(p, n, towards);
}
u8 amqp(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_amqp(p, n, towards);
}
u8 amqp_hides(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return amqp_secret(p);
}
u8 amqp_midway(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_amqp_midway(p, n, total, tail);
}
u8 mqtt_asking(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	u16 id;
	u32 at;
	return mqtt_asks(p, n, total, &id, &at) != 0;
}
u8 mqtt_answering(const u8 *p, u32 n, u64 total, u64 tail, u8 asked, bool start)
{
	u16 id;
	u8 code;
	return mqtt_answers(p, n, total, asked, &id, &code) != 0;
}
u8 nats(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_nats(p, n, tail, towards);
}
#include "infer_dns.h"
#include "infer_thrift.h"
#include "infer_dubbo.h"
u8 thrift(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	if (!towards)
		return infer_thrift_new(p, n, total, tail);
	return infer_thrift_next(p, n, total, towards, start);
}
u8 dubbo(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_dubbo(p, n, towards);
}
#include "infer_quic.h"
u8 quic(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_quic(p, n);
}
u8 memcached(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_memcached(p, n, total, tail, towards, start);
}
u8 kafka(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_kafka(p, n, total, towards, start);
}
u8 dns(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_dns(p, n, total, towards, start);
}
u8 datagram(const u8 *p, u32 n, u64 total, u64 tail, u8 known, bool start)
{
	return infer_dns_datagram(p, n, total, known);
}
u8 redis(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_redis(p, n, towards, start);
}
u8 postgresql(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_postgresql(p, n, total, tail, towards, start);
}
"""


class Inference:
    """The functions, by name: bytes of a segment -> what they begin."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def __call__(
        self, protocol: str, data: bytes, towards: int = UNKNOWN, start: bool = True
    ) -> int:
        n = min(len(data), 16)
        head = data[:16] + bytes(16 - n)
        tail = int.from_bytes(data[-8:], "little") if len(data) >= 8 else 0
        function = getattr(self._library, protocol)
        function.argtypes = [ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint64]
        function.argtypes += [ctypes.c_uint64, ctypes.c_uint8, ctypes.c_bool]
        function.restype = ctypes.c_uint8
        return int(function(head, n, len(data), tail, towards, start))


@pytest.fixture(scope="module")
def infer(tmp_path_factory: pytest.TempPathFactory) -> Inference:
    folder = tmp_path_factory.mktemp("infer")
    (folder / "infer.c").write_text(_SOURCE)
    library = folder / "infer.so"
    assert COMPILER is not None
    command = [COMPILER, "-shared", "-fPIC", "-O2", "-I", str(BPF), "-o", str(library)]
    subprocess.run([*command, str(folder / "infer.c")], check=True)
    return Inference(ctypes.CDLL(str(library)))


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n", REQUEST),
        (b"*1000\r\n$4\r\nMSET\r\n", REQUEST),
        (b"*2\r\n$4\r\ninfo\r\n", REQUEST),
        (b"PING\r\n", NOTHING),  # NATS' too
        (b"*3\r\n$3\r\n", MAYBE),
        (b"*", MAYBE),
        (b"*0\r\n$3\r\nSET\r\n$1\r\n", NOTHING),
        (b"*3\r\n:1\r\n:2\r\n:3\r\n", NOTHING),
        (b"*2\r\n$1\r\n\x01\r\n$3\r\n", NOTHING),
        (b"+OK\r\n", NOTHING),  # POP3 says that too
        (b"-ERR no such message\r\n", NOTHING),
        (b"$5\r\nhello\r\n", NOTHING),
        (b"PINGS\r\n", NOTHING),
        (b"EHLO mail.example\r\n", NOTHING),
        (b"GET / HTTP/1.1\r\n", NOTHING),
    ],
)
def test_redis_on_an_unknown_connection(infer: Inference, data: bytes, begins: int) -> None:
    assert infer("redis", data) == begins


def test_every_reply_of_a_known_connection_begins_one(infer: Inference) -> None:
    for kind in b"+-:$*%~_#,(=>|!":
        assert infer("redis", bytes([kind]) + b"1\r\n", CLIENT, False) == RESPONSE
    assert infer("redis", b"middle of a string", CLIENT, False) == NOTHING
    assert infer("redis", b"*3\r\n$3\r\nSE", SERVER, False) == REQUEST
    assert infer("redis", b"middle of a value", SERVER, False) == NOTHING


def startup(minor: int = 0) -> bytes:
    body = b"user\0me\0database\0shop\0\0"
    return (len(body) + 8).to_bytes(4, "big") + bytes([0, 3, 0, minor]) + body


@pytest.mark.parametrize(
    ("data", "speaks"),
    [
        (bytes.fromhex("c3 00000001 08 8394c8f03e515708 0000 449e"), True),  # RFC 9001, A.2
        (bytes.fromhex("cf 00000001 00 08 f067a5502a4262b5 0040 75"), True),  # A.3
        (bytes.fromhex("d3 6b3343cf 08 8394c8f03e515708 0000 449e"), True),  # RFC 9369, A.2
        (bytes.fromhex("c3 00000001 15 8394c8f03e515708 0000 449e"), False),  # too long a number
        (bytes.fromhex("4c fe4189655e5cd55c41f69080575d7999c25a5bfb"), False),  # data
        (bytes.fromhex("c3 00000001"), False),
        (dns_wire.query(0xC300, "www.example.com"), False),
        (bytes.fromhex("16 fefd 0000 000000000000 0094 01 000088"), False),  # DTLS
    ],
)
def test_quic_is_known_by_its_handshake(infer: Inference, data: bytes, speaks: bool) -> None:
    assert infer("quic", data) == speaks


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (startup(), REQUEST),
        (startup(2), REQUEST),
        (startup() + b"x", NOTHING),
        (bytes.fromhex("00000008 04d2162f"), REQUEST),
        (bytes.fromhex("00000008 04d21630"), REQUEST),
        (bytes.fromhex("00000010 04d2162e 00000001 00000002"), REQUEST),
        (bytes.fromhex("00000010 04d2162e 00000001"), NOTHING),
        (b"Q\0\0\0\x0eSELECT 1;\0", REQUEST),
        (b"Q\0\0\0\x0fSELECT 1;\0", NOTHING),
        (b"P\0\0\0\x10\0SELECT 1\0\0\0" + b"\0S\0\0\0\x04", REQUEST),
        (b"P\0\0\0\x10\0SELECT 1\0\0\0" + b"\0S\0\0\0\x05", NOTHING),
        (b"R\0\0\0\x08\0\0\0\0", NOTHING),
        (b"Z\0\0\0\x05I", NOTHING),
    ],
)
def test_postgresql_on_an_unknown_connection(infer: Inference, data: bytes, begins: int) -> None:
    assert infer("postgresql", data) == begins


def test_copied_data_and_passwords_begin_nothing(infer: Inference) -> None:
    for kind in b"dcfpX":
        assert infer("postgresql", bytes([kind]) + b"\0\0\0\x10abcdefghij", SERVER) == NOTHING
    for kind in b"QPBEDCFS":
        assert infer("postgresql", bytes([kind]) + b"\0\0\0\x10abcdefghij", SERVER) == REQUEST


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (b"get key\r\n", REQUEST),
        (b"get k\r\n", REQUEST),
        (b"get k\n\n", NOTHING),
        (b"set key 0 0 5\r\nhello\r\n", REQUEST),
        (b"mg key v\r\n", REQUEST),
        (b"delete key\r\n", REQUEST),
        (b"get key", NOTHING),
        (b"get key and more\n", NOTHING),
        (b"get \x01\x02\x03\x04\r\n", NOTHING),
        (b"GET / HTTP/1.1\r\n", NOTHING),
        (b"STORED\r\n", NOTHING),
        (b"VALUE k 0 1\r\nx\r\nEND\r\n", NOTHING),
        (bytes((0x80, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3)) + bytes(12) + b"key", REQUEST),
        (bytes((0x80, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4)) + bytes(12) + b"key", NOTHING),
        (bytes((0x80, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2)) + bytes(12) + b"key", NOTHING),
        (bytes((0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)) + bytes(12), NOTHING),
    ],
)
def test_memcached_on_an_unknown_connection(infer: Inference, data: bytes, begins: int) -> None:
    assert infer("memcached", data) == begins


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (wire.greeting(), RESPONSE),
        (wire.greeting("8.0.36"), RESPONSE),
        (wire.greeting("5.7.44-log") + b"x", NOTHING),
        (wire.greeting("PostgreSQL"), NOTHING),
        (wire.login(), REQUEST),
        (wire.login(first=2), REQUEST),  # behind TLS
        (wire.login(first=3), NOTHING),
        (wire.login()[:-1], NOTHING),
        (wire.query("SELECT 1"), REQUEST),
        (wire.query("SELECT 1") + b"x", NOTHING),
        (wire.command(3, b"\0\1SELECT 1"), REQUEST),
        (wire.command(3, b"\0\2SELECT 1"), NOTHING),
        (wire.command(3, b"\xff\xfe\1\2\3\4\5\6\7"), NOTHING),
        (wire.prepare("SELECT 1"), REQUEST),
        (wire.execute(7), REQUEST),
        (wire.execute(7)[:4], MAYBE),
        (wire.command(0x0E), NOTHING),
        (wire.ok(), NOTHING),
        (b"GET / HTTP/1.1\r\n", NOTHING),
        (b"220 mail.example ESMTP\r\n", NOTHING),
    ],
)
def test_mysql_on_an_unknown_connection(infer: Inference, data: bytes, begins: int) -> None:
    assert infer("mysql", data) == begins


@pytest.mark.parametrize(
    ("data", "start", "begins"),
    [
        (wire.query("SELECT 1"), True, REQUEST),
        (wire.query("SELECT " + "1" * 100)[:50], True, REQUEST),
        (wire.query("SELECT " + "1" * 100)[:50], False, NOTHING),
        (wire.query("SELECT 1")[:4], True, MAYBE),  # judged with what follows
        (wire.close(7), True, NOTHING),  # has no answer
        (wire.close(7) + wire.query("SELECT 1"), True, REQUEST),
        (wire.query("SELECT 1"), False, REQUEST),
        (wire.packet(3, b"s3cr3t"), True, NOTHING),
        (wire.packet(2, b"1,2,3\n"), True, NOTHING),
        (wire.packet(9, b""), True, NOTHING),
        (wire.packet(0, b"=3=4="), True, NOTHING),
    ],
)
def test_what_begins_on_a_connection_of_mysql(
    infer: Inference, data: bytes, start: bool, begins: int
) -> None:
    assert infer("mysql", data, SERVER, start) == begins
    assert infer("mysql", data, CLIENT, True) == RESPONSE
    assert infer("mysql", data, CLIENT, False) == NOTHING


def test_passwords_and_files_are_not_taken(infer: Inference) -> None:
    """caching_sha2_password's and others' answers, those to COM_CHANGE_USER, LOAD DATA LOCAL."""
    for number in (1, 2, 3, 5, 7, 200):
        assert infer("mysql_hides", wire.packet(number, b"s3cr3t\0"))
        assert infer("mysql_hides", wire.packet(number, bytes(32)))
        assert infer("mysql_hides", wire.packet(number, b"s3cr3t,1,2,3\n" * 100))
    asked = (wire.login(), wire.login(first=2), wire.tls_wish(), wire.query("SELECT 1"))
    for data in (*asked, wire.execute(1), wire.packet(3, b"s3cr3t")[:4]):
        assert not infer("mysql_hides", data)


def kafka(api: int, version: int, name: bytes, rest: bytes = b"", number: int = 7) -> bytes:
    """A request, with its length before it."""
    head = api.to_bytes(2, "big") + version.to_bytes(2, "big") + number.to_bytes(4, "big")
    body = head + len(name).to_bytes(2, "big") + name + rest
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (kafka(18, 3, b"rdkafka", b"\0"), REQUEST),
        (kafka(18, 0, b""), REQUEST),
        (kafka(3, 12, b"shop", b"\0" * 9), REQUEST),
        (kafka(3, 12, b"shop", b"\0" * 9)[:4], MAYBE),
        (kafka(0, 9, b"shop", b"x" * 400)[:300], REQUEST),
        (kafka(3, 12, b"shop", b"x" * 400)[:300], NOTHING),
        (kafka(3, 12, b"shop") + b"x", NOTHING),
        (kafka(3, 12, b""), NOTHING),
        (kafka(0, 7, b"", b"\xff\xff" + b"x" * 400), REQUEST),
        (kafka(0, 7, b"", b"xx" + b"x" * 400), NOTHING),
        (kafka(1, 11, b"", b"\xff" * 4 + b"x" * 40), REQUEST),
        (kafka(1, 12, b"", b"\0\xff\xff\xff\xff" + b"x" * 40), REQUEST),
        (kafka(0, 12, b"", b"\0\xff\xff\xff\xff" + b"x" * 40), NOTHING),
        (kafka(0, 9, b"\x01\x02"), NOTHING),
        (kafka(99, 0, b"shop"), NOTHING),
        (kafka(18, 99, b"shop"), NOTHING),
        (kafka(18, 3, b"shop", number=1 << 31), NOTHING),
        # ZooKeeper's connect, and one of its calls
        (bytes.fromhex("0000002c 00000000 00000000 00000000 00007530") + bytes(28), NOTHING),
        (bytes.fromhex("0000000e 00000001 00000003 00000001 2f00"), NOTHING),
        (b"\0\0\0\0", NOTHING),
    ],
)
def test_kafka_on_an_unknown_connection(infer: Inference, data: bytes, begins: int) -> None:
    assert infer("kafka", data) == begins


def test_kafkas_requests_follow_each_other_and_lengths_may_be_read_alone(
    infer: Inference,
) -> None:
    request = kafka(1, 12, b"shop", b"x" * 50)
    assert infer("kafka", request, SERVER, False) == REQUEST
    assert infer("kafka", request + request, SERVER, False) == REQUEST
    assert infer("kafka", request[:4], SERVER, False) == MAYBE  # judged with what follows
    assert infer("kafka", request[4:], SERVER, False) == NOTHING
    assert infer("kafka", b"\0\0\0\x20", CLIENT, False) == RESPONSE
    assert infer("kafka", b"middle of a message", CLIENT, False) == NOTHING
    assert infer("kafka", b"\0\0\0\x06" + b"\0" * 6, CLIENT, False) == RESPONSE


def test_a_postgresql_start_is_not_kafkas(infer: Inference) -> None:
    assert infer("kafka", startup()) == NOTHING


MQTT_CONNECT = b"\x10\x0e\0\4MQTT\5\2\0\x3c\0\0\0\0"


@pytest.mark.parametrize(
    ("protocol", "data", "begins"),
    [
        ("mqtt", MQTT_CONNECT, REQUEST),
        ("mqtt", b"\x10\xf7\x82\x01\0\4MQTT\4\xc2\0\x3c", REQUEST),
        ("mqtt", b"\x10\x16\0\6MQIsdp\3\2\0\x3c", REQUEST),
        ("mqtt", b"\x10\x0e\0\4MQTT\6\2\0\x3c\0\0\0\0", NOTHING),
        *(("mqtt", MQTT_CONNECT[:n], MAYBE) for n in range(1, 9)),
        ("mqtt", b"\x10\x0e\1", NOTHING),
        ("mqtt", b"\x10\xff\xff\xff\xff\xff\xff", NOTHING),
        ("mqtt", b"\x30\x07\0\5topic", NOTHING),
        ("mqtt", b"\xc0\0", NOTHING),
        ("amqp", b"AMQP\0\0\x09\x01", REQUEST),
        ("amqp", b"AMQP\0\1\0\0", NOTHING),  # AMQP 1.0
        ("amqp", b"AMQP\3\1\0\0", NOTHING),
        ("amqp", b"\1\0\1\0\0\0\x0d\0\x3c\0\x50", NOTHING),
        ("nats", b'INFO {"server_id":"NA"}\r\n', RESPONSE),
        ("nats", b'CONNECT {"verbose":false}\r\n', REQUEST),
        ("nats", b"CONNECT shop:443 HTTP/1.1\r\n", NOTHING),
        ("nats", b"PUB orders 5\r\nhello\r\n", REQUEST),
        ("nats", b"PUB orders\n\0\0\0\5hello", NOTHING),  # NSQ
        ("nats", b"INFO stats\r\n", NOTHING),
        ("nats", b"+OK\r\n", NOTHING),
        ("nats", b"PING\r\n", NOTHING),  # Redis' too
    ],
)
def test_queues_on_an_unknown_connection(
    infer: Inference, protocol: str, data: bytes, begins: int
) -> None:
    assert infer(protocol, data) == begins


def amqp_method(number: int, method: int) -> bytes:
    return b"\1\0\1\0\0\0\x20" + number.to_bytes(2, "big") + method.to_bytes(2, "big") + bytes(8)


def test_deliveries_are_requests_and_their_acknowledgements_replies(infer: Inference) -> None:
    for protocol, publish, acknowledge in (
        ("mqtt", b"\x32\x0b\0\5topic\0\1hi", b"\x40\2\0\1"),
        ("amqp", amqp_method(60, 60), amqp_method(60, 80)),
        ("nats", b"MSG orders 1 5\r\n", b"+OK\r\n"),
    ):
        assert infer(protocol, publish, CLIENT) == REQUEST
        assert infer(protocol, acknowledge, CLIENT) == RESPONSE
    assert infer("mqtt", b"\x40\2\0\1", SERVER) == RESPONSE
    assert infer("amqp", amqp_method(60, 80), SERVER) == RESPONSE
    assert infer("amqp", amqp_method(60, 40), SERVER) == REQUEST
    assert infer("amqp", b"\x08\0\0\0\0\0\0\xce", SERVER) == NOTHING  # a heartbeat
    assert infer("mqtt", b"\0\5topic", SERVER) == NOTHING
    # What reads a packet's first bytes one by one is judged by all of them.
    for read in (b"\x32", b"\x32\x90"):
        assert infer("mqtt", read, CLIENT) == MAYBE


def test_a_login_to_an_amqp_broker_is_not_taken(infer: Inference) -> None:
    assert infer("amqp_hides", amqp_method(10, 11))
    assert infer("amqp_hides", amqp_method(10, 21))
    assert not infer("amqp_hides", amqp_method(60, 40))


_PING = thrift_wire.binary("ping", 1)
_COMPACT = thrift_wire.compact("price", 300)


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (_PING, REQUEST),
        (thrift_wire.binary("a"), REQUEST),
        (thrift_wire.binary("Shop:price", kind=thrift_wire.ONEWAY), REQUEST),
        (_PING * 3, REQUEST),
        (thrift_wire.framed(_PING), REQUEST),
        (thrift_wire.framed(_PING) * 3, REQUEST),
        (thrift_wire.framed(_PING + bytes(1000))[:500], REQUEST),
        (thrift_wire.framed(_PING)[:4], MAYBE),
        (_PING[:4], MAYBE),  # written in small pieces
        (_PING[:8], MAYBE),
        (_PING[:12], REQUEST),
        (_COMPACT, REQUEST),
        (thrift_wire.compact("a", 1 << 31), REQUEST),
        (thrift_wire.framed(_COMPACT), REQUEST),
        (_COMPACT[:-1], NOTHING),  # does not end as a struct does
        (thrift_wire.header(_PING), REQUEST),
        (thrift_wire.header(_COMPACT, packed=True), REQUEST),
        (thrift_wire.binary("ping", kind=thrift_wire.REPLY), NOTHING),
        (thrift_wire.framed(thrift_wire.compact("ping", kind=thrift_wire.REPLY)), NOTHING),
        (thrift_wire.binary("seven words"), REQUEST),  # only four bytes of a name are looked at
        (thrift_wire.binary("1 a"), NOTHING),
        (thrift_wire.binary("x" * 129), NOTHING),
        (b"\x82\x21" + b"\x08\x01a" + bytes(30), NOTHING),  # a frame of WebSocket
        (b"\x82\x1b\0\1\0\x16" + b"t" * 22 + b"\0", NOTHING),  # MQTT's SUBSCRIBE
        (b"\x80\1\0\1\x08\0\0\0" + bytes(4) + bytes(20), NOTHING),  # Memcached's SET
        (b"\0\0\0\x10\x0f\xff\0\1" + bytes(20), NOTHING),
    ],
)
def test_thrift_on_an_unknown_connection(infer: Inference, data: bytes, begins: int) -> None:
    assert infer("thrift", data) == begins
    if begins == REQUEST:
        assert infer("thrift", data, SERVER) == infer("thrift", data, SERVER, False) == REQUEST


def test_what_thrift_goes_on_with(infer: Inference) -> None:
    for kind in (thrift_wire.REPLY, thrift_wire.EXCEPTION):
        said = thrift_wire.compact("ping", 1, kind)
        for told in (said, thrift_wire.framed(said), thrift_wire.header(said)):
            assert infer("thrift", told, CLIENT, False) == RESPONSE
    assert infer("thrift", thrift_wire.framed(_PING)[:4], SERVER) == MAYBE
    assert infer("thrift", b"the middle of an answer", CLIENT, False) == NOTHING
    assert infer("thrift", b"the middle of a call", SERVER, False) == NOTHING


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (dubbo_wire.call(1), REQUEST),
        (dubbo_wire.call(1, two_way=False), REQUEST),
        (dubbo_wire.call(1)[:16], REQUEST),  # a header that is read alone
        (dubbo_wire.call(1)[:15], NOTHING),
        (dubbo_wire.answer(1), NOTHING),
        (dubbo_wire.heartbeat(1), NOTHING),
        (dubbo_wire.packet(0xC0, 0, 1, b"x"), NOTHING),
        (dubbo_wire.packet(0xC2, 1, 1, b"x"), NOTHING),
        (dubbo_wire.call(1)[:12] + b"\x01\0\0\0", NOTHING),
    ],
)
def test_dubbo_on_an_unknown_connection(infer: Inference, data: bytes, begins: int) -> None:
    assert infer("dubbo", data) == begins


def test_what_dubbo_goes_on_with(infer: Inference) -> None:
    assert infer("dubbo", dubbo_wire.call(1), SERVER, False) == REQUEST
    assert infer("dubbo", dubbo_wire.answer(1), CLIENT, False) == RESPONSE
    for towards in (SERVER, CLIENT):
        assert infer("dubbo", dubbo_wire.heartbeat(1), towards) == NOTHING
        assert infer("dubbo", dubbo_wire.heartbeat(1, False), towards) == NOTHING
    assert infer("dubbo", dubbo_wire.call(1), CLIENT) == NOTHING  # the server calls back
    assert infer("dubbo", dubbo_wire.answer(1), SERVER) == NOTHING


def test_random_and_compressed_bytes_begin_nothing(infer: Inference) -> None:
    generator = random.Random(1)
    packed = zlib.compress(bytes(generator.choices(range(64), k=1_000_000)))
    hits = 0
    for number in range(40_000):
        size = generator.choice((6, 8, 16, 24, 100))
        data = generator.randbytes(size)
        if number & 1:
            at = generator.randrange(len(packed) - size)
            data = packed[at : at + size]
        hits += infer("redis", data) == REQUEST
        hits += infer("postgresql", data) == REQUEST
        hits += infer("memcached", data) == REQUEST
        hits += infer("mysql", data) in (REQUEST, RESPONSE)
        hits += infer("kafka", data) == REQUEST
        hits += infer("mongodb", data) == REQUEST
        rare = ("mqtt", "amqp", "nats", "thrift", "dubbo")
        hits += sum(infer(name, data) not in (NOTHING, MAYBE) for name in rare)
    assert hits == 0


QUIC = bytes.fromhex("c00000000108") + bytes(range(8)) + b"\0\0\x44\x96" + bytes(40)
STUN = bytes.fromhex("000100002112a442") + bytes(range(12))
NTP = bytes.fromhex("230006200000000000000000") + bytes(36)
RTP = bytes.fromhex("80600001000000a0deadbeef") + bytes(160)
SNMP = bytes.fromhex("302902010004067075626c6963a01c0204")
SYSLOG = b"<34>Oct 11 22:14:15 host su: failed"
STATSD = b"requests:1|c\nlatency:12|ms"
DHCP = bytes.fromhex("0101060039 03f326 00000000 00000000".replace(" ", "")) + bytes(220)
WIREGUARD = bytes.fromhex("0400000001000000") + bytes(24)


@pytest.mark.parametrize("data", [QUIC, STUN, NTP, RTP, SNMP, SYSLOG, STATSD, DHCP, WIREGUARD])
def test_other_datagrams_are_no_dns(infer: Inference, data: bytes) -> None:
    assert infer("datagram", data, towards=0) == NOTHING
    assert infer("dns", data) in (NOTHING, MAYBE)


@pytest.mark.parametrize("edns", [False, True])
def test_a_query_on_any_port_is_certain_and_an_answer_alone_is_not(
    infer: Inference, edns: bool
) -> None:
    asks = dns_wire.query(0x1234, "www.example.com", edns=edns)
    says = dns_wire.reply(0x1234, "www.example.com", answers=(dns_wire.address("10.0.0.1"),))
    assert infer("datagram", asks, towards=0) == infer("datagram", asks, towards=1) == REQUEST
    assert infer("datagram", says, towards=0) == NOTHING
    assert infer("datagram", says, towards=1) == RESPONSE
    assert infer("datagram", asks[:11], towards=1) == NOTHING


def test_dns_over_tcp(infer: Inference) -> None:
    asks = dns_wire.framed(dns_wire.query(0x1234, "www.example.com", edns=True))
    says = dns_wire.framed(dns_wire.reply(0x1234, "www.example.com"))
    assert infer("dns", asks) == REQUEST
    assert [infer("dns", asks[:n]) for n in range(1, 14)] == [MAYBE] * 13
    assert infer("dns", asks[:-1]) == NOTHING
    assert infer("dns", says) == NOTHING
    assert infer("dns", asks, SERVER) == infer("dns", asks[:2], SERVER) == REQUEST
    assert infer("dns", says, CLIENT) == infer("dns", says[:2], CLIENT) == RESPONSE
    assert infer("dns", says, SERVER) == NOTHING


def test_random_and_compressed_bytes_are_no_dns(infer: Inference) -> None:
    source = random.Random(11)
    text = zlib.compress(b"".join(source.randbytes(3) * 5 for _ in range(40_000)))
    for n in range(20_000):
        for data in (source.randbytes(64), text[n * 7 : n * 7 + 64]):
            assert infer("datagram", data, towards=0) == NOTHING
            assert infer("dns", data) == NOTHING
