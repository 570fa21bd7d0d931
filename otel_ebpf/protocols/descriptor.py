"""What the pipeline needs to know of one protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .base import Datagram, Parser
from .context import CarriedContext


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One protocol, as its module offers it in ``PROTOCOL``.

    Attributes:
        name: the registry's name, lower case (``http``).
        number: DeepFlow's l7 protocol number: the key of the kernel's
            ``__protocol_filter`` and the number in records.
        parser: makes the parser of one connection.
        carried_context: trace context in a request's ``Message.head``, or None for
            protocols that carry none.
        multiplexed: requests and responses pair by ``Message.stream``, not by their order.
            The parser then follows ``base.StreamParser``.
        pairs: the parser knows which response is whose; it follows ``base.PairingParser``.
        relayed: client libraries write from threads of their own, for several callers at once and
            after these have gone on. Parents that are inferred are not believed.
        memory: makes what all connections of a pairing protocol know together. Its parsers have
            ``remember(memory, process)``, called before ``begin``.
        datagram: what a datagram says, of the bytes that were captured and its length; None
            from it: nothing of this protocol. It must never raise.
        follows: name of the protocol out of which it is agreed upon; it begins no connection.
    """

    name: str
    number: int
    parser: Callable[[], Parser]
    carried_context: Callable[[Any], CarriedContext | None] | None = None
    multiplexed: bool = False
    pairs: bool = False
    relayed: bool = False
    memory: Callable[[], Any] | None = None
    datagram: Callable[[bytes, int], Datagram | None] | None = None
    follows: str = ""
