"""The queue: bounded, counted, and quick to let go."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from otel_ebpf.errors import UsageError
from otel_ebpf.export.base import Counters, Result
from otel_ebpf.export.queue import ExportQueue, QueueSettings
from otel_ebpf.spans.model import Span
from tests.unit.export.spans import span


class Collecting(Counters):
    """Keeps what it gets; waits at a gate while that is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.stopped = False
        self.fail = False

    def export(self, spans: Sequence[Span]) -> Result:
        self.entered.set()
        self.gate.wait(20)
        if self.fail:
            raise RuntimeError("broken")
        if self.stopped:
            return self.count(Result(dropped={"shutdown": len(spans)}))
        self.batches.append(list(spans))
        return self.count(Result(exported=len(spans)))

    def shutdown(self) -> None:
        self.stopped = True
        self.gate.set()

    def numbers(self) -> list[int]:
        return [int.from_bytes(s.span_id, "big") for batch in self.batches for s in batch]


class Encoding(Collecting):
    """Holds spans as bytes while they wait."""

    def prepare(self, span: Span) -> tuple[Any, bytes]:
        if span.name == "bad":
            raise ValueError("bad")
        return span.resource, span.span_id * 100

    def export_prepared(self, items: Sequence[tuple[Any, bytes]]) -> Result:
        return self.export(items)  # type: ignore[arg-type]


@pytest.fixture
def exporter() -> Iterator[Collecting]:
    made = Collecting()
    yield made
    made.shutdown()


def balance(queue: ExportQueue) -> None:
    """Every span that was put is accounted for."""
    stats = queue.stats()
    fates = [count for name, count in stats.items() if name.startswith("spans_dropped.")]
    assert stats["spans_put"] == stats["spans_exported"] + stats["spans_pending"] + sum(fates)


def test_spans_arrive_in_order_in_batches_and_are_counted(exporter: Collecting) -> None:
    queue = ExportQueue(exporter, QueueSettings(batch=10, delay=60))
    queue.put_all(span(n) for n in range(1, 36))
    assert queue.drain(10)
    assert exporter.numbers() == list(range(1, 36))
    assert max(map(len, exporter.batches)) <= 10
    assert queue.stats() == {"spans_put": 35, "spans_pending": 0, "spans_exported": 35}


def test_a_full_batch_does_not_wait_for_the_delay(exporter: Collecting) -> None:
    queue = ExportQueue(exporter, QueueSettings(batch=3, delay=600))
    queue.put_all(span(n) for n in (1, 2, 3))
    assert exporter.entered.wait(10)
    assert queue.drain(10)


def test_fewer_than_a_batch_leave_after_the_delay(exporter: Collecting) -> None:
    queue = ExportQueue(exporter, QueueSettings(batch=1000, delay=0.05))
    queue.put(span(1))
    assert exporter.entered.wait(10)
    assert queue.drain(10)


def test_a_full_queue_drops_the_newest_and_counts_them(exporter: Collecting) -> None:
    exporter.gate.clear()
    queue = ExportQueue(exporter, QueueSettings(max_spans=5, batch=2, delay=60))
    accepted = [queue.put(span(n)) for n in range(1, 9)]
    assert accepted == [True] * 5 + [False] * 3
    assert queue.stats()["spans_dropped.queue_full"] == 3
    balance(queue)
    exporter.gate.set()
    assert queue.drain(10)
    assert exporter.numbers() == [1, 2, 3, 4, 5]
    balance(queue)


def test_waiting_bytes_are_bounded_too() -> None:
    exporter = Encoding()
    exporter.gate.clear()
    queue = ExportQueue(exporter, QueueSettings(max_bytes=2000, batch=1, delay=60))
    assert [queue.put(span(n)) for n in (1, 2, 3)] == [True, True, False]
    assert queue.stats()["spans_dropped.queue_bytes"] == 1
    exporter.gate.set()
    assert queue.flush(10)
    # What was sent makes room again.
    assert queue.put(span(4))
    assert queue.drain(10)
    balance(queue)


def test_a_span_that_cannot_be_encoded_is_counted_and_harms_no_other() -> None:
    exporter = Encoding()
    queue = ExportQueue(exporter, QueueSettings(delay=60))
    assert [queue.put(span(name=name)) for name in ("GET", "bad", "GET")] == [True, False, True]
    assert queue.drain(10)
    assert queue.stats()["spans_dropped.not_encodable"] == 1
    assert queue.stats()["spans_exported"] == 2
    balance(queue)


def test_a_blocking_queue_waits_instead_of_dropping(exporter: Collecting) -> None:
    queue = ExportQueue(exporter, QueueSettings(max_spans=4, batch=2, delay=0.01, block=True))
    queue.put_all(span(n) for n in range(1, 201))
    assert queue.drain(10)
    assert exporter.numbers() == list(range(1, 201))


def test_a_drain_that_takes_too_long_stops_the_exporter_and_counts_the_rest(
    exporter: Collecting,
) -> None:
    exporter.gate.clear()
    queue = ExportQueue(exporter, QueueSettings(batch=2, delay=60))
    queue.put_all(span(n) for n in range(1, 8))
    assert exporter.entered.wait(10)
    assert not queue.drain(0.05)
    stats = queue.stats()
    assert stats["spans_dropped.shutdown"] == 7
    assert stats["spans_pending"] == 0
    balance(queue)


def test_spans_that_come_after_the_drain_are_counted(exporter: Collecting) -> None:
    queue = ExportQueue(exporter)
    assert queue.drain(10)
    assert not queue.put(span(1))
    assert queue.stats()["spans_dropped.shutdown"] == 1
    balance(queue)


def test_an_exporter_that_raises_loses_its_batch_only(exporter: Collecting) -> None:
    exporter.fail = True
    queue = ExportQueue(exporter, QueueSettings(batch=2, delay=60))
    queue.put_all([span(1), span(2)])
    assert queue.flush(10)
    exporter.fail = False
    queue.put(span(3))
    assert queue.drain(10)
    assert exporter.numbers() == [3]
    assert queue.stats()["spans_dropped.exporter_raised"] == 2
    balance(queue)


def test_time_passes_for_exporters_that_want_to_know() -> None:
    class Ticking(Collecting):
        def __init__(self) -> None:
            super().__init__()
            self.ticked = threading.Event()

        def tick(self) -> None:
            self.ticked.set()

    exporter = Ticking()
    queue = ExportQueue(exporter, QueueSettings(delay=0.01))
    assert exporter.ticked.wait(10)
    assert queue.drain(10)


def test_a_flush_that_cannot_finish_says_so(exporter: Collecting) -> None:
    exporter.gate.clear()
    queue = ExportQueue(exporter, QueueSettings(delay=60))
    queue.put(span(1))
    assert not queue.flush(0.05)
    exporter.gate.set()
    assert queue.flush(10)
    assert queue.drain(10)


def test_the_variables_are_read_in_their_units() -> None:
    env = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
        "OTEL_BSP_SCHEDULE_DELAY": "250",
    }
    settings = QueueSettings.from_env(env)
    assert (settings.max_spans, settings.batch, settings.delay) == (100, 10, 0.25)
    # The batch's default follows a queue that is smaller.
    assert QueueSettings.from_env({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}).batch == 100
    assert QueueSettings.from_env({}) == QueueSettings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "lots"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-5"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "70000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1.5"),
    ],
)
def test_a_wrong_value_is_an_error_with_a_mend(variable: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        QueueSettings.from_env({variable: value})
    assert caught.value.where == variable
    assert caught.value.mend
