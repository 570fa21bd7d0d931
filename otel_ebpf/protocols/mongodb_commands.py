"""MongoDB's commands and answers: what spans say of them.

A command is a document whose first field is its name. Nothing of a value is kept but names of
databases and collections: texts have ``?`` in their places, and those of logins and users are
left out altogether.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from . import bson
from .database import ALWAYS, DONE, UNLESS_FAILED, DbRequest, DbResponse
from .mongodb_frames import COMPRESSED, DELETE, GET_MORE, INSERT, KEPT, MESSAGE, QUERY, UPDATE

SYSTEM = "mongodb"
CHECKSUM, MORE_TO_COME = 1, 2
_QUERY_FAILED = 2
_COMPRESSORS = {0: "noop", 1: "snappy", 2: "zlib", 3: "zstd"}

_CHATTER = dict.fromkeys(
    (b"buildInfo", b"buildinfo", b"ping", b"killCursors",
     b"saslStart", b"saslContinue", b"authenticate", b"getnonce", b"logout"),
    UNLESS_FAILED,
)  # fmt: skip
_CHATTER.update(
    dict.fromkeys((b"hello", b"isMaster", b"ismaster", b"endSessions", b"refreshSessions"), ALWAYS)
)
_SECRET = frozenset(
    (b"saslStart", b"saslContinue", b"authenticate", b"createUser", b"updateUser", b"getnonce",
     b"copydb", b"copydbgetnonce", b"copydbsaslstart")
)  # fmt: skip
_OWN_FIELDS = frozenset((b"lsid", b"txnNumber", b"autocommit", b"startTransaction", b"apiVersion"))
_BATCHES = frozenset((b"documents", b"updates", b"deletes", b"ops"))
_COLLECTIONS = frozenset(
    (b"find", b"insert", b"update", b"delete", b"aggregate", b"count", b"distinct",
     b"findAndModify", b"findandmodify", b"create", b"drop", b"createIndexes", b"dropIndexes",
     b"deleteIndexes", b"listIndexes", b"collMod", b"mapReduce", b"mapreduce", b"validate",
     b"collStats", b"compact",
     b"reIndex", b"killCursors", b"geoNear", b"geoSearch", b"group", b"convertToCapped",
     b"cloneCollectionAsCapped", b"planCacheClear", b"createSearchIndexes", b"dropSearchIndex")
)  # fmt: skip
"""Commands whose value is a collection."""
_LEGACY = {
    UPDATE: "update", INSERT: "insert", QUERY: "find", GET_MORE: "getMore", DELETE: "delete",
}  # fmt: skip


class Asked(NamedTuple):
    """What a request says.

    ``oneway``: it has no answer; ``whole``: all that matters of it was there.
    """

    head: DbRequest
    oneway: bool
    whole: bool


class Unpacked(NamedTuple):
    """A message without its compression; ``how``: what could not be undone, or empty."""

    kind: int
    body: bytes
    whole: bool
    how: str


def unpack(kind: int, body: bytes, whole: bool) -> Unpacked:
    """Undoes zlib's compression, to ``KEPT`` bytes; other messages stay as they are."""
    if kind != COMPRESSED:
        return Unpacked(kind, body, whole, "")
    if len(body) < 9:
        return Unpacked(kind, b"", False, "unknown")
    kind, size, how = bson.size_at(body, 0), bson.size_at(body, 4), body[8]
    if how == 0:
        return Unpacked(kind, body[9:], whole, "")
    if how == 2:
        try:
            plain = zlib.decompressobj().decompress(body[9:], KEPT)
        except zlib.error:
            return Unpacked(kind, b"", False, "zlib")
        return Unpacked(kind, plain, len(plain) == size, "")
    return Unpacked(kind, b"", False, _COMPRESSORS.get(how, "unknown"))


def _sections(body: bytes, checksum: bool, whole: bool) -> tuple[int, list[tuple[bytes, int, int]]]:
    """Of OP_MSG: where its document is, or -1; its sequences: name, place behind it, and end."""
    end = len(body) - (4 if checksum and whole else 0)
    at, document = 4, -1
    sequences: list[tuple[bytes, int, int]] = []
    while at < end and len(sequences) < 8:
        kind, size = body[at], bson.size_at(body, at + 1)
        if size < 5:
            break
        if kind == 0 and document < 0:
            document = at + 1
        elif kind == 1:
            name_end = body.find(b"\0", at + 5, at + 5 + 64)
            if name_end < 0:
                break
            sequences.append((body[at + 5 : name_end], name_end + 1, at + 1 + size))
        at += 1 + size
    return document, sequences


def read_request(kind: int, body: bytes, whole: bool) -> Asked:
    """A request's body; it may be cut short (``whole``)."""
    kind, body, whole, how = unpack(kind, body, whole)
    if how:
        return Asked(DbRequest(SYSTEM, "", "", f"compressed ({how})"), False, False)
    if kind == MESSAGE:
        flags = bson.size_at(body, 0)
        document, sequences = _sections(body, bool(flags & CHECKSUM), whole)
        head, shown = _command(body, document, sequences, "")
        return Asked(head, flags >= 0 and bool(flags & MORE_TO_COME), whole and shown)
    operation = _LEGACY.get(kind, "")
    name_end = body.find(b"\0", 4, 4 + 256)
    if not operation or name_end < 0:
        head = DbRequest(SYSTEM, operation or "killCursors", "")
        head.chatter = 0 if operation else UNLESS_FAILED
        return Asked(head, kind not in (QUERY, GET_MORE), whole)
    database, _, collection = body[4:name_end].decode("utf-8", "replace").partition(".")
    if kind == QUERY and collection == "$cmd":
        head, shown = _command(body, _wrapped(body, name_end + 9), [], database)
        return Asked(head, False, whole and shown)
    head = DbRequest(SYSTEM, operation, "", "", collection, database)
    return Asked(head, kind not in (QUERY, GET_MORE), whole)


