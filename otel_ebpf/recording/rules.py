"""What is secret in each protocol: logins, keys, tokens. Not what programs store."""

from __future__ import annotations

import re
from collections.abc import Mapping

from otel_ebpf.recording.scan import Match, Pairs, Rule
from otel_ebpf.spans.semconv import SENSITIVE_QUERY_KEYS

_S, _I = re.DOTALL, re.DOTALL | re.IGNORECASE


def _text(before: bytes, secret: bytes, *, escape: bytes = b"", quote: bytes = b"") -> Rule:
    return Rule(re.compile(before, _I), re.compile(secret, _S), escape=escape, quote=quote)


def _counted(before: bytes, order: str = "") -> Rule:
    """A secret whose length is the pattern's group: digits, or a number of that byte order."""

    def find(match: Match, _behind: bytes) -> Pairs:
        if order == "little":
            return ((0, int.from_bytes(match[1], "little")),)
        return ((0, int.from_bytes(match[1], "big") if order else int(match[1][:18])),)

    return Rule(re.compile(before, _I), find=find)


# -- HTTP, and what carries it --------------------------------------------------------------

_HEADERS = (
    rb"authorization|proxy-authorization|cookie|set-cookie|x-api-key|api-key|x-auth-token"
    rb"|x-access-token|x-amz-security-token|x-csrf-token|x-vault-token|private-token"
)
_PARAMETERS = b"|".join(re.escape(key.encode()) for key in SENSITIVE_QUERY_KEYS)
_HTTP = (
    _text(rb"\n(?:" + _HEADERS + rb")[ \t]*:[ \t]*", rb"[^\r\n]*"),
    _text(rb"[?&](?:" + _PARAMETERS + rb")=", rb"[^&#\s]*"),
    _text(rb"://[^/@\s:?#]*:(?!\d{1,5}[/\s?#])", rb"[^/@\s?#]*"),
)
_CGI = rb"HTTP_(?:AUTHORIZATION|PROXY_AUTHORIZATION|COOKIE|X_API_KEY|X_AUTH_TOKEN)"
_FASTCGI = (
    # Lengths of name and value, one byte each or four, then both.
    _counted(rb"(?<=[\x00-\x7f])([\x01-\x7f])" + _CGI, "big"),
    _counted(rb"\x80(\x00.{2})" + _CGI, "big"),
    _HTTP[1],
)
_UWSGI = (_counted(_CGI + rb"(.{2})", "little"), _HTTP[1])

# -- databases ------------------------------------------------------------------------------

_QUOTED = rb"(?:[^'\\]|\\.|'')*"
_SQL = (
    _text(
        rb"\b(?:password|passwd|identified\s+(?:with\s+\S+\s+)?(?:by|as|using))"
        rb"(?:\s+(?:password|for\s+\S+))?[\s=(]*[EN]?'",
        _QUOTED,
        escape=b"\\",
        quote=b"'",
    ),
    _text(
        rb'\b(?:password|identified\s+(?:with\s+\S+\s+)?(?:by|as|using))[\s=(]*"',
        rb'(?:[^"\\]|\\.|"")*',
        escape=b"\\",
        quote=b'"',
    ),
    # Where a server is told to connect to another.
    _text(rb"\b(?:host|hostaddr|user|dbname|port)=[^;]{0,200}?\bpassword=", rb"[^\s'\"&;]*"),
)


def _postgresql_answer(match: Match, _behind: bytes) -> Pairs:
    return ((0, max(0, int.from_bytes(match[1], "big") - 4)),)


_SECURE, _LENENC = 0x8000, 0x200000


def _mysql_login(match: Match, behind: bytes) -> Pairs | None:
    """User, then the proof, with its length before it or a zero behind it."""
    rest = max(0, int.from_bytes(match[1], "little") - 32)
    flags = int.from_bytes(match[2], "little")
    if not rest:
        return ()  # it asks for TLS
    end = behind.find(0)
    if end < 0:
        return None
    skip = end + 1
    if not flags & (_SECURE | _LENENC):
        return ((skip, max(0, rest - skip)),)
    if skip >= len(behind):
        return None
    count, width = behind[skip], 1
    if flags & _LENENC and count == 0xFC:
        width, count = 3, int.from_bytes(behind[skip + 1 : skip + 3], "little")
        if skip + width > len(behind):
            return None
    return ((skip + width, min(count, max(0, rest - skip - width))),)


def _mysql_user(_: Match, behind: bytes) -> Pairs | None:
    end = behind.find(0)
    if end < 0 or end + 1 >= len(behind):
        return None
    return ((end + 2, behind[end + 1]),)


