"""Spans for the exporters' tests."""

from __future__ import annotations

from typing import Any

from otel_ebpf.metadata.process import Process
from otel_ebpf.spans.model import Span

START = 1_700_000_000_000_000_000


def process(name: str, **attributes: Any) -> Process:
    return Process(1, 1, "", "", name, {"service.name": name, **attributes})


SHOP = process("shop")


def span(
    number: int = 1,
    parent: int = 0,
    *,
    trace: int = 1,
    name: str = "GET",
    kind: int = 2,
    start: int = START,
    length: int = 1_000_000,
    resource: Any = SHOP,
    attributes: dict[str, Any] | None = None,
) -> Span:
    return Span(
        trace.to_bytes(16, "big"),
        number.to_bytes(8, "big"),
        parent.to_bytes(8, "big") if parent else b"",
        kind,
        name,
        start,
        start + length,
        {} if attributes is None else attributes,
        resource,
    )
