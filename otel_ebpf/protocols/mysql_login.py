"""How a connection begins: what the server's greeting and the client's answer tell.

Of these packets names of users, passwords, scrambles and tokens are not looked at.
"""

from __future__ import annotations

from typing import NamedTuple

from .mysql_packets import length_encoded, text_until_nul

CLIENT_MYSQL = 1
"""Not set by MariaDB's own clients, which then say more of themselves."""
CLIENT_CONNECT_WITH_DB = 1 << 3
CLIENT_COMPRESS = 1 << 5
CLIENT_PROTOCOL_41 = 1 << 9
CLIENT_SSL = 1 << 11
CLIENT_SECURE_CONNECTION = 1 << 15
CLIENT_PLUGIN_AUTH_LENENC_DATA = 1 << 21
CLIENT_DEPRECATE_EOF = 1 << 24
CLIENT_OPTIONAL_METADATA = 1 << 25
CLIENT_ZSTD = 1 << 26
CLIENT_QUERY_ATTRIBUTES = 1 << 27
MARIADB_CACHE_METADATA = 1 << 36

NO_BACKSLASH_ESCAPES = 0x0200
"""Of the server's status: a backslash is a character like any other."""

# Collations of character sets in which a backslash can be the second half of a character:
# big5, sjis, gbk, cp932, gb18030.
_AMBIGUOUS = frozenset({1, 84, 13, 88, 28, 87, 95, 96, 248, 249, 250})


class Greeting(NamedTuple):
    """The server's first packet."""

    mariadb: bool
    capabilities: int
    status: int


class Login(NamedTuple):
    """The client's answer: capabilities (MariaDB's from bit 32 on), the database by name.

    ``backslash_unsure``: by the character set, a backslash may be half of a character.
    """

    capabilities: int
    database: str
    backslash_unsure: bool

    @property
    def mariadb(self) -> bool:
        """The client found MariaDB to talk to."""
        return not self.capabilities & CLIENT_MYSQL


def read_greeting(body: bytes) -> Greeting | None:
    """None: it is none, or an older one than version 10's."""
    if body[:1] != b"\n":
        return None
    version, at = text_until_nul(body, 1)
    at += 4 + 8 + 1  # the connection's number, half of the scramble
    low, status, high = body[at : at + 2], body[at + 3 : at + 5], body[at + 5 : at + 7]
    capabilities = int.from_bytes(low, "little") | int.from_bytes(high, "little") << 16
    if not capabilities & CLIENT_MYSQL:
        capabilities |= int.from_bytes(body[at + 14 : at + 18], "little") << 32
    mariadb = b"mariadb" in version.lower()
    return Greeting(mariadb, capabilities, int.from_bytes(status, "little"))


def wants_tls(body: bytes) -> bool:
    """SSLRequest: the answer's beginning alone."""
    return len(body) == 32 and bool(int.from_bytes(body[:4], "little") & CLIENT_SSL)


def read_login(body: bytes) -> Login | None:
    """The client's answer; None: it is of a protocol older than 4.1, or no answer at all."""
    capabilities = int.from_bytes(body[:4], "little")
    if len(body) < 33 or not capabilities & CLIENT_PROTOCOL_41:
        return None
    if not capabilities & CLIENT_MYSQL:
        capabilities |= int.from_bytes(body[28:32], "little") << 32
    _, at = text_until_nul(body, 32)
    if capabilities & CLIENT_PLUGIN_AUTH_LENENC_DATA:
        length, at = length_encoded(body, at)
        at += max(length, 0)
    elif capabilities & CLIENT_SECURE_CONNECTION:
        at += 1 + (body[at] if at < len(body) else 0)
    else:
        _, at = text_until_nul(body, at)
    database = text_until_nul(body, at)[0] if capabilities & CLIENT_CONNECT_WITH_DB else b""
    return Login(capabilities, database_name(database), body[8] in _AMBIGUOUS)


def read_change_user(body: bytes) -> str:
    """COM_CHANGE_USER: the database."""
    _, at = text_until_nul(body, 1)
    at += 1 + (body[at] if at < len(body) else 0)
    return database_name(text_until_nul(body, at)[0])


def database_name(name: bytes) -> str:
    """As it goes into ``db.namespace``."""
    return name[:64].decode("utf-8", "replace")
