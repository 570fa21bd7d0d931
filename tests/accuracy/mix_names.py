"""Names of the mix's calls, and what replies say that is each call's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

HEADER = "x-mix"
"""Of HTTP's responses: the call's name."""
_NAME = re.compile(r"\b(ok|bad)(?:_(\d+)_(\d+)\b|-10-(\d+)-(\d+)-(\d+)\b)", re.IGNORECASE)
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Named(NamedTuple):
    """One call: whether it is meant to fail, of which thread, and which of that thread's."""

    bad: bool
    thread: int
    number: int

    @property
    def word(self) -> str:
        return "bad" if self.bad else "ok"

    @property
    def text(self) -> str:
        """The name itself: a plain identifier."""
        return f"{self.word}_{self.thread}_{self.number}"


Call = Callable[[list[Named]], list[str]]
"""Makes these calls at once; gives what each one's reply says of itself (a mark), or ""."""


def name_in(text: str) -> str:
    """The call's name that is found in ``text``; "" if there is none."""
    found = _NAME.search(text)
    if found is None:
        return ""
    bad = found[1].lower() == "bad"
    if found[2]:
        return Named(bad, int(found[2]), int(found[3])).text
    return Named(bad, int(found[4]), int(found[5]) * 256 + int(found[6])).text


def name_of(text: str) -> Named:
    """The reverse of ``Named.text``."""
    word, thread, number = text.split("_")
    return Named(word == "bad", int(thread), int(number))


def address_of(name: Named) -> str:
    """Of DNS names."""
    return f"10.{name.thread}.{name.number >> 8 & 255}.{name.number & 255}"


def errno_of(name: Named) -> int:
    """A number of MariaDB's errors."""
    return 5000 + (name.number * 8 + name.thread) % 60000


def field_of(name: Named) -> int:
    """A number of a field of Thrift's, of an exception."""
    return 1 + (name.number * 8 + name.thread) % 30000


def sqlstate_of(name: Named) -> str:
    """A state of a class that nothing else uses."""
    number, state = name.number * 8 + name.thread, ""
    for _ in range(4):
        number, digit = divmod(number, len(_DIGITS))
        state = _DIGITS[digit] + state
    return f"X{state}"


def trace_of(name: Named) -> str:
    """A trace id that the call's message carries."""
    return f"{1 + name.bad:02x}{name.thread:02x}{name.number:028x}"


def name_of_trace(trace_id: str) -> str:
    """The reverse of ``trace_of``."""
    return Named(trace_id[1] == "2", int(trace_id[2:4], 16), int(trace_id[4:], 16)).text
