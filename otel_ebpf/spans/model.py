"""The span value that exporters take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

UNSET, OK, ERROR = 0, 1, 2
"""Status codes with OTLP's numbers."""


PRODUCER, CONSUMER = 4, 5
"""Kinds of spans beyond SERVER and CLIENT, with OTLP's numbers."""


class AttributeSet:
    """Attributes that many spans have in common, kept once.

    Attributes:
        attributes: the common part, in order. Never changed once built.
        encoded: an encoder's own form of it, None until one has made it.
    """

    __slots__ = ("attributes", "encoded")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
        self.encoded: bytes | None = None


class Link(NamedTuple):
    """A span of another trace that this one has to do with: who made a message.

    Attributes:
        trace_id: 16 bytes. span_id: 8 bytes. trace_state: W3C tracestate text.
        flags: W3C trace flags. attributes: as a span's.
    """

    trace_id: bytes
    span_id: bytes
    trace_state: str = ""
    flags: int = 1
    attributes: Mapping[str, Any] | None = None


class Span:
    """One finished span, in OTLP's terms and with OTLP's numbers.

    Attributes:
        trace_id: 16 bytes. span_id: 8 bytes. parent_span_id: 8 bytes or empty.
        kind: 2 SERVER, 3 CLIENT, 4 PRODUCER, 5 CONSUMER.
        start, end: nanoseconds since the Unix epoch.
        attributes: str -> str | bool | int | float | list of those, in order.
        status: UNSET, OK or ERROR; status_message: text.
        resource: an object with ``attributes: dict[str, Any]``, the same object for
            every span of a process (exporters group and cache by its identity).
        flags: W3C trace flags. trace_state: W3C tracestate text.
        parent_remote: the parent is not a span of this agent.
        links: spans that are no parents of this one, and are not this agent's.
        base: the set that ``attributes`` begins with, or None. Adding attributes is
            fine; whoever changes or removes one of the first ``len(base.attributes)``
            sets ``base`` to None, since encoders take that part from the set.
    """

    __slots__ = (
        "attributes",
        "base",
        "end",
        "flags",
        "kind",
        "links",
        "name",
        "parent_remote",
        "parent_span_id",
        "resource",
        "span_id",
        "start",
        "status",
        "status_message",
        "trace_id",
        "trace_state",
    )

    def __init__(
        self,
        trace_id: bytes,
        span_id: bytes,
        parent_span_id: bytes,
        kind: int,
        name: str,
        start: int,
        end: int,
        attributes: dict[str, Any],
        resource: Any,
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_span_id = parent_span_id
        self.kind = kind
        self.name = name
        self.start = start
        self.end = end
        self.attributes = attributes
        self.resource = resource
        self.status = UNSET
        self.status_message = ""
        self.flags = 1
        self.trace_state = ""
        self.parent_remote = False
        self.links: tuple[Link, ...] = ()
        self.base: AttributeSet | None = None


Description = tuple[str, dict[str, Any], "AttributeSet | None", int, str]
"""What a protocol says of an exchange: name, attributes (a fresh dict), the set that they
begin with, status, status message."""
