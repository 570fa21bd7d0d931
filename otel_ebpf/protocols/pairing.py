"""What all parsers have in common that pair requests with replies themselves.

``in_order.InOrder`` is for protocols whose replies come in the order of requests, and
``by_key.ByKey`` for those in which a reply says which request it answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from .base import Message
from .half import Half


class Pairing(ABC):
    """One connection. Follows ``base.PairingParser``.

    A protocol gives the halves, and says what their units are.
    """

    __slots__ = ("_out", "_replies", "_requests", "_serial", "client", "desyncs", "upgraded")

    def __init__(self, requests: Half, replies: Half) -> None:
        self.client = -1
        self.desyncs = 0
        self.upgraded: str | None = None
        self._requests = requests
        self._replies = replies
        self._serial = 0
        """Number of the latest request that was told of."""
        self._out: list[Message] = []
        """What the call that is under way returns."""

    @property
    @abstractmethod
    def in_step(self) -> bool:
        """See ``base.PairingParser.in_step``."""

    @property
    @abstractmethod
    def open_ended(self) -> bool:
        """See ``base.Parser.open_ended``."""

    @abstractmethod
    def begin(self, client: int, fresh: bool) -> None:
        """See ``base.PairingParser.begin``."""

    @abstractmethod
    def feed(
        self,
        direction: int,
        data: bytes,
        length: int,
        ts: int,
        end_ts: int,
        token: Any,
        tail: bytes = b"",
    ) -> list[Message]:
        """See ``base.Parser.feed``."""

    @abstractmethod
    def _lose(self, half: Half, desync: bool = True) -> None:
        """Where units of ``half`` begin is not known any more; ``desync``: for its bytes made no
        sense, not for want of them."""

    # The rest of the contract

    def _half(self, direction: int) -> Half:
        return self._requests if direction == self.client else self._replies

    def _tell(self, message: Message) -> None:
        """The call that is under way returns it, once."""
        if message not in self._out:
            self._out.append(message)

    def gap(self, direction: int, ts: int) -> list[Message]:
        """See ``base.Parser.gap``."""
        out = self._out = []
        if self.upgraded is None:
            self._lose(self._half(direction), desync=False)
        return out

    def settle(self, ts: int) -> list[Message]:
        """See ``base.Parser.settle``. Most messages say where they end: nothing is left open."""
        return []

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``. Requests without a reply are the connection's to end."""
        self._requests.reset()
        self._replies.reset()
        return []
