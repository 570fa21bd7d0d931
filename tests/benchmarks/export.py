"""What a span costs: build, encode, and the SDK's way for comparison.

Run: python tests/benchmarks/export.py [SPANS]

The spans are those of one service on keep-alive connections: half SERVER, half CLIENT,
paths and ports that differ. The best of several rounds is printed, in microseconds a
span, of processor time on one thread.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable

from otel_ebpf.correlation.model import CLIENT, SERVER, Endpoints, Exchange
from otel_ebpf.export.otlp_encoding import SpanEncoder
from otel_ebpf.metadata.process import Process
from otel_ebpf.protocols.http1_head import HttpRequest, HttpResponse
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import WallClock

ROUNDS = 5
PROCESS = Process(
    pid=4242,
    start_ticks=1,
    exe="/srv/shop",
    language="go",
    service_name="shop",
    attributes={
        "service.name": "shop",
        "service.instance.id": "4242-1",
        "process.pid": 4242,
        "process.executable.name": "shop",
        "host.name": "node-1",
    },
)


REQUEST = (
    b"GET %s HTTP/1.1\r\nHost: shop.local:8080\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Accept: application/json\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 512\r\n"
    b"Date: Sun, 01 Jan 2023 00:00:00 GMT\r\n\r\n"
)


def exchanges(count: int) -> list[Exchange]:
    """``count`` exchanges: requests to this service and the calls that it makes."""
    made = []
    for i in range(count):
        server = i % 2 == 0
        port = 40000 + i % 997
        target = f"/cart/{i}/items?page={i % 7}"
        request = HttpRequest("GET", target, "1.1", REQUEST % target.encode())
        ends = (8080, port) if server else (port, 9090)
        made.append(
            Exchange(
                kind=SERVER if server else CLIENT,
                protocol="http",
                pid=PROCESS.pid,
                tid=PROCESS.pid,
                endpoints=Endpoints("ipv4", "10.0.0.1", ends[0], "10.0.0.2", ends[1]),
                start=1_000_000_000 + i * 1000,
                end=1_000_500_000 + i * 1000,
                request=request,
                response=HttpResponse(200, "1.1", RESPONSE),
                span_id=(i + 1).to_bytes(8, "big"),
                trace_id=(i // 2 + 1).to_bytes(16, "big"),
                parent_span_id=b"" if server else i.to_bytes(8, "big"),
                rule="" if server else "goroutine",
                process=PROCESS,
            )
        )
    return made


def best(work: Callable[[], object], count: int) -> float:
    """Microseconds per item of the fastest round."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        begin = time.process_time()
        work()
        fastest = min(fastest, time.process_time() - begin)
    return fastest / count * 1e6


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    sample = exchanges(count)
    builder = SpanBuilder(WallClock())
    encoder = SpanEncoder("otel_ebpf", "0")
    spans = [builder.build(exchange) for exchange in sample]
    size = sum(len(encoder.encode(span)) for span in spans) / count

    def both() -> None:
        for exchange in sample:
            encoder.encode(builder.build(exchange))

    def build() -> None:
        for exchange in sample:
            builder.build(exchange)

    def encode() -> None:
        for span in spans:
            encoder.encode(span)

    def request() -> None:
        encoder.resource_spans(PROCESS, [encoder.encode(span) for span in spans])

    rows = [
        ("build", best(build, count)),
        ("encode", best(encode, count)),
        ("build and encode", best(both, count)),
        ("encode, whole request", best(request, count)),
    ]
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    from otel_ebpf.export.sdk import SpanConverter

    few = spans[: max(1, count // 10)]
    convert = SpanConverter().convert
    readable = [convert(span) for span in few]
    rows += [
        ("SDK: ReadableSpan", best(lambda: [convert(s) for s in few], len(few))),
        ("SDK: encode", best(lambda: encode_spans(readable).SerializeToString(), len(few))),
    ]
    print(f"{count} spans, {len(spans[0].attributes)} and {len(spans[1].attributes)} attributes,")
    print(f"{size:.0f} bytes each on average")
    for name, cost in rows:
        print(f"{name:<24}{cost:8.2f} us/span")


if __name__ == "__main__":
    main()
