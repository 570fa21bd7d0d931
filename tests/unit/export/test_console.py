"""Trees on the console: whole, in order, and safe to look at."""

from __future__ import annotations

import io
import threading

from otel_ebpf.export.console import ConsoleExporter
from tests.unit.export.spans import START, process, span

MS = 1_000_000
PAY = process("pay")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(**options: object) -> tuple[ConsoleExporter, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    made = ConsoleExporter(stream, monotonic=clock, **options)  # type: ignore[arg-type]
    return made, stream, clock


def test_a_tree_is_printed_with_parents_above_their_children_in_order_of_time() -> None:
    exporter, stream, _ = console()
    ok = {"http.response.status_code": 200}
    exporter.export(
        [
            span(4, 3, start=START + 3 * MS, length=2 * MS, resource=PAY,
                 attributes={**ok, "url.path": "/charge"}),
            span(3, 1, kind=3, start=START + 2 * MS, length=4 * MS,
                 attributes={**ok, "url.full": "http://pay/charge"}),
            span(2, 1, kind=3, start=START + 1 * MS, length=MS // 2,
                 attributes={**ok, "url.full": "http://stock/1"}),
            span(1, start=START, length=12 * MS + 345_678, attributes={**ok, "url.path": "/buy"}),
        ]
    )  # fmt: skip
    exporter.shutdown()
    assert stream.getvalue().splitlines() == [
        "trace 00000000000000000000000000000001  2 services, 4 spans, 12.3 ms",
        "  shop GET /buy                  SERVER    200    12.3 ms  +0 us",
        "  ├─ shop GET http://stock/1     CLIENT    200     500 us  +1.0 ms",
        "  └─ shop GET http://pay/charge  CLIENT    200     4.0 ms  +2.0 ms",
        "     └─ pay GET /charge          SERVER    200     2.0 ms  +3.0 ms",
        "",
    ]
    assert exporter.stats() == {"spans_exported": 4, "traces_printed": 1}


def test_a_trace_is_printed_once_its_root_has_come_and_it_rests() -> None:
    exporter, stream, clock = console(quiet=0.4, patience=5.0)
    exporter.export([span(2, 1)])
    clock.now += 1
    exporter.tick()
    assert stream.getvalue() == ""
    exporter.export([span(1)])
    clock.now += 0.3
    exporter.tick()
    assert stream.getvalue() == ""
    clock.now += 0.2
    exporter.tick()
    assert stream.getvalue().count("trace ") == 1
    assert "└─" in stream.getvalue()


def test_a_trace_whose_root_never_comes_is_printed_after_a_while_and_marked() -> None:
    exporter, stream, clock = console(patience=5.0)
    exporter.export([span(2, 1)])
    clock.now += 5.1
    exporter.tick()
    assert "… shop GET" in stream.getvalue()


def test_a_span_under_a_remote_parent_is_a_root_here() -> None:
    exporter, stream, clock = console()
    made = span(2, 1)
    made.parent_remote = True
    exporter.export([made])
    clock.now += 1
    exporter.tick()
    assert "shop GET" in stream.getvalue()
    assert "…" not in stream.getvalue()


def test_memory_is_bounded_when_roots_never_come() -> None:
    exporter, stream, _ = console()
    for trace in range(1, 40):
        exporter.export([span(n, n + 1, trace=trace) for n in range(1, 1001)])
    assert sum(len(trace.spans) for trace in exporter._traces.values()) <= 20_000
    exporter.shutdown()
    assert stream.getvalue().count("trace ") == 39
    assert exporter.stats()["spans_exported"] == 39_000


def test_a_very_long_trace_says_how_much_it_leaves_out() -> None:
    exporter, stream, _ = console()
    exporter.export([span(1), *(span(n, 1) for n in range(2, 1001))])
    exporter.shutdown()
    assert "... 500 more spans" in stream.getvalue()


def test_parents_in_a_ring_and_very_deep_chains_do_no_harm() -> None:
    exporter, stream, _ = console()
    exporter.export([span(1, 2), span(2, 1), span(3, 3)])
    exporter.export([span(n, n - 1, trace=2) for n in range(1, 5000)])
    exporter.shutdown()
    text = stream.getvalue()
    assert "3 spans" in text and "4999 spans" in text
    assert max(map(len, text.splitlines())) < 400


def test_text_from_the_network_cannot_control_the_terminal() -> None:
    exporter, stream, _ = console()
    evil = "/\x1b[2J\r\n\u202e" + "x" * 5000
    made = span(1, resource=process("a\x1b]0;b"), attributes={"url.path": evil})
    made.attributes["error.type"] = "\x07bell"
    exporter.export([made])
    exporter.shutdown()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() and len(line) < 250 for line in lines)


def test_errors_show_their_type_or_status() -> None:
    exporter, stream, _ = console(colour=True)
    failed = span(1, attributes={"error.type": "connection_reset"})
    failed.status = 2
    answered = span(1, trace=2, attributes={"http.response.status_code": 503, "error.type": "503"})
    exporter.export([failed, answered])
    exporter.shutdown()
    assert "connection_reset" in stream.getvalue()
    assert " 503 " in stream.getvalue()
    assert "\x1b[31m" in stream.getvalue()


def test_there_are_no_colours_where_there_is_no_terminal() -> None:
    exporter, stream, _ = console()
    exporter.export([span(1)])
    exporter.shutdown()
    assert "\x1b" not in stream.getvalue()


def test_a_reader_that_goes_away_is_counted_not_raised() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    exporter = ConsoleExporter(Gone())
    exporter.export([span(n, trace=n) for n in (1, 2)])
    exporter.shutdown()
    exporter.export([span(3)])
    stats = exporter.stats()
    assert stats["spans_dropped.output_failed"] == 3
    assert stats["spans_exported"] == 0


def test_a_reader_that_stopped_reading_does_not_hold_up_the_end() -> None:
    reading, resume = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            reading.set()
            resume.wait(20)
            return len(text)

    exporter, _, clock = console()
    exporter._stream = Stuck()
    exporter.export([span(1), span(2, trace=2)])
    clock.now += 1
    writer = threading.Thread(target=exporter.tick)
    writer.start()
    assert reading.wait(10)
    exporter.shutdown()
    assert exporter.stats()["spans_dropped.shutdown"] >= 1
    resume.set()
    writer.join(10)
