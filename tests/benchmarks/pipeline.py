"""What a span costs from the burst to the queue, stage by stage.

Run: python -m tests.benchmarks.pipeline [SPANS]

Synthetic bursts, as the kernel half packs them, of exchanges on keep-alive connections:
a server's side alone, and both sides of every exchange. The best of several rounds is
printed, in microseconds a span, of processor time on one thread.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from otel_ebpf.correlation.correlator import Correlator
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Decoder
from otel_ebpf.events.order import Orderer
from otel_ebpf.export.otlp_encoding import SpanEncoder
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.pipeline import Pipeline
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import WallClock
from otel_ebpf.spans.model import Span
from tests.benchmarks.export import PROCESS, best
from tests.unit.events.records import burst, pack

CONNECTIONS = 16
A_BURST = 64
"""Records; a busy CPU fills its buffer with about as many."""
A_ROUND = 2048
"""Records between two watermarks: 30 ms of a busy machine."""
HTTP = 20
START = 1_000_000_000_000

REQUEST = (
    b"GET /api/items/%d HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: Go-http-client/1.1\r\n"
    b"Accept-Encoding: gzip\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 12\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nhello world\n"
)
Round = tuple[list[bytes], int]
"""Bursts, and the watermark behind them."""


class Traffic:
    """Makes the records of exchanges, 10 us apart."""

    def __init__(self, both: bool) -> None:
        self.both = both
        self.now = START
        self.records: list[bytes] = []
        self._moved: dict[tuple[int, int], int] = {}

    def exchange(self, number: int) -> None:
        """One request and its response."""
        request, connection = REQUEST % number, number % CONNECTIONS
        uid = number * 2 + 1
        if self.both:
            self._record(connection, False, 1, request, layout.REQUEST, uid + 1)
        self._record(connection, True, 0, request, layout.REQUEST, uid)
        self._record(connection, True, 1, RESPONSE, layout.RESPONSE, uid)
        if self.both:
            self._record(connection, False, 0, RESPONSE, layout.RESPONSE, uid + 1)

    def _record(
        self, connection: int, server: bool, direction: int, data: bytes, begins: int, uid: int
    ) -> None:
        self.now += 10_000
        ports = (8080, 40000 + connection) if server else (40000 + connection, 8080)
        socket_id = connection * 2 + server + 1
        seq = self._moved.get((socket_id, direction), 0)
        self._moved[socket_id, direction] = seq + len(data) & 0xFFFFFFFF
        peer = bytes((127, 0, 0, 1)) if self.both else bytes((10, 0, 0, 9))
        members: dict[str, Any] = {
            "ts": self.now,
            "direction": direction,
            "role": layout.ROLE_SERVER if server else layout.ROLE_CLIENT,
            "protocol": HTTP,
            "begins": begins,
            "tgid": PROCESS.pid + server,
            "tid": PROCESS.pid + server + connection,
            "socket_id": socket_id,
            "tcp_seq": seq,
            "uid": uid,
            "flags": layout.FLAG_RUN_START,
            "local_port": ports[0],
            "peer_port": ports[1],
            "peer_addr": peer,
        }
        self.records.append(pack(data, **members))


def rounds(count: int, both: bool) -> list[Round]:
    """Bursts of ``count`` exchanges."""
    traffic = Traffic(both)
    made: list[Round] = []
    written = 0
    for number in range(count):
        traffic.exchange(number)
        if len(traffic.records) >= A_ROUND or number == count - 1:
            records, traffic.records = traffic.records, []
            bursts = []
            for at in range(0, len(records), A_BURST):
                part = records[at : at + A_BURST]
                bursts.append(burst(part, before=written, seq=written))
                written += len(part)
            made.append((bursts, traffic.now))
    return made


def stages(work: Sequence[Round], spans: int) -> list[tuple[str, float]]:
    """Microseconds a span of each stage alone, on what the stage before gave."""
    records = [[Decoder().feed(data) for data in bursts] for bursts, _ in work]
    ordered = []
    orderer = Orderer()
    for parts, (_, watermark) in zip(records, work, strict=True):
        for part in parts:
            orderer.feed(part)
        ordered.append(orderer.advance(watermark))
    correlator = Correlator(Ids(1))
    exchanges = []
    for batch, (_, watermark) in zip(ordered, work, strict=True):
        exchanges += correlator.feed(batch) + correlator.tick(watermark)
    exchanges += correlator.tick(work[-1][1] + 1_000_000_000)
    assert len(exchanges) == spans, (len(exchanges), correlator.stats())
    for exchange in exchanges:
        exchange.process = PROCESS
    builder, encoder = SpanBuilder(WallClock()), SpanEncoder("otel_ebpf", "0")
    built = [builder.build(exchange) for exchange in exchanges]

    def decode() -> None:
        feed = Decoder().feed
        for bursts, _ in work:
            for data in bursts:
                feed(data)

    def order() -> None:
        again = Orderer()
        for parts, (_, watermark) in zip(records, work, strict=True):
            for part in parts:
                again.feed(part)
            again.advance(watermark)

    def correlate() -> None:
        again = Correlator(Ids(1))
        for batch, (_, watermark) in zip(ordered, work, strict=True):
            again.feed(batch)
            again.tick(watermark)

    def sample() -> None:
        decide = TraceSampler().sample
        for exchange in exchanges:
            decide(exchange)

    def build() -> None:
        make = builder.build
        for exchange in exchanges:
            make(exchange)

    def encode() -> None:
        make = encoder.encode
        for span in built:
            make(span)

    named: list[tuple[str, Callable[[], None]]] = [
        ("decode", decode),
        ("order", order),
        ("correlate", correlate),
        ("sample", sample),
        ("build", build),
        ("encode", encode),
    ]
    return [(name, best(stage, spans)) for name, stage in named]


def whole(work: Sequence[Round], spans: int) -> float:
    """The same as the agent runs it: one pipeline, spans encoded as the queue does."""

    def run() -> None:
        encode = SpanEncoder("otel_ebpf", "0").encode
        waiting: list[tuple[Any, bytes]] = []

        def put(span: Span) -> bool:
            waiting.append((span.resource, encode(span)))
            return True

        pipeline = Pipeline(
            Ids(1), SpanBuilder(WallClock()), TraceSampler(), put, lambda _: PROCESS, lambda _: None
        )
        for bursts, watermark in work:
            for data in bursts:
                pipeline.burst(data)
            pipeline.advance(watermark)
        pipeline.advance(work[-1][1] + 1_000_000_000)
        assert len(waiting) == spans, len(waiting)

    return best(run, spans)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for both in (False, True):
        spans = count * 2 if both else count
        work = rounds(count, both)
        gc.collect()
        gc.freeze()  # as the agent does when it is ready
        gc.set_threshold(20_000, 20, 50)
        print(f"{'client and server' if both else 'server alone'}, {spans} spans")
        begin = time.perf_counter()
        costs = stages(work, spans)
        for name, cost in [*costs, ("sum", sum(cost for _, cost in costs))]:
            print(f"  {name:<12}{cost:8.2f} us/span")
        print(f"  {'pipeline':<12}{whole(work, spans):8.2f} us/span", end="")
        print(f"   ({time.perf_counter() - begin:.0f} s)")


if __name__ == "__main__":
    main()
