"""Trace context that a request carries in its headers.

Source: W3C Trace Context (traceparent, tracestate) and the B3 propagation
specification (single ``b3`` header, or ``X-B3-*`` headers). A ``traceparent`` that is
valid wins over B3; one that is not is as if it were absent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_TRACE_STATE = 512
"""Longest tracestate kept, in characters; whole members are dropped to fit."""
MAX_MEMBERS = 32
"""A tracestate with more members is invalid."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER = re.compile(
    r"(?:[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_B3 = re.compile(
    r"([0-9a-fA-F]{16}|[0-9a-fA-F]{32})-([0-9a-fA-F]{16})(?:-([01d])(?:-[0-9a-fA-F]{16})?)?"
)
_B3_TRACE = re.compile(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}")
_B3_SPAN = re.compile(r"[0-9a-fA-F]{16}")
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)


class Headers(Protocol):
    """A request head as this module needs it (``HttpRequest``)."""

    lower: bytes

    def header(self, name: str) -> str | None: ...

    def headers(self, name: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class CarriedContext:
    """What the caller said.

    Attributes:
        trace_id: 16 bytes; empty together with ``span_id`` when the caller sent nothing
            but the decision not to sample (B3's lone ``0``): start a new trace, unsampled.
        span_id: 8 bytes, the parent of the span to come.
        sampled: the caller's decision; True when it left the decision open.
        trace_state: W3C tracestate, or "".
        source: ``"traceparent"`` or ``"b3"``.
    """

    trace_id: bytes
    span_id: bytes
    sampled: bool
    trace_state: str
    source: str


def may_carry(head: Headers) -> bool:
    """Whether ``carried_context`` has anything to look at."""
    lower = head.lower
    return b"\ntraceparent:" in lower or b"\nb3:" in lower or b"\nx-b3-" in lower


def carried_context(head: Headers) -> CarriedContext | None:
    """The trace context in a request's headers, or None."""
    lower = head.lower
    if b"\ntraceparent:" in lower:
        found = _w3c(head)
        if found is not None:
            return found
    if b"\nb3:" in lower:
        found = _b3_single(head.header("b3") or "")
        if found is not None:
            return found
    if b"\nx-b3-" in lower:
        return _b3_multi(head)
    return None


def _w3c(head: Headers) -> CarriedContext | None:
    values = head.headers("traceparent")
    # Two of them contradict each other, whichever is first.
    if len(values) != 1:
        return None
    states = head.headers("tracestate") if b"\ntracestate:" in head.lower else []
    return parse_traceparent(values[0], states)


def parse_traceparent(value: str, states: Sequence[str] = ()) -> CarriedContext | None:
    """The context that a ``traceparent`` and its ``tracestate`` headers say, or None where the
    former is malformed."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace, span, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    trace_id, span_id = bytes.fromhex(trace), bytes.fromhex(span)
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    state = _trace_state(states) if states else ""
    return CarriedContext(trace_id, span_id, bool(int(flags, 16) & 1), state, "traceparent")


def _trace_state(values: Sequence[str]) -> str:
    """Join the headers; drop all when a member is malformed, the largest when too long."""
    members = [m for m in (part.strip(" \t") for part in ",".join(values).split(",")) if m]
    if len(members) > MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    if len({member.partition("=")[0] for member in members}) != len(members):
        return ""
    if sum(map(len, members)) + len(members) - 1 > MAX_TRACE_STATE:
        members = [member for member in members if len(member) <= 128]
        while members and sum(map(len, members)) + len(members) - 1 > MAX_TRACE_STATE:
            members.pop()
    return ",".join(members)


def _ids(trace: str, span: str, sampled: bool) -> CarriedContext | None:
    trace_id, span_id = bytes.fromhex(trace.rjust(32, "0")), bytes.fromhex(span)
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return CarriedContext(trace_id, span_id, sampled, "", "b3")


def _b3_single(value: str) -> CarriedContext | None:
    if value == "0":
        return CarriedContext(b"", b"", False, "", "b3")
    match = _B3.fullmatch(value)
    return None if match is None else _ids(match[1], match[2], match[3] != "0")


def _b3_multi(head: Headers) -> CarriedContext | None:
    decision = (head.header("x-b3-sampled") or "").lower()
    sampled = head.header("x-b3-flags") == "1" or decision not in ("0", "false")
    trace, span = head.header("x-b3-traceid"), head.header("x-b3-spanid")
    if trace is None and span is None:
        return None if sampled else CarriedContext(b"", b"", False, "", "b3")
    if trace is None or span is None:
        return None
    if _B3_TRACE.fullmatch(trace) is None or _B3_SPAN.fullmatch(span) is None:
        return None
    return _ids(trace, span, sampled)