def _wrapped(body: bytes, at: int) -> int:
    """A command may come within ``$query``, beside preferences."""
    for name, kind, place, _ in bson.fields(body, at):
        return place if name in (b"$query", b"query") and kind == bson.DOCUMENT else at
    return at


def _command(
    body: bytes, at: int, sequences: list[tuple[bytes, int, int]], database: str
) -> tuple[DbRequest, bool]:
    """The document at ``at`` with what belongs to it, and whether it was read to its end."""
    head = DbRequest(SYSTEM, "", "", namespace=database)
    said: list[str] = []
    size = 0
    name, secret = b"", False
    shown = at >= 0
    end = at
    for field, kind, place, behind in bson.fields(body, at):
        end = behind
        if not name:
            name = field
            head.operation = name.decode("utf-8", "replace")
            head.chatter = _CHATTER.get(name, ALWAYS if name[:7] == b"replSet" else 0)
            secret = name in _SECRET
            value = ""
            if name in _COLLECTIONS:
                value = head.collection = bson.text(body, kind, place)
            elif name == b"explain" and kind == bson.DOCUMENT:
                _explained(head, body, place)
            shown_value = bson.quoted(value.encode()) if value else bson.shape(body, kind, place)[0]
            said.append(f"{bson.quoted(name)}:{shown_value}")
            continue
        if field == b"$db":
            head.namespace = bson.text(body, kind, place)
            continue
        if field == b"collection" and name == b"getMore":
            head.collection = bson.text(body, kind, place)
            said.append(f'"collection":{bson.quoted(head.collection.encode())}')
            continue
        if secret or field in _OWN_FIELDS or field[:1] == b"$" or size > bson.MAX_TEXT:
            continue
        batch = field in _BATCHES and kind == bson.ARRAY
        if batch:
            head.batch = bson.count(body, place)
        text, whole = bson.shape(body, kind, place, 1 if batch else 16)
        shown = shown and whole
        said.append(f"{bson.quoted(field)}:{text}")
        size += len(said[-1])
    for field, place, behind in sequences:
        if field in _BATCHES:
            head.batch = _documents(body, place, behind)
        if secret or size > bson.MAX_TEXT:
            continue
        text, whole = bson.shape(body, bson.DOCUMENT, place)
        shown = shown and whole
        more = ',"..."' if head.batch > 1 else ""
        said.append(f"{bson.quoted(field)}:[{text}{more}]")
        size += len(said[-1])
    if name and not secret:
        head.text = "{" + ",".join(said) + "}"
    return head, shown and bool(name) and end < len(body)


def _explained(head: DbRequest, body: bytes, at: int) -> None:
    for name, kind, place, _ in bson.fields(body, at):
        if name in _COLLECTIONS:
            head.collection = bson.text(body, kind, place)
        return


def _documents(body: bytes, at: int, end: int) -> int:
    """Documents of a sequence; 0 where it is not all there."""
    found = 0
    while at < end:
        size = bson.size_at(body, at)
        if size < 5:
            return 0
        at += size
        found += 1
    return found if end <= len(body) else 0


# Answers


def read_answer(kind: int, body: bytes, whole: bool) -> tuple[DbResponse, bool]:
    """How a call ended, and whether more answers to it come."""
    kind, body, whole, how = unpack(kind, body, whole)
    if how:
        return DONE, False
    flags = bson.size_at(body, 0)
    if kind == MESSAGE:
        document, _ = _sections(body, bool(flags & CHECKSUM), whole)
        return _outcome(body, document), flags >= 0 and bool(flags & MORE_TO_COME)
    if bson.size_at(body, 16) < 1:  # no document
        return DONE, False
    if flags & _QUERY_FAILED:
        outcome = _outcome(body, 20)
        return outcome if outcome.error else DbResponse("", "_OTHER"), False
    return _outcome(body, 20), False


def _outcome(body: bytes, at: int) -> DbResponse:
    failed = False
    code, name = 0, ""
    for field, kind, place, _ in bson.fields(body, at):
        if field == b"ok":
            failed = not bson.number(body, kind, place)
        elif field == b"$err":
            failed = True
        elif field == b"code":
            code = _code(body, kind, place)
        elif field == b"codeName":
            name = _name(body, kind, place)
        elif field == b"writeErrors" and kind == bson.ARRAY:
            for _, inner, first, _ in bson.fields(body, place):
                if inner == bson.DOCUMENT:
                    code, name = _inner(body, first)
                failed = True
                break
        elif field == b"writeConcernError" and kind == bson.DOCUMENT and not failed:
            code, name = _inner(body, place)
            failed = True
        elif field == b"cursor" and kind == bson.DOCUMENT:
            continue
        if failed and field == b"writeErrors":
            return _failure(code, name)
    # The order of the fields is the server's: `ok` may come before what went wrong.
    return _failure(code, name) if failed else DONE


def _inner(body: bytes, at: int) -> tuple[int, str]:
    code, name = 0, ""
    for field, kind, place, _ in bson.fields(body, at):
        if field == b"code":
            code = _code(body, kind, place)
        elif field == b"codeName":
            name = _name(body, kind, place)
    return code, name


def _code(body: bytes, kind: int, place: int) -> int:
    value = bson.number(body, kind, place)
    return int(value) if abs(value) < 1 << 31 else 0


def _name(body: bytes, kind: int, place: int) -> str:
    name = bson.text(body, kind, place, 64)
    return name if name.isalnum() else ""


def _failure(code: int, name: str) -> DbResponse:
    status = str(code) if code else ""
    return DbResponse(status, status or name or "_OTHER", name)
