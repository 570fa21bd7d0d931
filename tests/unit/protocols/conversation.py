"""Feeds conversations to a parser and tells what came out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otel_ebpf.protocols.base import EGRESS, INGRESS, REQUEST, Message
from otel_ebpf.protocols.http1 import Http1Parser

IN, OUT = INGRESS, EGRESS

Turn = tuple[int, bytes]
"""Direction and bytes."""


class Ear:
    """A parser with a clock of its own: every segment takes 10 ns and is its own token."""

    def __init__(self, capture: int | None = None) -> None:
        self.parser = Http1Parser()
        self.capture = capture
        self.clock = 0
        self.messages: list[Message] = []
        self.returned: list[list[Message]] = []
        self._direction = -1
        self._budget = 0

    def hear(self, direction: int, data: bytes, length: int | None = None) -> list[Message]:
        """One segment; with ``capture``, only the first bytes of a run are seen."""
        self.clock += 10
        size = len(data) if length is None else length
        if self.capture is not None:
            if direction != self._direction:
                self._direction, self._budget = direction, self.capture
            data = data[: self._budget]
            self._budget -= len(data)
        return self.keep(
            self.parser.feed(direction, data, size, self.clock, self.clock + 5, self.clock)
        )

    def play(self, turns: Iterable[Turn]) -> Ear:
        for direction, data in turns:
            self.hear(direction, data)
        return self

    def close(self, error: str | None = None) -> list[Message]:
        return self.keep(self.parser.close(self.clock + 10, error))

    def gap(self, direction: int) -> list[Message]:
        return self.keep(self.parser.gap(direction, self.clock + 1))

    def keep(self, messages: list[Message]) -> list[Message]:
        assert len(set(map(id, messages))) == len(messages), "the same message twice in a call"
        self.returned.append(messages)
        known = set(map(id, self.messages))
        self.messages += [message for message in messages if id(message) not in known]
        return messages


def brief(message: Message) -> str:
    """``GET /a +52`` or ``200 +40``, with the marks of everything out of the ordinary."""
    head = message.head
    start = f"{head.method} {head.target}" if message.kind == REQUEST else str(head.status)
    marks = [name for name in ("truncated", "interim", "oneway") if getattr(message, name)]
    if not message.complete:
        marks.append("open")
    if message.error:
        marks.append(message.error)
    return " ".join([start, f"+{message.length}", *marks])


def full(message: Message) -> tuple[Any, ...]:
    """All that must not depend on how the bytes were cut into segments."""
    head = message.head
    return (brief(message), message.direction, head.version, head.head)
