"""What is known of one channel of an AMQP connection."""

from __future__ import annotations

from typing import Any

from .amqp_methods import Method, Properties
from .amqp_midway import Consumers, Count
from .base import Message

MAX_CONSUMERS = 1024


class Content:
    """A message whose header and body are still to come.

    Attributes:
        method: that announced it. message: the request that it is, or (``reply``) answers.
        tag: the delivery's. left: bytes of the body to come; a large number before the header.
    """

    __slots__ = ("left", "message", "method", "reply", "tag")

    def __init__(
        self, method: Method, message: Message, tag: int = 0, reply: Message | None = None
    ) -> None:
        self.method = method
        self.message = message
        self.tag = tag
        self.reply = reply
        self.left = 1 << 62

    def take_header(self, properties: Properties) -> None:
        """The header has come."""
        self.left = properties.size
        head = self.message.head
        head.body_size = properties.size if properties.known else -1
        head.message_id = properties.message_id
        head.conversation = properties.conversation
        if properties.context is not None:
            head.contexts = (properties.context,)


class AmqpChannel:
    """One channel.

    Attributes:
        content: by direction, the message in progress.
        calls: by method, the call that waits for its reply.
        consumers: by tag, the queue and whether its messages need no acknowledgement.
    """

    __slots__ = (
        "_asking", "_count", "_midway", "_numbered", "_others", "calls", "consumers", "content",
    )  # fmt: skip

    def __init__(self, fresh: bool = True) -> None:
        """``fresh``: what was said on it before is known, which is nothing."""
        self.content: list[Content | None] = [None, None]
        self.calls: dict[Method, Message] = {}
        self.consumers: dict[str, tuple[str, bool]] = {}
        self._asking: tuple[str, bool] | None = None
        self._count = -1
        """Messages published since the broker confirms; -1: it does not."""
        self._numbered: tuple[dict[int, Message], dict[int, Message]] = ({}, {})
        """By direction, what waits for an acknowledgement, by its number."""
        self._midway = None if fresh else Count()
        """As long as it is not known how many were published."""
        self._others = None if fresh else Consumers()
        """Those whose beginning was not seen."""

    def consume(self, tag: str, queue: str, automatic: bool) -> None:
        """A consumer is asked for; without a tag the broker gives one."""
        self._asking = None
        if not tag:
            self._asking = queue, automatic
        elif len(self.consumers) < MAX_CONSUMERS:
            self.consumers[tag] = queue, automatic

    def consuming(self, tag: str) -> None:
        """The broker has made the consumer."""
        if self._asking is not None and len(self.consumers) < MAX_CONSUMERS:
            self.consumers[tag] = self._asking
        self._asking = None

    def confirms(self) -> None:
        """From here on the broker confirms what is published."""
        if self._count < 0 and self._midway is None:
            self._count = 0

    def published(self, ts: int) -> int:
        """A message was published at ``ts``: its number; 0: nobody confirms it, -1: that is not
        known."""
        if self._midway is not None:
            number = self._midway.published(ts)
            if not number:
                return 0 if self._midway.quiet else -1
            self._midway = None
            self._count = number
            return number
        if self._count < 0:
            return 0
        self._count += 1
        return self._count

    def confirmed(self, number: int, ts: int) -> bool:
        """The broker confirms so many, or this one. False: there cannot be as many, and so it is
        not known any more which are meant."""
        if self._midway is not None:
            self._midway.confirmed(number, ts)
        elif self._others is not None and number > self._count >= 0:
            return False
        return True

    def automatic(self, consumer: str, number: int, ts: int) -> tuple[str, bool | None]:
        """A delivery: the consumer's queue, and whether it needs no acknowledgement; None: that
        is not known."""
        known = self.consumers.get(consumer)
        if known is not None:
            return known
        others = self._others
        return "", others.delivered(consumer, number, ts) if others is not None else False

    def acknowledges(self, number: int) -> None:
        """The client has acknowledged this delivery, at least."""
        if self._others is not None:
            self._others.settled(number)

    def wait(self, key: Any, message: Message) -> Message | None:
        """``message`` waits: a call by its method, others by direction and number. Returns what
        waited there before."""
        if isinstance(key[1], int) and key[0] in (0, 1):
            place = self._numbered[key[0]]
            before = place.pop(key[1], None)
            place[key[1]] = message
            return before
        before = self.calls.pop(key, None)
        self.calls[key] = message
        return before

    def drop(self, key: Any) -> Message | None:
        """Nothing waits there any more; what did."""
        if isinstance(key[1], int) and key[0] in (0, 1):
            return self._numbered[key[0]].pop(key[1], None)
        return self.calls.pop(key, None)

    def settled(self, direction: int, number: int, several: bool) -> list[Message]:
        """What is acknowledged: one, or (``several``) all up to it; 0: all."""
        waiting = self._numbered[direction]
        if not several:
            one = waiting.pop(number, None)
            return [one] if one is not None else []
        numbers = [n for n in waiting if n <= number or not number]
        return [waiting.pop(n) for n in numbers]

    def returned(self, direction: int, destination: str, already: dict[int, str]) -> Message | None:
        """The oldest published message to ``destination`` that waits, and has not come back."""
        for message in self._numbered[direction].values():
            if message.head.destination == destination and message.stream not in already:
                return message
        return None

    def unconfirmed(self, direction: int) -> list[Message]:
        """Numbers are not known any more: what waited by them."""
        found = list(self._numbered[direction].values())
        self._numbered[direction].clear()
        self._count = -1
        if self._others is not None:
            self._midway = Count()
        return found

    def clear(self) -> list[Message]:
        """The channel has ended: all that waited."""
        found = [*self.calls.values(), *self._numbered[0].values(), *self._numbered[1].values()]
        self.calls.clear()
        self._numbered[0].clear()
        self._numbered[1].clear()
        self.consumers.clear()
        self._midway = self._others = None  # what begins here anew is seen
        self._count = -1
        self.content = [None, None]
        return found
