"""What a span costs from the burst to the queue, stage by stage.

Run: python -m tests.benchmarks.pipeline [SPANS]

Synthetic bursts, as the kernel half packs them, of exchanges on keep-alive connections: a
server's side alone, whose clients are elsewhere or here and not traced, and both sides of
every exchange, on few connections and on many. The best of several rounds is printed, in
microseconds a span, of processor time on one thread.

``pipeline`` has the caches to itself; between two rounds of ``shared`` other work has used
them, as the traced programs do on a busy machine. The agent's own figure is nearer to that.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from otel_ebpf.correlation.correlator import Correlator
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.usual import Usual
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Decoder
from otel_ebpf.events.order import Orderer
from otel_ebpf.export.otlp_encoding import SpanEncoder
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.pipeline import AT_ONCE, GC_THRESHOLD, Pipeline
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import WallClock
from otel_ebpf.spans.model import Span
from tests.benchmarks.export import PROCESS, ROUNDS, best
from tests.unit.events.records import burst, pack

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


SCENARIOS = (
    # name, both sides, clients on this host, connections
    ("server alone, clients elsewhere", False, False, 16),
    ("server alone, clients here", False, True, 16),
    ("client and server", True, True, 16),
    ("client and server, 2,000 connections", True, True, 2000),
)


class Traffic:
    """Makes the records of exchanges, 10 us apart."""

    def __init__(self, both: bool, local: bool, connections: int) -> None:
        self.both = both
        self.local = local
        self.connections = connections
        self.now = START
        self.records: list[bytes] = []
        self._moved: dict[tuple[int, int], int] = {}

    def exchange(self, number: int) -> None:
        """One request and its response."""
        request, connection = REQUEST % number, number % self.connections
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
        peer = bytes((127, 0, 0, 1)) if self.local else bytes((10, 0, 0, 9))
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


def rounds(count: int, traffic: Traffic) -> list[Round]:
    """Bursts of ``count`` exchanges."""
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
    records = [[Decoder().locate(data) for data in bursts] for bursts, _ in work]
    ordered = []
    orderer = Orderer()
    for parts, (_, watermark) in zip(records, work, strict=True):
        for part in parts:
            orderer.feed(*part)
        ordered.append(orderer.advance(watermark))
    correlator = Correlator(Ids(1))
    usual = Usual(correlator)
    exchanges = []
    for batch, (_, watermark) in zip(ordered, work, strict=True):
        exchanges += usual.feed(batch) + correlator.tick(watermark)
    exchanges += correlator.tick(work[-1][1] + 1_000_000_000)
    assert len(exchanges) == spans, (len(exchanges), correlator.stats())
    for exchange in exchanges:
        exchange.process = PROCESS
    builder, encoder = SpanBuilder(WallClock()), SpanEncoder("otel_ebpf", "0")
    built = [builder.build(exchange) for exchange in exchanges]

    def decode() -> None:
        feed = Decoder().locate
        for bursts, _ in work:
            for data in bursts:
                feed(data)

    def order() -> None:
        again = Orderer()
        for parts, (_, watermark) in zip(records, work, strict=True):
            for part in parts:
                again.feed(*part)
            again.advance(watermark)

    def correlate() -> None:
        again = Correlator(Ids(1))
        feed = Usual(again).feed
        for batch, (_, watermark) in zip(ordered, work, strict=True):
            for start in range(0, len(batch), AT_ONCE):
                feed(batch[start : start + AT_ONCE])
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
        ("find", decode),
        ("order", order),
        ("decode, correlate", correlate),
        ("sample", sample),
        ("build", build),
        ("encode", encode),
    ]
    return [(name, best(stage, spans)) for name, stage in named]


def whole(work: Sequence[Round], spans: int, shared: bool) -> float:
    """The same as the agent runs it: one pipeline, spans encoded as the queue does."""
    other_work = bytearray(8 << 20)
    fastest = float("inf")
    for _ in range(ROUNDS):
        encode = SpanEncoder("otel_ebpf", "0").encode
        waiting: list[tuple[Any, bytes]] = []

        def put(span: Span, encode: Any = encode, waiting: Any = waiting) -> bool:
            waiting.append((span.resource, encode(span)))
            return True

        pipeline = Pipeline(
            Ids(1), SpanBuilder(WallClock()), TraceSampler(), put, lambda _: PROCESS, lambda _: None
        )
        spent = 0.0
        for bursts, watermark in [*work, ([], work[-1][1] + 1_000_000_000)]:
            if shared:
                other_work = other_work.translate(None)
            begin = time.thread_time()
            for data in bursts:
                pipeline.burst(data)
            pipeline.advance(watermark)
            spent += time.thread_time() - begin
        assert len(waiting) == spans, len(waiting)
        fastest = min(fastest, spent)
    return fastest / spans * 1e6


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for name, both, local, connections in SCENARIOS:
        spans = count * 2 if both else count
        work = rounds(count, Traffic(both, local, connections))
        gc.collect()
        gc.freeze()  # as the agent does when it is ready
        gc.set_threshold(*GC_THRESHOLD)
        print(f"{name}: {spans} spans")
        costs = stages(work, spans)
        costs.append(("sum", sum(cost for _, cost in costs)))
        costs += [(n, whole(work, spans, n == "shared")) for n in ("pipeline", "shared")]
        for what, cost in costs:
            print(f"  {what:<18}{cost:8.2f} us/span")


if __name__ == "__main__":
    main()
