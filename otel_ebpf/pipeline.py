"""Everything above the kernel, as one pipeline: bursts in, spans out.

It reads no clock, opens nothing and starts no thread, so a capture replays through it
without privileges and gives the same spans every time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from otel_ebpf.correlation.correlator import Correlator
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.model import Exchange
from otel_ebpf.correlation.usual import Usual
from otel_ebpf.events.decode import Decoder, Place, Record, record_at
from otel_ebpf.events.layout import EXEC, EXIT, FORK
from otel_ebpf.events.order import Orderer
from otel_ebpf.export.drafts import Drafts
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.export.templates import Draft
from otel_ebpf.metadata.process import Process
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.model import Span

AT_ONCE = 64
"""Records that go through the stages together."""
GC_THRESHOLD = (200_000, 20, 50)
"""For ``gc.set_threshold``. Nothing on the data's way makes circles; looking for them as often
as usual would cost a fifth of it, for what waits for its parents is looked at again and again."""
_TELEMETRY = (
    *("/v1/traces", "/v1/metrics", "/v1/logs"),
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
)

_log = logging.getLogger(__name__)
_TOLD = 10
"""Faults of which the log has the place."""


class Pipeline:
    """Decode, order, correlate, sample, build.

    Args:
        ids: span and trace ids.
        builder: makes spans of exchanges.
        sampler: decides which become spans.
        put: takes each span; False when it was not queued (counted there).
        process_of: pid -> Process, or None when it is gone.
        on_process: told of process records at once, before they are ordered.
        internal_calls: whether client libraries' own calls become spans.
    """

    def __init__(
        self,
        ids: Ids,
        builder: SpanBuilder,
        sampler: TraceSampler,
        put: Callable[[Span], bool],
        process_of: Callable[[int], Process | None],
        on_process: Callable[[Record], None] | None = None,
        internal_calls: bool = False,
    ) -> None:
        self.decoder = Decoder()
        self.orderer = Orderer()
        self.correlator = Correlator(ids, internal_calls)
        self._usual = Usual(self.correlator)
        self.counts: Counter[str] = Counter()
        self._builder = builder
        self._sampler = sampler
        self._put = put
        self._process_of = process_of
        self._on_process = on_process
        self._put_draft: Callable[[Exchange, Draft], object] | None = None

    def use_drafts(self, drafts: Drafts, put: Callable[[tuple[Any, bytes]], bool]) -> None:
        """Makes what it can of an exchange as soon as it has ended; ``put`` takes the encoded
        spans, and their resources."""
        begin = drafts.begin

        def on_finished(x: Live) -> None:
            if not _is_telemetry(x):
                x.draft = begin(x)
                if x.draft is not None:
                    x.request = x.response = None  # all is said; it may wait for long

        self.correlator.on_finished = on_finished
        self._put_draft = lambda exchange, draft: put(drafts.complete(exchange, draft))

    def burst(self, data: bytes) -> None:
        """Takes one burst of one CPU."""
        places, others = self.decoder.locate(data)
        if self._on_process is not None:
            for _, kind, burst, at in others:
                if kind in (EXEC, FORK, EXIT):
                    self._on_process(record_at(burst, at))
        self.orderer.feed(places, others)

    def advance(self, watermark: int) -> None:
        """No record older than ``watermark`` (ns, CLOCK_MONOTONIC) will come any more."""
        self._feed(self.orderer.advance(watermark))
        for exchanges in self.correlator.ticking(watermark):
            self._emit(exchanges)

    def finish(self) -> None:
        """The end of the data: everything that can still leave does."""
        self._feed(self.orderer.flush())
        self._emit(self.correlator.flush())

    def go_process(self, pid: int) -> None:
        """``pid`` runs a Go program."""
        self.correlator.go_process(pid)

    def stats(self) -> dict[str, int]:
        """Counters of every stage."""
        return {
            "records_decoded": self.decoder.records,
            "records_lost_with_bursts": self.decoder.lost,
            "bursts_malformed": self.decoder.malformed,
            "records_late": self.orderer.late,
            "records_early": self.orderer.early,
            "sends_corrected": self.orderer.corrected,
            **self.correlator.stats(),
            **self._sampler.stats(),
            **self._builder.stats(),
            **self.counts,
        }

    def _feed(self, places: list[Place]) -> None:
        """A few at a time, so that what one stage has made is in the processor's cache when
        the next one looks at it, and is gone when the next few are made."""
        for start in range(0, len(places), AT_ONCE):
            self._emit(self._usual.feed(places[start : start + AT_ONCE]))

    def _emit(self, exchanges: list[Exchange]) -> None:
        processes: dict[int, Process | None] = {}  # looked up once a batch
        for exchange in exchanges:
            draft = exchange.draft
            if draft is None and _is_telemetry(exchange):
                self.counts["telemetry_exports_left_out"] += 1
                continue
            if not self._sampler.sample(exchange):
                continue
            pid = exchange.pid
            if pid not in processes:
                processes[pid] = self._process_of(pid)
            exchange.process = processes[pid]
            if draft is not None and self._put_draft is not None:
                self._put_draft(exchange, draft)
            else:
                self._build(exchange)

    def _build(self, exchange: Exchange) -> None:
        """A fault in what makes one span costs that span, and no other."""
        try:
            span = self._builder.build(exchange)
        except Exception:
            self.counts["spans_not_built"] += 1
            if self.counts["spans_not_built"] <= _TOLD:
                _log.exception("a span of %s could not be made; it is left out", exchange.protocol)
            return
        self._put(span)


def _is_telemetry(exchange: Exchange) -> bool:
    """Whether it sends spans and the like: spans about that would never end."""
    request = exchange.request
    return (
        exchange.protocol in ("http", "grpc")
        and request.method == "POST"
        and bool(request.target.endswith(_TELEMETRY))
    )
