"""``otel-ebpf replay``: a capture through everything above the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from otel_ebpf.correlation.ids import Ids
from otel_ebpf.errors import CaptureError
from otel_ebpf.events import frames
from otel_ebpf.events.layout import LAYOUT
from otel_ebpf.events.reading import CaptureReader
from otel_ebpf.export.factory import make_exporter, make_queue
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.ledger import ledger_lines
from otel_ebpf.metadata.process import Process
from otel_ebpf.pipeline import Pipeline
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import FixedClock
from otel_ebpf.spans.settings import SpanSettings


def replay(path: str, output: str, env: Mapping[str, str], out: TextIO, err: TextIO) -> int:
    """Exports the capture's spans; the same bytes give the same spans.

    A damaged capture's readable part is exported before the error is raised.

    Raises:
        CaptureError: the file cannot be read, or is damaged at the offset named.
        UsageError: a setting is wrong.
    """
    settings = SpanSettings.from_env(env)
    sampler = TraceSampler.from_env(env)
    processes: dict[int, Process] = {}
    clock = FixedClock()
    kernel: dict[str, int] = {}
    damage: CaptureError | None = None
    with CaptureReader(path) as reader:
        seed = _seed(reader)
        spans = make_queue(make_exporter(output, env, out), env, block=True)
        pipeline = Pipeline(
            Ids(seed),
            SpanBuilder(clock, settings),
            sampler,
            spans.put,
            processes.get,
            internal_calls=settings.internal_calls,
        )
        try:
            for frame in reader:
                if isinstance(frame, frames.Burst):
                    pipeline.burst(frame.data)
                elif isinstance(frame, frames.Watermark):
                    pipeline.advance(frame.time)
                elif isinstance(frame, frames.ProcessFrame):
                    _process(frame.fields, processes, pipeline)
                elif isinstance(frame, frames.Clock):
                    clock.offset = frame.epoch - frame.monotonic
                else:
                    kernel = {
                        name: value
                        for name, value in frame.fields.items()
                        if isinstance(value, int)
                    }
        except CaptureError as error:
            damage = error
        pipeline.finish()
        spans.drain(30.0)
    details = {**kernel, **pipeline.stats(), **spans.stats()}
    totals = {
        "records_seen": pipeline.decoder.records,
        "exchanges": pipeline.correlator.counts["exchanges"],
        "spans_exported": details.get("spans_exported", 0),
        "records_lost": max(kernel.get("burst_lost", 0), pipeline.decoder.lost),
        "spans_dropped": sum(
            count for name, count in details.items() if name.startswith("spans_dropped.")
        ),
    }
    for line in ledger_lines(totals, details):
        print(line, file=err)
    if damage is not None:
        raise damage
    return 0


def _seed(reader: CaptureReader) -> int:
    """The header's seed of ids, when the header is one of this program's."""
    seed = reader.header.get("seed")
    if reader.header.get("layout") != LAYOUT or not isinstance(seed, int):
        raise CaptureError(
            "its records are laid out otherwise than this program reads them",
            where=reader.name,
            mend="replay it with the otel-ebpf that recorded it",
        )
    return seed


def _process(fields: dict[str, object], processes: dict[int, Process], pipeline: Pipeline) -> None:
    pid = fields.get("pid")
    if not isinstance(pid, int):
        return
    if fields.get("go"):
        pipeline.go_process(pid)
        return
    attributes = fields.get("attributes")
    ticks = fields.get("start_ticks")
    processes[pid] = Process(
        pid,
        ticks if isinstance(ticks, int) else 0,
        str(fields.get("exe", "")),
        str(fields.get("language", "")),
        str(fields.get("service_name", "")),
        dict(attributes) if isinstance(attributes, dict) else {},
    )
