"""Redis commands: which of their arguments may be told, and which calls are special.

Keys are kept in ``db.query.text``, as the semantic conventions show it (``HMSET myhash ? ?``);
every other argument becomes ``?``: values, scripts, passwords.
"""

from __future__ import annotations

from .database import ALWAYS, UNLESS_FAILED, DbRequest

SYSTEM = "redis"
KEPT = 64
"""Most arguments of a command that are looked at."""
KEPT_BYTES = 256
"""Most bytes of an argument that are kept."""
_TEXT = 1024
"""Longest text made of a command, about."""
_MAX_NAME = 24

_NONE, _FIRST, _ALL, _PAIRS, _ALL_BUT_LAST, _COUNTED, _COUNTED_SECOND, _SECOND = range(8)
"""Which arguments are keys. _COUNTED: the first says how many follow; _COUNTED_SECOND: the
second does, and the first is a script's name or text."""

_KEYS: dict[str, int] = {}
for _way, _names in (
    (
        _FIRST,
        "APPEND BITCOUNT BITFIELD BITFIELD_RO BITPOS DECR DECRBY DUMP EXPIRE EXPIREAT EXPIRETIME "
        "GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUS_RO GEORADIUSBYMEMBER "
        "GEORADIUSBYMEMBER_RO GEOSEARCH GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL HEXISTS HGET "
        "HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HRANDFIELD HSCAN HSET HSETNX HSTRLEN "
        "HVALS INCR INCRBY INCRBYFLOAT LINDEX LINSERT LLEN LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET "
        "LTRIM MOVE PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PSETEX PTTL RESTORE RPOP RPUSH "
        "RPUSHX SADD SCARD SET SETBIT SETEX SETNX SETRANGE SISMEMBER SMEMBERS SMISMEMBER SORT "
        "SORT_RO SPOP SRANDMEMBER SREM SSCAN STRLEN SUBSTR TTL TYPE XACK XADD XAUTOCLAIM XCLAIM "
        "XDEL XLEN XPENDING XRANGE XREVRANGE XTRIM ZADD ZCARD ZCOUNT ZINCRBY ZLEXCOUNT ZMSCORE "
        "ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREM ZREMRANGEBYLEX "
        "ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN "
        "ZSCORE PUBLISH SPUBLISH",
    ),
    (
        _ALL,
        "DEL EXISTS MGET PFCOUNT PFMERGE RENAME RENAMENX RPOPLPUSH SDIFF SDIFFSTORE SINTER "
        "SINTERSTORE SUNION SUNIONSTORE TOUCH UNLINK WATCH SUBSCRIBE PSUBSCRIBE SSUBSCRIBE "
        "UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE",
    ),
    (_PAIRS, "MSET MSETNX"),
    (_ALL_BUT_LAST, "BLPOP BRPOP BZPOPMAX BZPOPMIN BRPOPLPUSH"),
    (_COUNTED, "SINTERCARD ZDIFF ZINTER ZINTERCARD ZUNION LMPOP ZMPOP"),
    (_COUNTED_SECOND, "EVAL EVALSHA EVAL_RO EVALSHA_RO FCALL FCALL_RO BLMPOP BZMPOP"),
    (_SECOND, "BITOP"),
):
    _KEYS.update(dict.fromkeys(_names.split(), _way))

