"""What is secret is found however it is cut, and nothing else is touched."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.recording.rules import RULES
from otel_ebpf.recording.scan import Scan

WORD = b"pa55w0rd"


def resp(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def mqtt(version: int, properties: bytes = b"") -> bytes:
    body = b"\0\4MQTT" + bytes((version, 0xC2)) + b"\0\x3c"
    if version == 5:
        body += bytes((len(properties),)) + properties
    body += sized(b"client-7") + sized(b"me") + sized(WORD)
    return b"\x10" + bytes((len(body),)) + body


def mysql(flags: int, proof: bytes) -> bytes:
    body = flags.to_bytes(4, "little") + bytes(4) + b"\x21" + bytes(23) + b"someone\0" + proof
    body += b"shop\0mysql_clear_password\0"
    return len(body).to_bytes(3, "little") + b"\1" + body


def bson(*fields: bytes) -> bytes:
    body = b"".join(fields)
    return b"\0" * 20 + (len(body) + 5).to_bytes(4, "little") + body + b"\0"


LONG = b"k" * 300 + WORD + b"k" * 300
MESSAGES: list[tuple[str, bytes, bytes]] = [
    # protocol, message, what of it must stay as it was
    ("redis", resp(b"AUTH", WORD) + resp(b"GET", b"shop"), b"shop"),
    ("redis", resp(b"auth", b"me", WORD) + resp(b"GET", b"shop"), b"shop"),
    ("redis", resp(b"HELLO", b"3", b"AUTH", b"me", WORD, b"SETNAME", b"shop"), b"SETNAME"),
    ("redis", resp(b"CONFIG", b"SET", b"requirepass", WORD), b"requirepass"),
    ("redis", resp(b"ACL", b"SETUSER", b"shop", b"on", b">" + WORD, b"~*"), b"shop"),
    ("redis", resp(b"MIGRATE", b"h", b"1", b"", b"0", b"9", b"AUTH2", b"me", WORD), b"MIGRATE"),
    ("redis", b"AUTH " + WORD + b"\r\nGET shop\r\n", b"GET shop"),
    ("nats", b'CONNECT {"pass":"' + WORD + b'","name":"shop"}\r\nPING\r\n', b'shop"}\r\nPING'),
    ("nats", b'CONNECT {"auth_token" : "a\\"' + WORD + b'\\\\","lang":"go"}\r\n', b'"lang":"go"'),
    ("mqtt", mqtt(4), b"client-7"),
    ("mqtt", mqtt(5), b""),
    ("mqtt", mqtt(5, b"\x15" + sized(b"OAUTH") + b"\x16" + sized(WORD)), b"MQTT"),
    ("mqtt", b"\xf0\x13\x18\x11\x15" + sized(b"O") + b"\x16" + sized(WORD), b"\x18"),
    ("mysql", mysql(0x0028A200, bytes((len(WORD),)) + WORD), b"shop\0mysql_clear_password"),
    ("mysql", mysql(0x00088200, bytes((len(WORD),)) + WORD), b"shop\0mysql_clear_password"),
    ("mysql", b"\x1f\0\0\0\x11someone\0" + bytes((len(WORD),)) + WORD + b"shop\0\x21\0", b"shop"),
    ("mysql", b"\x40\0\0\0\3CREATE USER a IDENTIFIED BY 'it\\'s " + WORD + b"' ACCOUNT LOCK",
     b"' ACCOUNT LOCK"),
    ("mysql", b"\x40\0\0\0\3SET PASSWORD FOR a = PASSWORD('" + WORD + b"')", b"FOR a"),
    ("postgresql", b"p\0\0\0\x0d" + WORD + b"\0Q\0\0\0\x0dSELECT 1\0", b"SELECT 1"),
    ("postgresql", b"Q\0\0\0\x40ALTER ROLE a PASSWORD 'it''s " + WORD + b"' LOGIN\0", b"LOGIN"),
    ("postgresql", b"Q\0\0\0\x40... CONNECTION 'host=db password=" + WORD + b" sslmode=off'\0",
     b"sslmode=off"),
    ("mongodb", bson(b"\x10saslStart\0\1\0\0\0", b"\5payload\0\x0b\0\0\0\0\0a\0" + WORD,
                     b"\2$db\0\6\0\0\0admin\0"), b"admin"),
    ("mongodb", bson(b"\2createUser\0\2\0\0\0a\0", b"\2pwd\0\x09\0\0\0" + WORD + b"\0"),
     b"createUser"),
    ("memcached", b"\x80\x21\0\5" + bytes(7) + b"\x13" + bytes(12) + b"PLAIN\0user\0" + WORD,
     b"PLAIN"),
    ("amqp", b"\1\0\0\0\0\0\x20\0\x0a\0\x0b" + b"\0" * 18 + WORD + b"\0\0\xce", b"\xce"),
    ("http", b"GET /a?sig=" + WORD + b"&page=7 HTTP/1.1\r\nHost: shop\r\nAuthorization: a "
     + WORD + b"\r\nAccept: */*\r\nCookie: sid=" + LONG + b"\r\nX-Last: 1\r\n\r\nbody",
     b"Accept: */*"),
    ("fastcgi", b"\1\4\0\1\0\x40\0\0\x0b\x08HTTP_COOKIE" + WORD + b"\x0e\3REQUEST_METHODGET",
     b"REQUEST_METHODGET"),
    ("uwsgi", b"\0\x40\0\0\x0b\0HTTP_COOKIE\x08\0" + WORD + b"\x09\0PATH_INFO\2\0/a", b"PATH_INFO"),
]  # fmt: skip


def blanked(protocol: str, pieces: list[bytes]) -> bytes:
    scan, out = Scan(RULES[protocol]), b""
    for number, piece in enumerate(pieces):
        data = bytearray(piece)
        for start, end in scan.feed(piece, len(piece), number == 0):
            assert 0 <= start <= end <= len(piece)
            data[start:end] = b"x" * (end - start)
        out += bytes(data)
    return out


@pytest.mark.parametrize(("protocol", "message", "stays"), MESSAGES)
def test_wherever_a_login_is_cut_its_secret_is_blank(
    protocol: str, message: bytes, stays: bytes
) -> None:
    whole = blanked(protocol, [message])
    assert WORD not in whole
    assert stays in whole
    assert len(whole) == len(message)
    for cut in range(1, len(message)):
        two = blanked(protocol, [message[:cut], message[cut:]])
        assert WORD not in two
        # Nor parts of it, which lie where the cut is.
        at = message.index(WORD)
        assert not set(two[at : at + len(WORD)]) - {ord("x")}, (cut, two)


def test_byte_by_byte() -> None:
    for protocol, message, _ in MESSAGES[:10]:
        at = message.index(WORD)
        told = blanked(protocol, [message[i : i + 1] for i in range(len(message))])
        assert not set(told[at : at + len(WORD)]) - {ord("x")}, (protocol, told)


def test_what_was_not_captured_of_a_secret_does_not_hide_what_follows() -> None:
    scan = Scan(RULES["http"])
    head = b"GET / HTTP/1.1\r\nCookie: " + WORD
    assert scan.feed(head, len(head) + 4000, True) == [(24, len(head))]
    assert scan.inside
    plain = b"GET /next HTTP/1.1\r\nHost: shop\r\n\r\n"
    assert scan.feed(plain, len(plain), True) == []


def test_a_counted_secret_goes_on_behind_what_was_not_captured() -> None:
    scan = Scan(RULES["redis"])
    head = b"*2\r\n$4\r\nAUTH\r\n$20\r\n0123"
    assert scan.feed(head, len(head) + 6, True) == [(len(head) - 4, len(head))]
    assert scan.feed(b"0123456789\r\n", 12, False) == [(0, 10)]


@given(st.sampled_from(sorted(RULES)), st.lists(st.binary(max_size=600), max_size=8), st.data())
@settings(max_examples=300, deadline=None)
def test_any_bytes(protocol: str, pieces: list[bytes], data: st.DataObject) -> None:
    scan = Scan(RULES[protocol])
    words = [message for name, message, _ in MESSAGES if name == protocol]
    for piece in pieces:
        piece = data.draw(st.sampled_from([piece, *words, words[0][:20] + piece]))
        length = len(piece) + data.draw(st.sampled_from([0, 0, 5, 70_000]))
        last = 0
        for start, end in scan.feed(piece, length, data.draw(st.booleans())):
            assert last <= start < end <= len(piece)
            last = end


def test_a_login_as_a_library_writes_it() -> None:
    token = base64.b64encode(WORD * 4)
    said = json.dumps({"verbose": False, "jwt": token.decode(), "name": "shop"}).encode()
    told = blanked("nats", [b"CONNECT " + said + b"\r\n"])
    assert token not in told
    assert json.loads(told[8:])["name"] == "shop"
