"""Work like the agent's that traces nothing: what it costs others to share the cores with it.

Run: python -m tests.benchmarks.stand_in SHARE

The agent's own pipeline goes over synthetic records again and again, with the agent's
priority, sends the spans to where OTEL_EXPORTER_OTLP_ENDPOINT says, and takes SHARE of one
core: some milliseconds of work, then a pause. No program is loaded into the kernel. Prints
``ready`` once it works, and ends by a signal.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from otel_ebpf.correlation.ids import Ids
from otel_ebpf.export.factory import make_drafts, make_exporter, make_queue
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.footprint import prefer
from otel_ebpf.pipeline import GC_THRESHOLD, Pipeline
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import WallClock
from otel_ebpf.spans.settings import SpanSettings
from tests.benchmarks.export import PROCESS
from tests.benchmarks.pipeline import Round, Traffic, rounds

EXCHANGES = 10_000
CONNECTIONS = 16


def work(share: float, made: list[Round]) -> None:
    """Goes over ``made`` for good, and rests so long that all threads together take ``share``
    of a core."""
    exporter = make_exporter("otlp", os.environ, sys.stderr)
    queue = make_queue(exporter, os.environ, block=True)
    start, spent = time.monotonic(), time.process_time()
    while True:
        builder = SpanBuilder(WallClock())
        pipeline = Pipeline(
            Ids(1), builder, TraceSampler(), queue.put, lambda _: PROCESS, lambda _: None
        )
        drafts = make_drafts(exporter, builder, SpanSettings())
        if drafts is not None:
            pipeline.use_drafts(drafts, queue.put_prepared)
        for bursts, watermark in made:
            for data in bursts:
                pipeline.burst(data)
            pipeline.advance(watermark)
            due = (time.process_time() - spent) / share - (time.monotonic() - start)
            if due > 0:
                time.sleep(due)


def main() -> None:
    share = min(float(sys.argv[1]), 0.99)
    made = rounds(EXCHANGES, Traffic(True, True, CONNECTIONS))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    prefer()
    print("ready", flush=True)
    work(share, made)


if __name__ == "__main__":
    main()