_CONTAINERS = frozenset(
    {
        "ACL",
        "CLIENT",
        "CLUSTER",
        "COMMAND",
        "CONFIG",
        "DEBUG",
        "FUNCTION",
        "LATENCY",
        "MEMORY",
        "MODULE",
        "OBJECT",
        "PUBSUB",
        "SCRIPT",
        "SENTINEL",
        "SLOWLOG",
        "XGROUP",
        "XINFO",
    }
)
"""Commands whose first argument names what they do."""
_SUBJECT = frozenset({"OBJECT", "XGROUP", "XINFO", "MEMORY"})
"""Containers whose second argument is a key."""
CHATTER = frozenset(
    {
        "PING",
        "HELLO",
        "AUTH",
        "CLIENT",
        "SELECT",
        "READONLY",
        "READWRITE",
        "ASKING",
        "QUIT",
        "RESET",
        "REPLCONF",
    }
)
"""What client libraries send on their own account."""
PROBES = frozenset({"CLIENT", "HELLO", "READONLY", "READWRITE", "ASKING", "REPLCONF"})
"""Of them, those that find out what the server knows: an error is no failure."""
SUBSCRIBES = frozenset(
    {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"}
)
STREAMS = frozenset({"MONITOR", "PSYNC", "SYNC"})
"""After these a connection carries no answers any more."""


def _text(argument: bytes) -> str:
    return argument.decode("utf-8", "replace")


def command_name(argument: bytes) -> str:
    """A command's or subcommand's name; empty where it can be none (it may be anything then)."""
    if len(argument) <= _MAX_NAME:
        name = argument.decode("latin-1").upper()
        if name.isascii() and name.replace("_", "").replace(".", "").replace("-", "").isalnum():
            return name
    return ""


def _key_range(way: int, args: list[bytes]) -> range:
    """Places of the keys among ``args``, where 0 is the command's name."""
    n = len(args)
    if way == _FIRST:
        return range(1, min(2, n))
    if way == _ALL:
        return range(1, n)
    if way == _PAIRS:
        return range(1, n, 2)
    if way == _ALL_BUT_LAST:
        return range(1, n - 1)
    if way == _SECOND:
        return range(2, n)
    at = 1 if way == _COUNTED else 2
    if n > at and args[at].isdigit() and len(args[at]) < 6:
        return range(at + 1, min(n, at + 1 + int(args[at])))
    return range(0)


def describe(args: list[bytes], total: int, database: str) -> DbRequest:
    """The call of a command.

    Args:
        args: its name and arguments, at most :data:`KEPT` of them, each cut to
            :data:`KEPT_BYTES`.
        total: how many there are in all.
        database: number of the database that is selected, or "".
    """
    name = command_name(args[0])
    if not name:
        return DbRequest(SYSTEM, "", "", "", "", database)
    way = _KEYS.get(name, _NONE)
    procedure = ""
    if way == _FIRST:
        # Nearly all commands.
        if total == 1 or len(args) == 1:
            text = name
        else:
            text = f"{name} {_text(args[1])}" + " ?" * (min(total, KEPT) - 2)
        return DbRequest(SYSTEM, name, text, name, "", database)
    operation = name
    told: set[int] = set()
    if name in _CONTAINERS and len(args) > 1:
        sub = command_name(args[1])
        if sub:
            operation = f"{name} {sub}"
            if name in _SUBJECT and sub != "HELP" and len(args) > 2:
                told.add(2)
    elif way == _COUNTED_SECOND and name not in ("EVAL", "EVAL_RO", "BLMPOP", "BZMPOP"):
        procedure = _text(args[1]) if len(args) > 1 else ""
        told.add(1)
    if way != _NONE:
        told.update(_key_range(way, args))
    words = operation.split(" ")
    size = 0
    for place in range(len(words), len(args)):
        word = _text(args[place]) if place in told else "?"
        size += len(word)
        if size > _TEXT:
            break
        words.append(word)
    words += ["?"] * (min(total, KEPT) - len(words)) if size <= _TEXT else ["..."]
    chatter = 0 if name not in CHATTER else ALWAYS if name in PROBES else UNLESS_FAILED
    return DbRequest(
        SYSTEM, operation, " ".join(words), operation, "", database, procedure, chatter
    )


def error_prefix(line: bytes) -> str:
    """The code that an error reply begins with (``WRONGTYPE``); empty where it has none.

    What scripts return may be any text, so only what looks like a code is one.
    """
    word = line[:33].split(b" ", 1)[0]
    if 1 < len(word) <= 32 and word.isupper() and word.replace(b"_", b"").isalnum():
        return word.decode("ascii", "replace")
    return ""
