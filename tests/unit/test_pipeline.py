"""A fault in what makes one span costs that span: the agent goes on, counts it and says where."""

from __future__ import annotations

import pytest

from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.model import Exchange
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.pipeline import Pipeline
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import WallClock
from otel_ebpf.spans.model import Span
from tests.benchmarks.pipeline import Traffic, rounds


class Faulty(SpanBuilder):
    """Cannot make every second span."""

    turn = 0

    def build(self, exchange: Exchange) -> Span:
        self.turn += 1
        if self.turn % 2:
            raise ValueError("odd")
        return super().build(exchange)


def test_the_other_spans_leave(caplog: pytest.LogCaptureFixture) -> None:
    out: list[Span] = []

    def put(span: Span) -> bool:
        out.append(span)
        return True

    pipeline = Pipeline(
        Ids(1), Faulty(WallClock()), TraceSampler(), put,
        lambda _: None,
    )  # fmt: skip
    for bursts, watermark in rounds(40, Traffic(False, False, 4)):
        for data in bursts:
            pipeline.burst(data)
        pipeline.advance(watermark + 1_000_000_000)
    pipeline.finish()
    assert len(out) == pipeline.stats()["spans_not_built"] == 20
    told = [r for r in caplog.records if "could not be made" in r.message]
    assert len(told) == 10 and told[0].exc_info is not None
