"""What a remote procedure call is made of, whichever the system.

Parsers put these into ``Message.head``; ``spans/calls.py`` makes attributes of them. Arguments,
results and texts of errors never get here.
"""

from __future__ import annotations

from typing import Any

from .context import CarriedContext
from .database import UNLESS_FAILED

__all__ = ["DONE", "UNLESS_FAILED", "RpcRequest", "RpcResponse", "carried_context"]


class RpcRequest:
    """A call.

    Attributes:
        system: ``rpc.system.name``.
        method: ``rpc.method``, with the service where the call names it (``Shop/price``); empty
            where it is not known.
        context: the trace context that the call carries, or None.
        notes: attributes of one system's own.
        chatter: the library's own and so left out: UNLESS_FAILED; else 0.
    """

    __slots__ = ("chatter", "context", "method", "notes", "system")

    def __init__(
        self,
        system: str,
        method: str,
        context: CarriedContext | None = None,
        notes: dict[str, Any] | None = None,
        chatter: int = 0,
    ) -> None:
        self.system = system
        self.method = method
        self.context = context
        self.notes = notes
        self.chatter = chatter


class RpcResponse:
    """An answer.

    Attributes:
        status: ``rpc.response.status_code``, or empty.
        error: ``error.type`` of an answer that says that the call failed, or empty.
        blameless: that is no failure of the server's.
        notes: attributes of one system's own.
    """

    __slots__ = ("blameless", "error", "notes", "status")

    def __init__(
        self,
        status: str = "",
        error: str = "",
        blameless: bool = False,
        notes: dict[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.error = error
        self.blameless = blameless
        self.notes = notes


DONE = RpcResponse()
"""An answer of a system without codes that tells of no failure."""


def carried_context(head: RpcRequest) -> CarriedContext | None:
    """The trace context that the call carries, or None."""
    return head.context
