"""A bounded queue between the pipeline and an exporter, with a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from otel_ebpf.errors import UsageError
from otel_ebpf.export.base import Exporter, PreparingExporter, TickingExporter
from otel_ebpf.spans.model import Span

_ENCODED = itemgetter(1)
_log = logging.getLogger("otel_ebpf.export")


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Bounds of the queue.

    Attributes:
        max_spans: spans that may wait, those being sent included.
        max_bytes: bytes that encoded spans may take while they wait.
        batch: most spans handed to the exporter at once; as many wake the thread.
        delay: seconds after which fewer are sent too.
        block: a full queue makes ``put`` wait rather than drop (for replay).
    """

    max_spans: int = 65536
    max_bytes: int = 64 << 20
    batch: int = 4096
    delay: float = 1.0
    block: bool = False

    @classmethod
    def from_env(
        cls, env: Mapping[str, str], *, delay: float = 1.0, block: bool = False
    ) -> QueueSettings:
        """Read OTEL_BSP_*; ``delay`` is what holds when OTEL_BSP_SCHEDULE_DELAY is unset."""
        max_spans = _positive(env, "OTEL_BSP_MAX_QUEUE_SIZE", 65536)
        batch = _positive(env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(4096, max_spans))
        if batch > max_spans:
            raise UsageError(
                f"{batch} is more than the queue holds ({max_spans})",
                where="OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                mend="make it at most OTEL_BSP_MAX_QUEUE_SIZE",
            )
        milliseconds = _positive(env, "OTEL_BSP_SCHEDULE_DELAY", int(delay * 1000), least=0)
        return cls(max_spans, 64 << 20, batch, milliseconds / 1000, block)


def _positive(env: Mapping[str, str], variable: str, default: int, least: int = 1) -> int:
    text = env.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < least:
        raise UsageError(
            f"{text!r} is not a whole number from {least} to 999999999",
            where=variable,
            mend=f"give a number, or unset it for {default}",
        )
    return int(text)


