"""Calls of Dubbo and Thrift become RPC spans by the conventions."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.correlation.model import CLIENT, SERVER
from otel_ebpf.protocols.rpc import DONE, RpcRequest, RpcResponse
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import FixedClock
from otel_ebpf.spans.model import ERROR, UNSET, Span
from tests.unit.spans.exchanges import exchange

LATE = RpcResponse("CLIENT_TIMEOUT", "CLIENT_TIMEOUT", blameless=True)
BUSY = RpcResponse("SERVER_ERROR", "SERVER_ERROR")


def build(kind: int, answer: RpcResponse | None, system: str = "dubbo", **more: Any) -> Span:
    request = RpcRequest(system, more.pop("method", "shop.Shop/price"), notes={"note": "1"})
    return SpanBuilder(FixedClock()).build(exchange(kind, request, answer, protocol=system, **more))


@pytest.mark.parametrize("system", ["dubbo", "thrift"])
def test_a_call_that_went_well(system: str) -> None:
    ours = build(CLIENT, RpcResponse("OK"), system)
    assert (ours.name, ours.status, ours.kind) == ("shop.Shop/price", UNSET, CLIENT)
    assert ours.attributes == {
        "rpc.system.name": system,
        "rpc.method": "shop.Shop/price",
        "rpc.response.status_code": "OK",
        "server.address": "10.0.0.2",
        "server.port": 8080,
        "network.peer.address": "10.0.0.2",
        "network.peer.port": 8080,
        "note": "1",
    }
    theirs = build(SERVER, DONE, system).attributes
    assert theirs["server.address"] == "10.0.0.1" and theirs["server.port"] == 8080
    assert theirs["client.address"] == theirs["network.peer.address"] == "10.0.0.2"
    assert "rpc.response.status_code" not in theirs


def test_whose_fault_it_is() -> None:
    assert build(CLIENT, LATE).attributes["error.type"] == "CLIENT_TIMEOUT"
    served = build(SERVER, LATE)
    assert served.status == UNSET and "error.type" not in served.attributes
    assert served.attributes["rpc.response.status_code"] == "CLIENT_TIMEOUT"
    for kind in (CLIENT, SERVER):
        span = build(kind, BUSY)
        assert (span.status, span.status_message) == (ERROR, "")
        assert span.attributes["error.type"] == "SERVER_ERROR"
    reset = build(CLIENT, None, error="connection_reset")
    assert (reset.status, reset.status_message) == (ERROR, "connection_reset")
    assert reset.attributes["error.type"] == "connection_reset"


def test_a_call_whose_method_is_not_known_and_notes_of_an_answer() -> None:
    span = build(CLIENT, RpcResponse(notes={"more": 2}), method="")
    assert span.name == "dubbo" and "rpc.method" not in span.attributes
    assert (span.attributes["note"], span.attributes["more"]) == ("1", 2)
    assert len(build(CLIENT, DONE, method="x" * 600).name) == 255