_MYSQL = (
    Rule(re.compile(rb"(.{3})[\x01\x02](.{4}).{4}.\x00{19}.{4}", _S), None, _mysql_login, True),
    Rule(re.compile(rb".{3}\x00\x11", _S), None, _mysql_user, True),
    *_SQL,
)
_POSTGRESQL = (
    Rule(re.compile(rb"p(\x00.{3})", _S), find=_postgresql_answer, starts=True),
    *_SQL,
)
_ARGUMENT = rb"\r\n\$\d+\r\n[^\r\n]*"
_KEEPS = (
    rb"requirepass|masterauth|primaryauth|auth-pass|sentinel-pass|tls-(?:client-)?key-file-pass"
)
_REDIS = (
    _counted(rb"\$4\r\nAUTH\r\n\$(\d+)\r\n"),
    _counted(rb"\$4\r\nAUTH" + _ARGUMENT + rb"\r\n\$(\d+)\r\n"),
    _counted(rb"\$5\r\nAUTH2" + _ARGUMENT + rb"\r\n\$(\d+)\r\n"),
    _counted(rb"\r\n(?:" + _KEEPS + rb")\r\n\$(\d+)\r\n"),
    # A rule of ACL SETUSER, without its first character.
    Rule(
        re.compile(rb"\r\n\$(\d{1,9})\r\n[><#!]"),
        find=lambda match, _: ((0, max(0, int(match[1]) - 1)),),
    ),
    Rule(re.compile(rb"AUTH[ \t]+", _I), re.compile(rb"[^\r\n]*"), starts=True),
)


def _mongodb_bytes(match: Match, _behind: bytes) -> Pairs:
    return ((1, int.from_bytes(match[1], "little")),)


_MONGODB = (
    # SASL's, and what makes a user: a string with a zero at its end.
    Rule(re.compile(rb"\x05payload\x00(.{3}\x00)", _S), find=_mongodb_bytes),
    Rule(
        re.compile(rb"\x02(?:pwd|password)\x00(.{3}\x00)", _S),
        find=lambda match, _: ((0, max(0, int.from_bytes(match[1], "little") - 1)),),
    ),
)


def _memcached_login(match: Match, _behind: bytes) -> Pairs:
    key, extras, body = match[1], match[2], match[3]
    skip = int.from_bytes(key, "big") + extras[0]
    return ((12 + skip, max(0, int.from_bytes(body, "big") - skip)),)


_MEMCACHED = (
    Rule(re.compile(rb"\x80[\x21\x22](..)(.).{3}(.{4})", _S), None, _memcached_login, True),
)

# -- queues ---------------------------------------------------------------------------------


def _mqtt_connect(match: Match, behind: bytes) -> Pairs | None:
    """All behind the client's identifier: will, user and password. Of 5 the properties too, in
    which a login may be; and the identifier, where it comes in another piece."""
    rest = _number(match[1]) - (match.end() - match.end(1))
    skip, found = 0, []
    if match[2] == b"\x05":
        size = _number(behind[:4])
        if size < 0:
            return None if len(behind) < 4 else ((0, rest),)
        width = 1 + (size > 0x7F) + (size > 0x3FFF) + (size > 0x1FFFFF)
        skip = width + size
        if len(behind) < skip + 2:
            return ((width, max(0, rest - width)),)
        found.append((width, size))
    elif len(behind) < 2:
        return None
    name = 2 + int.from_bytes(behind[skip : skip + 2], "big")
    return (*found, (name, max(0, rest - skip - name)))


def _number(data: bytes) -> int:
    """A number of seven bits a byte; -1: it does not end here."""
    value = 0
    for at, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return value
    return -1


_LENGTH = rb"([\x80-\xff]{0,3}[\x00-\x7f])"
_MQTT = (
    Rule(
        re.compile(rb"\x10" + _LENGTH + rb"\x00(?:\x04MQTT|\x06MQIsdp)(.).{3}", _S),
        find=_mqtt_connect,
        starts=True,
    ),
    Rule(
        re.compile(rb"\xf0" + _LENGTH + rb"[\x00\x18\x19]", _S),
        find=lambda match, _: ((0, max(0, _number(match[1]) - 1)),),
        starts=True,
    ),
)
_NATS = (
    _text(
        rb'"(?:pass|user|auth_token|jwt|sig|nkey)"\s*:\s*"',
        rb'(?:[^"\\]|\\.)*',
        escape=b"\\",
    ),
)
_AMQP = (
    # start-ok, secure-ok and update-secret: the method's arguments.
    Rule(
        re.compile(rb"\x01\x00\x00(.{4})\x00\x0a\x00[\x0b\x15\x46]", _S),
        find=lambda match, _: ((0, max(0, int.from_bytes(match[1], "big") - 4)),),
    ),
)

RULES: Mapping[str, tuple[Rule, ...]] = {
    "amqp": _AMQP,
    "fastcgi": _FASTCGI,
    "http": _HTTP,
    "memcached": _MEMCACHED,
    "mongodb": _MONGODB,
    "mqtt": _MQTT,
    "mysql": _MYSQL,
    "nats": _NATS,
    "postgresql": _POSTGRESQL,
    "redis": _REDIS,
    "uwsgi": _UWSGI,
}
"""By the protocol's name. Of Kafka's logins the kernel half takes nothing."""
