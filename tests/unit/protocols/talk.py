"""A conversation with a parser that pairs: what a client and a server say, and what is heard."""

from __future__ import annotations

from typing import Any

from otel_ebpf.protocols.base import EGRESS, INGRESS, REQUEST, Message

MS = 1_000_000


class Talk:
    """One connection, seen from the client, with a clock of its own: 1 us a segment.

    Attributes:
        requests: as they were returned; answers: by ``stream`` of their request.
    """

    def __init__(self, parser: Any, fresh: bool = True) -> None:
        self.parser = parser
        self.clock = 1000 * MS
        self.requests: list[Message] = []
        self.answers: dict[int, Message] = {}
        parser.begin(EGRESS, fresh)

    def ask(self, data: bytes, length: int | None = None) -> list[Message]:
        """A segment from the client, of which ``data`` was captured."""
        return self.hear(EGRESS, data, length)

    def answer(self, data: bytes, length: int | None = None, tail: bytes = b"") -> list[Message]:
        """A segment from the server."""
        return self.hear(INGRESS, data, length, tail)

    def hear(
        self, direction: int, data: bytes, length: int | None = None, tail: bytes = b""
    ) -> list[Message]:
        self.clock += 1000
        size = len(data) if length is None else length
        found: list[Message] = self.parser.feed(
            direction, data, size, self.clock, self.clock + 500, self.clock, tail
        )
        return self.keep(found)

    def keep(self, messages: list[Message]) -> list[Message]:
        assert len(set(map(id, messages))) == len(messages), "the same message twice in a call"
        for message in messages:
            if message.kind == REQUEST:
                if message not in self.requests:
                    assert message.stream not in {m.stream for m in self.requests}
                    self.requests.append(message)
            else:
                assert self.answers.setdefault(message.stream, message) is message
        return messages

    def silence(self, ms: int = 50) -> None:
        """Nothing moves."""
        self.clock += ms * MS

    def pairs(self) -> list[tuple[str, str | None]]:
        """Each request's text (its operation where it has none) with how it was answered:
        ``"ok"``, the error's type, or None."""
        return [(m.head.text or m.head.operation, self._end(m)) for m in self.requests]

    def _end(self, message: Message) -> str | None:
        if message.error:
            return message.error
        answer = self.answers.get(message.stream)
        if answer is None or not answer.complete:
            return None
        return answer.head.error or "ok"
