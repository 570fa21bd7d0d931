"""MySQL's packets, as bytes."""

from __future__ import annotations

FULL = 0xFFFFFF
PLUGIN_AUTH, DEPRECATE_EOF, COMPRESS, SSL = 1 << 19, 1 << 24, 1 << 5, 1 << 11
OPTIONAL_METADATA, ATTRIBUTES, CACHE_METADATA = 1 << 25, 1 << 27, 1 << 36
OLD = 1 | 8 | 1 << 9 | 1 << 15 | PLUGIN_AUTH | 1 << 13 | 1 << 16 | 1 << 17
NEW = OLD | DEPRECATE_EOF
AUTOCOMMIT, MORE, CURSOR, PLAIN = 2, 8, 0x40, 0x200


def packet(number: int, body: bytes) -> bytes:
    out = b""
    while len(body) >= FULL:
        out += b"\xff\xff\xff" + bytes([number]) + body[:FULL]
        number, body = number + 1 & 0xFF, body[FULL:]
    return out + len(body).to_bytes(3, "little") + bytes([number]) + body


def number(value: int) -> bytes:
    return bytes([value]) if value < 251 else b"\xfc" + value.to_bytes(2, "little")


def text(value: bytes) -> bytes:
    return number(len(value)) + value


def greeting(
    version: str = "10.11.6-MariaDB", flags: int = NEW | SSL, status: int = AUTOCOMMIT
) -> bytes:
    body = b"\n" + version.encode() + b"\0" + b"\1\0\0\0" + b"scramble" + b"\0"
    body += (flags & 0xFFFF).to_bytes(2, "little") + b"\x2d" + status.to_bytes(2, "little")
    body += (flags >> 16 & 0xFFFF).to_bytes(2, "little") + b"\x15" + bytes(6)
    body += (flags >> 32).to_bytes(4, "little") + b"more-scramble\0mysql_native_password\0"
    return packet(0, body)


def login(
    database: str = "shop",
    flags: int = NEW,
    secret: bytes = b"h4sh",
    first: int = 1,
    set_: int = 45,
) -> bytes:
    body = (flags & 0xFFFFFFFF).to_bytes(4, "little") + b"\0\0\0\1" + bytes([set_]) + bytes(19)
    body += (flags >> 32).to_bytes(4, "little") + b"me\0" + bytes([len(secret)]) + secret
    return packet(first, body + database.encode() + b"\0mysql_native_password\0")


def tls_wish() -> bytes:
    return packet(1, (NEW | SSL).to_bytes(4, "little") + b"\0\0\0\1\x2d" + bytes(23))


def command(kind: int, body: bytes = b"") -> bytes:
    return packet(0, bytes([kind]) + body)


def query(said: str) -> bytes:
    return command(3, said.encode())


def prepare(said: str) -> bytes:
    return command(0x16, said.encode())


def execute(statement: int, cursor: int = 0, values: bytes = b"") -> bytes:
    return command(0x17, statement.to_bytes(4, "little") + bytes([cursor]) + b"\1\0\0\0" + values)


def fetch(statement: int, rows: int = 10) -> bytes:
    return command(0x1C, statement.to_bytes(4, "little") + rows.to_bytes(4, "little"))


def close(statement: int) -> bytes:
    return command(0x19, statement.to_bytes(4, "little"))


def ok(first: int = 1, status: int = AUTOCOMMIT, header: int = 0) -> bytes:
    return packet(first, bytes([header]) + b"\0\0" + status.to_bytes(2, "little") + b"\0\0")


def eof(first: int, status: int = AUTOCOMMIT) -> bytes:
    return packet(first, b"\xfe\0\0" + status.to_bytes(2, "little"))


def error(code: int, state: str = "42S02", first: int = 1) -> bytes:
    return packet(first, b"\xff" + code.to_bytes(2, "little") + f"#{state}boom 's3cr3t'".encode())


def definition(first: int) -> bytes:
    said = [b"def", b"shop", b"t", b"t", b"name", b"name", b"\x2d\0" + bytes(10)]
    return packet(first, b"".join(text(x) for x in said))


def row(first: int, value: bytes = b"s3cr3t") -> bytes:
    return packet(first, text(value))


def result(
    rows: int = 2,
    columns: int = 1,
    first: int = 1,
    old: bool = False,
    status: int = AUTOCOMMIT,
    value: bytes = b"s3cr3t",
) -> bytes:
    """A whole result: before CLIENT_DEPRECATE_EOF (``old``), or since."""
    parts = [number(columns)]
    at = first
    out = packet(at, b"".join(parts))
    for _ in range(columns):
        at += 1
        out += definition(at & 0xFF)
    if old:
        at += 1
        out += eof(at & 0xFF, status & ~MORE)
    for _ in range(rows):
        at += 1
        out += row(at & 0xFF, value)
    at = at + 1 & 0xFF
    return out + (eof(at, status) if old else ok(at, status, 0xFE))


def prepared(statement: int, parameters: int = 1, columns: int = 1, old: bool = False) -> bytes:
    body = b"\0" + statement.to_bytes(4, "little") + columns.to_bytes(2, "little")
    out = packet(1, body + parameters.to_bytes(2, "little") + b"\0\0\0")
    at = 1
    for some in (parameters, columns):
        for _ in range(some):
            at += 1
            out += definition(at)
        if some and old:
            at += 1
            out += eof(at)
    return out
