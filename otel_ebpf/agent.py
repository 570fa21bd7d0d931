"""The composition root: kernel half, pipeline and export, run as one agent."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from cachetools import LRUCache

from otel_ebpf import __version__
from otel_ebpf.agent_config import AgentConfig
from otel_ebpf.asking import pass_on
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.discovery.processes import ProcessImage
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import EXEC, EXIT, FORK
from otel_ebpf.export.drafts import Drafts
from otel_ebpf.export.factory import make_drafts, make_exporter, make_queue
from otel_ebpf.export.queue import ExportQueue
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.footprint import give_back, prefer, ring_pages
from otel_ebpf.kernel.ageing import Ageing
from otel_ebpf.kernel.loader import (
    HAS_KERNEL_TLS,
    SPEAKS_QUIC,
    SPEAKS_TLS,
    WRITES_UNCLEARLY,
    Kernel,
)
from otel_ebpf.kernel.preparation import Preparation
from otel_ebpf.launch import Launched
from otel_ebpf.ledger import ledger_lines
from otel_ebpf.metadata.process import Process
from otel_ebpf.metadata.table import ProcessTable
from otel_ebpf.pipeline import GC_THRESHOLD, Pipeline
from otel_ebpf.recording.recorder import Recorder
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import WallClock
from otel_ebpf.spans.settings import SpanSettings
from otel_ebpf.status_report import by_process
from otel_ebpf.status_socket import StatusSocket, directory
from otel_ebpf.targets import Targets

_log = logging.getLogger(__name__)

FLUSH_EVERY = 0.03
"""Seconds between two visits to every CPU: with one round of reading behind it, a record
is in user space well within 100 ms."""
HOUSEKEEPING = 1.0
DRAIN_TIMEOUT = 10.0
"""Seconds that the export may take when the agent stops."""


class Agent:
    """One run, from attaching to the ledger.

    Args:
        config: see :class:`AgentConfig`.
        env: the environment; OTEL_* variables are read from it.
        out, err: where spans and messages go.

    Raises:
        OtelEbpfError: something is missing or wrong; the message says what mends it.
    """

    def __init__(
        self, config: AgentConfig, env: Mapping[str, str], out: TextIO, err: TextIO
    ) -> None:
        self._config = config
        self._err = err
        self._stop = False
        # Everything a user may have mistyped is read before the kernel is touched.
        settings = SpanSettings.from_env(env)
        sampler = TraceSampler.from_env(env)
        prefer()  # where nobody has, for the threads that are begun here
        self._queue: ExportQueue | None = None
        self._clock = WallClock()
        builder = SpanBuilder(self._clock, settings)
        drafts: Drafts | None = None
        if not config.record:
            exporter = make_exporter(config.output, env, out)
            drafts = make_drafts(exporter, builder, settings)
            self._queue = make_queue(exporter, env)
        self._processes = ProcessTable(env)
        self._processes.on_new = self._described
        self._recorder: Recorder | None = None
        chosen = config.pids or config.globs
        self._targets = Targets(
            config.globs,
            config.go_identity,
            config.go_http2,
            everything=not chosen,
            openssl=config.openssl,
        )
        self._pipeline = Pipeline(
            Ids(),
            builder,
            sampler,
            self._queue.put if self._queue is not None else lambda _: True,
            self._process_of,
            self._on_process,
            settings.internal_calls,
        )
        if drafts is not None and self._queue is not None:
            self._pipeline.use_drafts(drafts, self._queue.put_prepared)
        # Names of programs that may end before /proc is read.
        self._names: LRUCache[int, str] = LRUCache(4096)
        self._brief: LRUCache[int, Process] = LRUCache(4096)
        self._lost_bursts = 0
        self._chosen: Callable[[int], bool] | None = None
        """Whether a process is traced, where its program does not decide that."""
        self._status_folder = directory(env)
        self._ready_at = 0.0

    def run(self) -> int:
        """Attach, trace until a signal or the command's end, drain, account. Exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        images: list[ProcessImage] = []
        # Reading the running programs takes as long as compiling, and can go on meanwhile.
        looking = threading.Thread(target=lambda: images.extend(self._targets.prepare()))
        looking.start()
        preparation = self._config.preparation or Preparation(self._config.kernel)
        kernel = preparation.finish()
        launched: Launched | None = None
        status = StatusSocket(self._status_folder, os.getpid())
        try:
            if self._config.command:
                launched = Launched(self._config.command)
            return self._trace(kernel, looking, images, launched, status)
        finally:
            status.close()
            self._targets.stop()
            kernel.close()
            if launched is not None:
                launched.stop()

    def _trace(
        self,
        kernel: Kernel,
        looking: threading.Thread,
        images: list[ProcessImage],
        launched: Launched | None,
        status: StatusSocket,
    ) -> int:
        config = self._config
        if config.record:
            self._recorder = Recorder(config.record, self._clock, config.keep_secrets)
        if config.pids:
            kernel.choose(config.pids)
        if launched is not None:
            kernel.choose([launched.pid])
        if not config.globs:
            self._chosen = kernel.traces
        kernel.open_bursts(self._on_burst, self._on_lost, ring_pages())
        targets = self._targets
        kernel.open_executions(
            self._on_exec,
            {
                SPEAKS_TLS: targets.speaks_tls,
                SPEAKS_QUIC: targets.speaks_quic,
                HAS_KERNEL_TLS: targets.has_kernel_tls,
                WRITES_UNCLEARLY: targets.writes_unclearly,
            },
        )
        kernel.attach()
        looking.join()
        self._targets.start(kernel, images)
        self._take_found()
        del images
        gc.collect()
        give_back()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        self._ready_at = time.monotonic()
        print("otel-ebpf: ready", file=self._err, flush=True)
        if launched is not None:
            launched.go()
        self._loop(kernel, launched, status)
        return self._close(kernel)

    # -- the loop -----------------------------------------------------------------

    def _loop(self, kernel: Kernel, launched: Launched | None, status: StatusSocket) -> None:
        pipeline = self._pipeline
        everywhere = os.sched_getaffinity(0)
        ageing = Ageing(kernel, self._config.kernel)
        next_flush = next_chore = 0.0
        while not self._stop:
            now = time.monotonic()
            if now >= next_flush:
                self._advance(self._visit(kernel, everywhere))
                next_flush = time.monotonic() + FLUSH_EVERY
            if now >= next_chore:
                next_chore = now + HOUSEKEEPING
                self._clock.tick()
                if self._recorder is not None:
                    self._recorder.tick()
                ageing.tick(time.monotonic_ns())
                status.answer(lambda: self._report(kernel))
                if launched is not None and launched.ended():
                    self._stop = True
            self._take_found()
            kernel.poll(max(1, int((next_flush - time.monotonic()) * 1000)))
        watermark = self._visit(kernel, everywhere)
        self._take_found()
        self._advance(watermark)
        pipeline.finish()

    def _visit(self, kernel: Kernel, cpus: set[int]) -> int:
        """Empties every CPU's burst. Returns the time before which all has now arrived."""
        watermark = time.monotonic_ns()
        for cpu in cpus:
            try:
                os.sched_setaffinity(0, {cpu})
            except OSError:
                continue  # went offline; its last burst comes when it is back
            os.getppid()
        os.sched_setaffinity(0, cpus)
        kernel.drain()
        return watermark

    def _advance(self, watermark: int) -> None:
        self._pipeline.advance(watermark)
        if self._recorder is not None:
            self._recorder.watermark(watermark)

    def _on_burst(self, cpu: int, data: bytes) -> None:
        if self._recorder is not None:
            self._recorder.burst(cpu, data)
        self._pipeline.burst(data)

    def _on_lost(self, bursts: int) -> None:
        self._lost_bursts += bursts

    def _on_exec(self, pid: int) -> None:
        """Another program now: read what there is to read before it may be gone."""
        if self._chosen is not None and not self._chosen(pid):
            return  # a busy host starts many that nobody asked for
        self._processes.exec(pid)
        self._processes.get(pid)
        self._targets.look(pid)

    def _on_process(self, record: Record) -> None:
        if record.type == EXEC:
            self._names[record.tgid] = record.comm
        elif record.type == EXIT:
            self._processes.exit(record.tgid)
            self._targets.ended(record.tgid)
        elif record.type == FORK:
            self._targets.forked(record.uid, record.tgid)

    def _process_of(self, pid: int) -> Process | None:
        """The process; by its command's name alone when it was gone before it was read."""
        known = self._processes.get(pid)
        if known is not None:
            return known
        name = self._names.get(pid)
        if name is None:
            return None
        attributes = {"service.name": name, "process.pid": pid, "process.executable.name": name}
        brief = Process(pid, 0, "", "", name, attributes)
        self._described(brief)
        return self._brief.setdefault(pid, brief)

    def _take_found(self) -> None:
        pass_on(self._pipeline.correlator.parents, self._targets)
        found = self._targets.found
        while found:
            pid, language = found.popleft()
            if language == "go":
                self._pipeline.go_process(pid)
                if self._recorder is not None:
                    self._recorder.go_process(pid)

    def _described(self, process: Process) -> None:
        if self._recorder is not None:
            self._recorder.described(process)

    # -- the end ------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._stop:
            sys.exit(128 + number)  # asked twice: no more waiting
        self._stop = True

    def _close(self, kernel: Kernel) -> int:
        if self._queue is not None:
            self._queue.drain(DRAIN_TIMEOUT)
        stats = kernel.stats()
        if self._recorder is not None:
            self._recorder.close(stats)
        totals, details = self._account(stats)
        for line in ledger_lines(totals, details):
            print(line, file=self._err)
        self._err.flush()
        return 0

    def _account(self, stats: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
        """Totals, and every counter, with the kernel half's ``stats``."""
        queue = self._queue.stats() if self._queue is not None else {}
        stats.pop("registers", None)  # a fact of the kernel, not a count
        details = {**stats, **self._pipeline.stats(), **self._targets.stats(), **queue}
        totals = {
            "records_seen": stats["records"],
            "exchanges": self._pipeline.correlator.counts["exchanges"],
            "spans_exported": details.get("spans_exported", 0),
            # Two witnesses of the same loss; what is lost last only the kernel has seen.
            "records_lost": max(stats["burst_lost"], self._pipeline.decoder.lost),
            "spans_dropped": sum(
                count for name, count in details.items() if name.startswith("spans_dropped.")
            ),
        }
        return totals, details

    def _report(self, kernel: Kernel) -> dict[str, object]:
        """What ``otel-ebpf status`` shows."""
        totals, details = self._account(kernel.stats())
        return {
            "pid": os.getpid(),
            "version": __version__,
            "seconds": round(time.monotonic() - self._ready_at, 1),
            "totals": totals,
            "processes": by_process(self._pipeline.correlator.parents, self._process_of),
            "tls_not_readable": {
                str(pid): library for pid, library in self._targets.tls_not_readable().items()
            },
            "counters": {name: count for name, count in sorted(details.items()) if count},
        }
