"""Exchanges as the correlator would make them, from heads as they travel."""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import CLIENT, SERVER, Endpoints, Exchange
from otel_ebpf.metadata.process import Process
from otel_ebpf.protocols.http1_head import HttpRequest, HttpResponse

SHOP = Process(7, 1, "/srv/shop", "go", "shop", {"service.name": "shop", "process.pid": 7})
SECOND = 1_000_000_000


def request(line: str = "GET / HTTP/1.1", *headers: str) -> HttpRequest:
    method, target, version = line.split(" ")
    head = "\r\n".join([line, *headers]) + "\r\n\r\n"
    return HttpRequest(method, target, version.removeprefix("HTTP/"), head.encode())


def response(status: int = 200, *headers: str) -> HttpResponse:
    head = "\r\n".join([f"HTTP/1.1 {status} X", *headers]) + "\r\n\r\n"
    return HttpResponse(status, "1.1", head.encode())


def exchange(kind: int, head: Any, answer: Any = None, **fields: Any) -> Exchange:
    local, peer = (8080, 50000) if kind == SERVER else (50000, 8080)
    values: dict[str, Any] = {
        "kind": kind,
        "protocol": "http",
        "pid": 7,
        "tid": 7,
        "endpoints": Endpoints("ipv4", "10.0.0.1", local, "10.0.0.2", peer),
        "start": SECOND,
        "end": 2 * SECOND,
        "request": head,
        "response": answer,
        "span_id": b"s" * 8,
        "trace_id": b"t" * 16,
        "process": SHOP,
    }
    return Exchange(**{**values, **fields})


def served(head: Any, answer: Any = None, **fields: Any) -> Exchange:
    return exchange(SERVER, head, answer, **fields)


def called(head: Any, answer: Any = None, **fields: Any) -> Exchange:
    return exchange(CLIENT, head, answer, **fields)
