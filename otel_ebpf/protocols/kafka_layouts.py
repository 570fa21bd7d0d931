"""Where errors are in the answers to Kafka's many calls, and topics' names in Metadata's.

A layout is a line of fields: a number is that many bytes, ``s`` a text, ``E`` an error's code,
``U`` a topic's id, ``T`` its name, ``[...]`` an array of structures, ``(n)`` one of numbers of
n bytes, ``!`` the end of what is read. ``@a-b`` behind a field: the versions that have it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache

from .kafka_api import APIS
from .kafka_frames import Body, Unseen

RESPONSES = {
    2: "4@2- [s [4 E (8)@0 8@1- 8@1- 4@4-]]",
    3: "4@3- [4 s 4 s@1-] s@2- 4@1- [E T U@10- 1@1- [E 4 4 4@7- (4) (4) (4)@5-] 4@8-] 4@8-10 E@13-",
    8: "4@3- [s@-9 U@10- [4 E]]",
    9: "4@3- [s [4 8 4@5- s E]]@-7 E@2-7 [s [s@-9 U@10- [4 8 4 s E]] E]@8-",
    10: "4@1- E@-3 s@1-3 4@-3 s@-3 4@-3 [s 4 s 4 E s]@4-",
    11: "4@2- E !",
    12: "4@1- E",
    13: "4@1- E [s s E]@3-",
    14: "4@1- E !",
    15: "4@1- [E !]",
    16: "4@1- E !",
    17: "E !",
    18: "E !",
    19: "4@2- [T U@7- E s@1- 4@5- 2@5- [s s 1 1 1]@5-]",
    20: "4@1- [s U@6- E s@5-]",
    21: "4 [s [4 8 E]]",
    22: "4 E !",
    23: "4@2- [s [E 4 4@1- 8]]",
    24: "4 E@4- [s [s [4 E]]]@4- [s [4 E]]@-3",
    25: "4 E",
    26: "4 E !",
    27: "[8 [s [4 E]]]",
    28: "4 [s [4 E]]",
    29: "4 E !",
    30: "4 [E s]",
    31: "4 [E !]",
    32: "4 [E !]",
    33: "4 [E s 1 s]",
    36: "E !",
    37: "4 [s E s]",
    38: "E !",
    39: "E !",
    40: "E !",
    41: "E !",
    42: "4 [s E]",
    43: "4 E@1- [s [4 E s]]",
    44: "4 [E s 1 s]",
    45: "4 1@1- E !",
    46: "4 E !",
    47: "E 4 [s [4 E]]",
    48: "4 E !",
    49: "4 [E !]",
    50: "4 E !",
    51: "4 [s E s]",
    57: "4 E !",
    60: "4 E !",
    62: "4 E !",
    63: "4 E !",
    68: "4 E !",
    69: "4 [E !]",
    71: "4 E !",
    72: "4 E",
}

_FIELD = re.compile(r"([\[\]]|\(\d+\)|\d+|[sEUT!])(?:@(\d*)-?(\d*))?")

Layout = tuple[object, ...]
"""A structure's fields: a number of bytes, one of the letters, ``("(", n)``, or an array's own
layout."""


class Answer:
    """What an answer says.

    Attributes:
        error: the first error's code, or 0.
        topics: names by id.
    """

    __slots__ = ("error", "topics")

    def __init__(self) -> None:
        self.error = 0
        self.topics: dict[bytes, str] = {}


class _End(Exception):
    """The rest is not read."""


def _within(version: int, low: str | None, high: str | None, whole: str) -> bool:
    if "@" not in whole:
        return True
    if "-" not in whole:
        return version == int(low or 0)
    return int(low or 0) <= version and (not high or version <= int(high))


@lru_cache(512)
def layout(api: int, version: int) -> Layout:
    """The fields of an answer of this version; none where nothing is known of it."""
    if api not in RESPONSES or version > APIS[api].newest:
        return ()
    stack: list[list[object]] = [[]]
    for found in _FIELD.finditer(RESPONSES[api]):
        what, low, high = found.groups()
        kept = _within(version, low, high, found[0])
        if what == "[":
            stack.append([])
        elif what == "]":
            inner = tuple(stack.pop())
            if kept:
                stack[-1].append(inner)
        elif kept:
            if what[0] == "(":
                stack[-1].append(("(", int(what[1:-1])))
            else:
                stack[-1].append(int(what) if what.isdigit() else what)
    return tuple(stack[0])


def read(body: Body, fields: Layout) -> Answer:
    """Reads an answer, as far as it was seen."""
    answer = Answer()
    with suppress(_End, Unseen):
        _structure(body, fields, answer)
    return answer


def _structure(body: Body, fields: Layout, answer: Answer) -> None:
    name, topic = "", b""
    for field in fields:
        if isinstance(field, int):
            body.skip(field)
        elif field == "s":
            body.pass_text()
        elif field == "E":
            code = body.number(2)
            if code and not answer.error:
                answer.error = code
        elif field == "T":
            name = body.text()
        elif field == "U":
            topic = body.take(16)
        elif field == "!":
            raise _End
        elif isinstance(field, tuple):
            count = body.count()
            if field[0] == "(":
                body.skip(count * field[1])
            else:
                for _ in range(count):
                    _structure(body, field, answer)
    body.tags()
    if name and topic and topic != bytes(16):
        answer.topics[topic] = name
