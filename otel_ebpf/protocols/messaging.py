"""What a call to a message broker is made of, whichever the broker.

Parsers put these into ``Message.head``; ``spans/messaging.py`` makes attributes of them. Bodies
and keys of messages never get here.
"""

from __future__ import annotations

from typing import Any

from .context import CarriedContext
from .database import ALWAYS, UNLESS_FAILED

__all__ = [
    "ALWAYS",
    "DONE",
    "UNLESS_FAILED",
    "MessagingRequest",
    "MessagingResponse",
    "carried_context",
]


class MessagingRequest:
    """A call, or a message that is delivered.

    Attributes:
        system: ``messaging.system``.
        operation: ``messaging.operation.name``, in the system's words (``send``, ``poll``).
        type: ``messaging.operation.type``: ``send``, ``receive``, ``process``, ``settle``,
            ``create``; empty for what is none of these.
        destination: ``messaging.destination.name``, or empty where it is not known.
        partition: ``messaging.destination.partition.id``, or empty.
        group: ``messaging.consumer.group.name``, or empty.
        client_id: ``messaging.client.id``, or empty.
        message_id: ``messaging.message.id``, or empty.
        batch: ``messaging.batch.message_count``; 0: not known, or the call is of one message.
        body_size: ``messaging.message.body.size``; -1: not known.
        offset: of the message in its partition; -1: none, or of several messages.
        contexts: what the messages' headers carry: the span's links, or its parent where the
            protocol has one message in a call (``carried_context``).
        pushed: the broker delivers a message of its own accord: it asks, and the consumer's
            acknowledgement, if there is one, is the answer.
        conversation: ``messaging.message.conversation_id``, or empty.
        notes: attributes of one system's own.
        chatter: the client library's own (heartbeats, metadata), and so left out: UNLESS_FAILED
            or ALWAYS; else 0.
    """

    __slots__ = (
        "batch",
        "body_size",
        "chatter",
        "client_id",
        "contexts",
        "conversation",
        "destination",
        "group",
        "message_id",
        "notes",
        "offset",
        "operation",
        "partition",
        "pushed",
        "system",
        "type",
    )

    def __init__(self, system: str, operation: str, type: str = "", destination: str = "") -> None:
        self.system = system
        self.operation = operation
        self.type = type
        self.destination = destination
        self.partition = ""
        self.group = ""
        self.client_id = ""
        self.message_id = ""
        self.batch = 0
        self.body_size = -1
        self.offset = -1
        self.contexts: tuple[CarriedContext, ...] = ()
        self.pushed = False
        self.conversation = ""
        self.notes: dict[str, Any] = {}
        self.chatter = 0

    @property
    def text(self) -> str:
        """What a person would call it."""
        return f"{self.operation} {self.destination}".rstrip()


class MessagingResponse:
    """An answer, or an acknowledgement.

    Attributes:
        status: the broker's own code, or empty.
        error: ``error.type`` of an answer that says that the call failed, or empty.
    """

    __slots__ = ("error", "status")

    def __init__(self, status: str = "", error: str = "") -> None:
        self.status = status
        self.error = error


DONE = MessagingResponse()
"""What most answers are."""


def carried_context(head: MessagingRequest) -> CarriedContext | None:
    """The context of a call of one message, for descriptors whose spans have it as parent."""
    return head.contexts[0] if len(head.contexts) == 1 else None
