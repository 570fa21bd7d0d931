"""Work like the agent's that traces nothing: what it costs others to share the cores with it.

Run: python -m tests.benchmarks.stand_in SHARE

The agent's own pipeline goes over synthetic records again and again, with the agent's
priority, and takes SHARE of one core: some milliseconds of work, then a pause. No program is
loaded into the kernel. Prints ``ready`` once it works, and ends by a signal.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from otel_ebpf.agent import prefer
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.export.otlp_encoding import SpanEncoder
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.pipeline import GC_THRESHOLD, Pipeline
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import WallClock
from otel_ebpf.spans.model import Span
from tests.benchmarks.export import PROCESS
from tests.benchmarks.pipeline import Round, Traffic, rounds

EXCHANGES = 10_000
CONNECTIONS = 16


def work(share: float, made: list[Round]) -> None:
    """Goes over ``made`` for good, and rests so long that it takes ``share`` of a core."""
    while True:
        encode = SpanEncoder("otel_ebpf", "0").encode
        waiting: list[tuple[Any, bytes]] = []

        def put(span: Span, encode: Any = encode, waiting: Any = waiting) -> bool:
            waiting.append((span.resource, encode(span)))
            return True

        pipeline = Pipeline(
            Ids(1), SpanBuilder(WallClock()), TraceSampler(), put, lambda _: PROCESS, lambda _: None
        )
        for bursts, watermark in made:
            before = time.thread_time()
            for data in bursts:
                pipeline.burst(data)
            pipeline.advance(watermark)
            waiting.clear()
            spent = time.thread_time() - before
            time.sleep(spent * (1 - share) / share)


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