class ExportQueue:
    """Takes spans from one thread and exports them from another.

    Every span put is exported, dropped and counted with a reason, or still pending.
    The thread sleeps until a batch is full or the delay is over, so it takes little
    of the interpreter's lock while the pipeline works.
    """

    def __init__(self, exporter: Exporter, settings: QueueSettings | None = None) -> None:
        self._settings = settings or QueueSettings()
        self._exporter = exporter
        self._preparing = exporter if isinstance(exporter, PreparingExporter) else None
        self._prepare = self._preparing.prepare if self._preparing is not None else None
        self._ticking = exporter if isinstance(exporter, TickingExporter) else None
        self._waiting: deque[Any] = deque()
        # Each of these is written by one thread only, so that none needs a lock.
        self._put = self._put_bytes = 0
        self._done = self._done_bytes = 0
        self._failed = self._given_up = 0
        self._dropped: dict[str, int] = {}
        self._wake = threading.Event()
        self._room = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="otel-ebpf-export", daemon=True)
        self._thread.start()

    def put(self, span: Span) -> bool:
        """Queue one span; False when it was dropped. For one thread."""
        settings = self._settings
        if self._closing:
            return self._drop("shutdown")
        if self.pending >= settings.max_spans and not (settings.block and self._wait_for_room()):
            return self._drop("queue_full")
        if self._prepare is None:
            self._waiting.append(span)
        else:
            try:
                item = self._prepare(span)
            except Exception as error:
                _log.warning("cannot encode a span: %s: %s", type(error).__name__, error)
                return self._drop("not_encodable")
            return self._append(item)
        self._put += 1
        if len(self._waiting) == settings.batch:
            self._wake.set()
        return True

    def put_prepared(self, item: tuple[Any, bytes]) -> bool:
        """Queue what the exporter's ``prepare`` would have made of a span; see ``put``."""
        settings = self._settings
        if self._closing:
            return self._drop("shutdown")
        if self._put - self._done >= settings.max_spans and not (
            settings.block and self._wait_for_room()
        ):
            return self._drop("queue_full")
        return self._append(item)

    def _append(self, item: tuple[Any, bytes]) -> bool:
        settings = self._settings
        size = len(item[1])
        if self._put_bytes - self._done_bytes + size > settings.max_bytes and not (
            settings.block and self._wait_for_room(size)
        ):
            return self._drop("queue_bytes")
        self._put_bytes += size
        self._waiting.append(item)
        self._put += 1
        if len(self._waiting) == settings.batch:
            self._wake.set()
        return True

    def put_all(self, spans: Iterable[Span]) -> None:
        """Queue several spans."""
        for span in spans:
            self.put(span)

    @property
    def pending(self) -> int:
        """Spans that wait or are being sent."""
        return self._put - self._done

    def drain(self, timeout: float) -> bool:
        """Export what is queued, shut the exporter down and end the thread.

        What is not accepted after ``timeout`` seconds is counted as dropped for
        ``shutdown``. True when nothing was left. Call it once, after the last ``put``.
        """
        self._closing = True
        self._wake.set()
        with self._room:
            self._room.notify_all()
        self._thread.join(max(timeout, 0.0))
        in_time = not self._thread.is_alive()
        self._exporter.shutdown()
        if not in_time:
            # The exporter returns at once after shutdown, and the thread then empties the rest.
            self._thread.join(2.0)
        lost = self.pending
        if lost:
            self._dropped["shutdown"] = self._dropped.get("shutdown", 0) + lost
            self._done += lost
            self._given_up = lost
        return in_time and not lost

    def flush(self, timeout: float) -> bool:
        """Have everything queued exported now; True when that was done in time."""
        deadline = time.monotonic() + timeout
        with self._room:
            while self.pending:
                self._wake.set()
                if not self._room.wait(max(0.0, deadline - time.monotonic())):
                    return not self.pending
        return True

    def stats(self) -> dict[str, int]:
        """The queue's counters and the exporter's, with names that stay.

        ``spans_put`` is the sum of ``spans_exported``, ``spans_dropped.*`` and
        ``spans_pending``.
        """
        stats = {
            "spans_put": self._put + sum(self._dropped.values()) - self._given_up,
            "spans_pending": self.pending,
        }
        for name, count in self._exporter.stats().items():
            stats[name] = stats.get(name, 0) + count
        dropped = dict(self._dropped)
        if self._failed:
            dropped["exporter_raised"] = self._failed
        for reason, count in dropped.items():
            key = f"spans_dropped.{reason}"
            stats[key] = stats.get(key, 0) + count
        return stats

    def _drop(self, reason: str) -> bool:
        self._dropped[reason] = self._dropped.get(reason, 0) + 1
        return False

    def _wait_for_room(self, size: int = 0) -> bool:
        settings = self._settings
        self._wake.set()
        with self._room:
            self._room.wait_for(
                lambda: (
                    self._closing
                    or (
                        self.pending < settings.max_spans
                        and (self._put_bytes - self._done_bytes + size <= settings.max_bytes)
                    )
                )
            )
        return not self._closing

    def _run(self) -> None:
        settings = self._settings
        waiting = self._waiting
        while True:
            if not self._closing and len(waiting) < settings.batch:
                self._wake.wait(settings.delay or 0.001)
            self._wake.clear()
            closing = self._closing
            # Only what is here now: fewer than a batch may gather until the next round.
            count = len(waiting)
            while count > 0:
                self._export(min(count, settings.batch))
                count -= settings.batch
            if closing and not waiting:
                return
            if self._ticking is not None:
                self._ticking.tick()

    def _export(self, count: int) -> None:
        batch = [self._waiting.popleft() for _ in range(count)]
        try:
            if self._preparing is not None:
                self._preparing.export_prepared(batch)
            else:
                self._exporter.export(batch)
        except Exception as error:
            # A fault of the exporter must not end the thread and lose all that follows.
            self._failed += count
            _log.warning("exporter %s: %s", type(error).__name__, error)
        with self._room:
            if self._preparing is not None:
                self._done_bytes += sum(map(len, map(_ENCODED, batch)))
            self._done += count
            self._room.notify_all()
