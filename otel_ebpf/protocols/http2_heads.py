"""HTTP/2's heads, with the interface of HTTP/1's (``http1_head``), and gRPC's part in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .hpack_table import Field

REQUEST_HEAD, RESPONSE_HEAD, FIELDS = 1, 2, 0
"""Kinds of header block: by its pseudo-fields, FIELDS where it has none (trailers)."""

_REQUEST_FIELDS = frozenset((":method", ":path", ":scheme", ":authority", ":protocol"))
_X_FORWARDED = frozenset(("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"))
_GRPC = "application/grpc"
MAX_VALUES = 128
"""The most values that ``headers()`` gives for one name."""


class Fields:
    """A header block's fields.

    Attributes:
        kind: ``REQUEST_HEAD``, ``RESPONSE_HEAD`` or ``FIELDS``.
        fields: first value by name, pseudo-fields too.
        more: further values of names that came again.
        unknown: fields whose name or value is in a part of the table that was not seen.
        cut: the block was not captured to its end.
    """

    __slots__ = ("cut", "fields", "kind", "more", "unknown")

    def __init__(self, decoded: Iterable[Field], cut: bool = False) -> None:
        self.fields: dict[str, str] = {}
        self.more: dict[str, list[str]] | None = None
        self.unknown = 0
        self.cut = cut
        self.kind = FIELDS
        fields = self.fields
        for name, value in decoded:
            if name is None:
                self.unknown += 1
            elif name in fields or value is None:
                self._again(name, value)
            else:
                fields[name] = value
            if name is not None and name[:1] == ":" and self.kind == FIELDS:
                if name == ":status":
                    self.kind = RESPONSE_HEAD
                elif name in _REQUEST_FIELDS:
                    self.kind = REQUEST_HEAD

    @property
    def grpc(self) -> bool:
        """Whether this is part of a gRPC call. Its other headers tell where the content's type
        is not known."""
        if self.fields.get("content-type", "").startswith(_GRPC):
            return True
        return self.unknown > 0 and any(name.startswith("grpc-") for name in self.fields)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every field whose name and value are known."""
        yield from self.fields.items()
        for name, values in (self.more or {}).items():
            for value in values:
                yield name, value

    def _again(self, name: str, value: str | None) -> None:
        if value is None:
            self.unknown += 1
            return
        if self.more is None:
            self.more = {}
        values = self.more.setdefault(name, [])
        if len(values) < MAX_VALUES - 1:
            values.append(value)


class _Head:
    """Header access; names are in lower case on the wire."""

    __slots__ = ("block", "lower")

    version = "2"

    def __init__(self, block: Fields) -> None:
        self.block = block
        self.lower = _hints(block.fields)

    def header(self, name: str) -> str | None:
        """First value of ``name`` (any case), or None."""
        return self.block.fields.get(name.lower())

    def headers(self, name: str) -> list[str]:
        """Every value of ``name`` in order, at most ``MAX_VALUES``."""
        name = name.lower()
        first = self.block.fields.get(name)
        if first is None:
            return []
        more = self.block.more
        return [first, *more.get(name, ())] if more else [first]


class Http2Request(_Head):
    """A request's head.

    Attributes:
        method, target, scheme: the pseudo-fields; empty where they are not known.
        grpc: its content is gRPC.
        lower: bytes that hold the names of headers that readers of HTTP/1 heads look for.
        memo: what whoever makes spans of such requests has learnt; None: nothing yet. Opaque here.
    """

    __slots__ = ("grpc", "memo", "method", "scheme", "target")

    memo: Any

    def __init__(self, block: Fields) -> None:
        super().__init__(block)
        self.memo = None
        fields = block.fields
        self.method = fields.get(":method", "")
        self.scheme = fields.get(":scheme", "")
        self.target = fields.get(":path", "")
        if self.method == "CONNECT" and not self.target:
            self.target = fields.get(":authority", "")
        self.grpc = block.grpc

    def header(self, name: str) -> str | None:
        """First value of ``name`` (any case), or None. ``host`` is the authority."""
        name = name.lower()
        fields = self.block.fields
        if name == "host":
            return fields.get(":authority") or fields.get("host")
        return fields.get(name)

    def asking(self, target: str) -> Http2Request:
        """The same head with another target."""
        made = Http2Request(self.block)
        made.target = target
        return made

    def __repr__(self) -> str:
        return f"Http2Request({self.method!r}, {self.target!r})"


class Http2Response(_Head):
    """A response's head: ``status`` (0 where it is not known), and the ``trailers`` that
    came with its end."""

    __slots__ = ("status", "trailers")

    def __init__(self, block: Fields) -> None:
        super().__init__(block)
        status = block.fields.get(":status", "")
        self.status = int(status) if len(status) == 3 and status.isdecimal() else 0
        self.trailers: Fields | None = None

    def again(self) -> Http2Response:
        """The same head for another stream, whose trailers are its own."""
        made = Http2Response.__new__(Http2Response)
        made.block, made.lower, made.status = self.block, self.lower, self.status
        made.trailers = None
        return made

    @property
    def grpc(self) -> bool:
        """Its content is gRPC, by the head or by the trailers."""
        trailers = self.trailers
        return self.block.grpc or (
            trailers is not None and (trailers.grpc or "grpc-status" in trailers.fields)
        )

    @property
    def grpc_status(self) -> str | None:
        """The ``grpc-status`` of the trailers, else of the head (trailers only)."""
        trailers = self.trailers
        if trailers is not None:
            found = trailers.fields.get("grpc-status")
            if found is not None:
                return found
        return self.block.fields.get("grpc-status")

    def __repr__(self) -> str:
        return f"Http2Response({self.status})"


def _hints(fields: dict[str, str]) -> bytes:
    """What of HTTP/1's bytes in lower case tells quickly what is not there."""
    found = b""
    if "traceparent" in fields:
        found += b"\ntraceparent:"
        if "tracestate" in fields:
            found += b"\ntracestate:"
    if "b3" in fields:
        found += b"\nb3:"
    if "x-b3-traceid" in fields or "x-b3-sampled" in fields or "x-b3-flags" in fields:
        found += b"\nx-b3-"
    if "forwarded" in fields or not _X_FORWARDED.isdisjoint(fields):
        found += b"\nforwarded:"
    return found
