"""The contract of exporters."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from otel_ebpf.spans.model import Span


@dataclass(slots=True)
class Result:
    """What became of a batch. The numbers add up to the spans that were given.

    Attributes:
        exported: accepted by whoever received them.
        dropped: lost, by reason. ``rejected`` is the receiver's partial success.
    """

    exported: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def add(self, other: Result) -> None:
        """Take another result's numbers into this one."""
        self.exported += other.exported
        for reason, count in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count


class Exporter(Protocol):
    """Sends finished spans somewhere."""

    def export(self, spans: Sequence[Span]) -> Result:
        """Send the spans. May wait for the receiver; never raises for its failures."""
        ...

    def shutdown(self) -> None:
        """Let go of everything. From another thread it ends a waiting ``export`` early,
        which counts what it has not sent as dropped for ``shutdown``. Idempotent."""
        ...

    def stats(self) -> dict[str, int]:
        """Counters: ``spans_exported``, ``spans_dropped.<reason>`` and the exporter's own."""
        ...


@runtime_checkable
class PreparingExporter(Exporter, Protocol):
    """An exporter with a form of its own for spans that wait: smaller than a ``Span``."""

    def prepare(self, span: Span) -> tuple[Any, bytes]:
        """Resource and encoded span. Called by whoever puts spans into the queue."""
        ...

    def export_prepared(self, items: Sequence[tuple[Any, bytes]]) -> Result:
        """Like ``export``, for what ``prepare`` returned."""
        ...


@runtime_checkable
class TickingExporter(Exporter, Protocol):
    """An exporter that has something to do when time passes."""

    def tick(self) -> None:
        """Called now and then by the thread that calls ``export``."""
        ...


class Counters:
    """Counts what an exporter reports. Shared by exporters as a base class."""

    def __init__(self) -> None:
        self._counters: dict[str, int] = {"spans_exported": 0}
        self._counting = threading.Lock()

    def count(self, result: Result) -> Result:
        """Add a result to the counters and return it."""
        with self._counting:
            self._counters["spans_exported"] += result.exported
            for reason, count in result.dropped.items():
                key = f"spans_dropped.{reason}"
                self._counters[key] = self._counters.get(key, 0) + count
        return result

    def bump(self, name: str, by: int = 1) -> None:
        """Add to a counter of the exporter's own."""
        with self._counting:
            self._counters[name] = self._counters.get(name, 0) + by

    def stats(self) -> dict[str, int]:
        """A copy of the counters."""
        with self._counting:
            return dict(self._counters)
