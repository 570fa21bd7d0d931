"""Traces as trees on a terminal, each printed once when it has come together."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from otel_ebpf.export.base import Counters, Result
from otel_ebpf.export.text import printable
from otel_ebpf.spans import semconv
from otel_ebpf.spans.model import ERROR, Span

_QUIET = 0.4
_PATIENCE = 5.0
_MAX_SPANS = 20_000
_MAX_TREE = 500
_MAX_DEPTH = 40
_LABEL_WIDTH = 60
_KINDS = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}

_RED, _DIM, _BOLD, _OFF = "\033[31m", "\033[2m", "\033[1m", "\033[0m"


class _Trace:
    __slots__ = ("first", "has_root", "last", "spans")

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.has_root = False
        self.spans: list[Span] = []


class ConsoleExporter(Counters):
    """Prints a trace when its root has come and nothing followed for a short while.

    A trace without a root, or one that never rests, is printed after five seconds, and
    the oldest ones as soon as 20,000 spans wait. Spans that come later are printed as a
    further tree of the same trace. Text from the network is escaped.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        colour: bool | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        quiet: float = _QUIET,
        patience: float = _PATIENCE,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._colour = stream.isatty() if colour is None else colour
        self._monotonic = monotonic
        self._quiet = quiet
        self._patience = patience
        self._traces: OrderedDict[bytes, _Trace] = OrderedDict()
        self._held = 0
        self._failed = False
        self._printing = threading.Lock()

    def export(self, spans: Sequence[Span]) -> Result:
        """Take the spans and print the traces that are ready. They count when printed."""
        if self._failed:
            return self.count(Result(dropped={"output_failed": len(spans)}))
        with self._printing:
            now = self._monotonic()
            for span in spans:
                trace = self._traces.get(span.trace_id)
                if trace is None:
                    trace = self._traces[span.trace_id] = _Trace(now)
                trace.spans.append(span)
                trace.last = now
                trace.has_root |= not span.parent_span_id or span.parent_remote
            self._held += len(spans)
            self._print_ready(now)
        return Result(exported=len(spans))

    def tick(self) -> None:
        """Print the traces that have come to rest."""
        if self._traces:
            with self._printing:
                self._print_ready(self._monotonic())

    def shutdown(self) -> None:
        """Print everything that is left, unless the reader has stopped reading."""
        if not self._printing.acquire(timeout=1.0):
            self.count(Result(dropped={"shutdown": self._held}))
            self._held = 0
            return
        try:
            self._print_ready(float("inf"))
        finally:
            self._printing.release()

    def stats(self) -> dict[str, int]:
        """Counters; ``spans_pending`` are those of traces not yet printed."""
        stats = super().stats()
        if self._held:
            stats["spans_pending"] = self._held
        return stats

    def _print_ready(self, now: float) -> None:
        ready = [
            trace_id
            for trace_id, trace in self._traces.items()
            if (trace.has_root and now - trace.last >= self._quiet)
            or now - trace.first >= self._patience
        ]
        for trace_id in ready:
            self._print(trace_id)
        while self._held > _MAX_SPANS:
            self._print(next(iter(self._traces)))

    def _print(self, trace_id: bytes) -> None:
        trace = self._traces.pop(trace_id)
        self._held -= len(trace.spans)
        count = len(trace.spans)
        if not self._failed:
            try:
                self._stream.write("\n".join(self._lines(trace_id, trace.spans)) + "\n\n")
                self._stream.flush()
            except (OSError, ValueError):
                # The reader went away or the stream was closed; nobody sees any more.
                self._failed = True
        if self._failed:
            self.count(Result(dropped={"output_failed": count}))
        else:
            self.count(Result(exported=count))
            self.bump("traces_printed")

    def _lines(self, trace_id: bytes, spans: list[Span]) -> Iterator[str]:
        spans.sort(key=lambda span: (span.start, -span.end, span.span_id))
        services = {_service(span) for span in spans}
        length = max(span.end for span in spans) - spans[0].start
        heading = (
            f"trace {trace_id.hex()}  {_count(len(services), 'service')}, "
            f"{_count(len(spans), 'span')}, {_duration(length)}"
        )
        yield self._paint(_BOLD, heading)
        rows = list(_tree(spans))
        shown = rows[:_MAX_TREE]
        labels = [
            branch + printable(_service(span), 40) + " " + _title(span) for branch, span in shown
        ]
        width = min(max(map(len, labels)), _LABEL_WIDTH + 20)
        for (_, span), label in zip(shown, labels, strict=True):
            kind = _KINDS.get(span.kind, "CLIENT")
            offset = _duration(span.start - spans[0].start)
            took = _duration(span.end - span.start)
            line = f"  {label:<{width}}  {kind}  {_status(span):>5}  {took:>9}"
            line += self._paint(_DIM, f"  +{offset}")
            if span.links:
                line += self._paint(_DIM, "  " + _linked(span))
            yield self._paint(_RED, line) if span.status == ERROR else line
        if len(rows) > len(shown):
            yield f"  ... {len(rows) - len(shown)} more spans"

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_OFF}" if self._colour else text


def _tree(spans: list[Span]) -> Iterator[tuple[str, Span]]:
    """Branch and span of each row, parents before children, siblings by start."""
    known = {span.span_id for span in spans}
    children: dict[bytes, list[Span]] = {}
    roots = []
    for span in spans:
        if span.parent_span_id in known and span.parent_span_id != span.span_id:
            children.setdefault(span.parent_span_id, []).append(span)
        else:
            roots.append(span)
    seen: set[bytes] = set()
    # Spans in a ring of parents hang on no root; they are shown as roots in the end.
    for root in [*roots, *spans]:
        if root.span_id in seen:
            continue
        # A parent that is not here yet: printed later, elsewhere, or never.
        mark = "… " if root.parent_span_id and not root.parent_remote else ""
        stack = [(mark, "", root)]
        while stack:
            branch, indent, span = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            yield branch, span
            below = children.get(span.span_id, [])
            deeper = len(indent) < _MAX_DEPTH * 3
            for index in range(len(below) - 1, -1, -1):
                last = index == len(below) - 1
                stack.append(
                    (
                        indent + ("└─ " if last else "├─ "),
                        indent + ("   " if last else "│  ") if deeper else indent,
                        below[index],
                    )
                )


def _service(span: Span) -> str:
    return str(span.resource.attributes.get(semconv.SERVICE_NAME, "unknown_service"))


def _title(span: Span) -> str:
    attributes = span.attributes
    what = attributes.get(semconv.URL_FULL) or attributes.get(semconv.URL_PATH, "")
    return printable(f"{span.name} {what}".rstrip(), _LABEL_WIDTH)


def _status(span: Span) -> str:
    code = span.attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE)
    if code is not None and span.attributes.get(semconv.ERROR_TYPE, str(code)) == str(code):
        return str(code)
    return printable(str(span.attributes.get(semconv.ERROR_TYPE, "-")), 24)


def _linked(span: Span) -> str:
    """The first trace that it links to, and how many more there are."""
    more = len(span.links) - 1
    return f"-> {span.links[0].trace_id.hex()}" + (f" and {more} more" if more else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _duration(nanoseconds: int) -> str:
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1e3:.0f} us"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1e6:.1f} ms"
    return f"{nanoseconds / 1e9:.2f} s"
