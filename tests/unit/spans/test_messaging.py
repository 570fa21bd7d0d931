"""Calls to brokers become messaging spans by the conventions."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.correlation.model import CLIENT, SERVER, Endpoints, Exchange
from otel_ebpf.protocols.context import CarriedContext
from otel_ebpf.protocols.messaging import DONE, MessagingRequest, MessagingResponse
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import FixedClock
from otel_ebpf.spans.model import CONSUMER, ERROR, PRODUCER, Link, Span

ENDS = Endpoints("ipv4", "10.0.0.1", 50000, "10.0.0.2", 5672)
CONTEXT = CarriedContext(b"t" * 16, b"s" * 8, True, "", "traceparent")


def build(kind: int, head: MessagingRequest, answer: Any = DONE, **more: Any) -> Span:
    x = Exchange(kind, "amqp", 1, 1, ENDS, 1, 2, head, answer, b"12345678", **more)
    return SpanBuilder(FixedClock()).build(x)


def head(type: str = "send", destination: str = "orders", **more: Any) -> MessagingRequest:
    made = MessagingRequest("rabbitmq", "publish", type, destination)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_a_sent_message_has_what_the_conventions_ask_for() -> None:
    message = head(message_id="m1", body_size=5, client_id="c", conversation="k", batch=3)
    span = build(CLIENT, message)
    assert (span.name, span.kind) == ("publish orders", PRODUCER)
    assert span.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
        "messaging.client.id": "c",
        "messaging.batch.message_count": 3,
        "messaging.message.id": "m1",
        "messaging.message.body.size": 5,
        "messaging.message.conversation_id": "k",
        "server.address": "10.0.0.2",
        "server.port": 5672,
        "network.peer.address": "10.0.0.2",
        "network.peer.port": 5672,
    }


@pytest.mark.parametrize(
    ("kind", "type", "pushed", "expected", "broker"),
    [
        (CLIENT, "send", False, PRODUCER, "10.0.0.2"),
        (CLIENT, "receive", False, CONSUMER, "10.0.0.2"),
        (CLIENT, "", False, CLIENT, "10.0.0.2"),
        (SERVER, "send", False, SERVER, "10.0.0.1"),
        (SERVER, "process", True, CONSUMER, "10.0.0.2"),
        (CLIENT, "process", True, CLIENT, "10.0.0.1"),
    ],
)
def test_the_kind_is_told_by_what_is_done_and_by_whose_view_it_is(
    kind: int, type: str, pushed: bool, expected: int, broker: str
) -> None:
    span = build(kind, head(type, pushed=pushed))
    assert span.kind == expected
    assert span.attributes["server.address"] == broker
    # A broker's view names its client.
    assert ("client.address" in span.attributes) == (broker == "10.0.0.1")


@pytest.mark.parametrize(
    ("destination", "name", "more"),
    [
        ("_INBOX.a8s7d6", "publish", {"messaging.destination.temporary": True}),
        ("amq.gen-JzTY20BRgK", "publish", {"messaging.destination.temporary": True}),
        ("sensors/4711/temperature", "publish sensors/{id}/temperature", {}),
        ("user.0190163d-8694-739b-aea5-966c26f8ad91", "publish user.{id}", {}),
        ("orders.v2", "publish orders.v2", {}),
        ("", "publish", {}),
    ],
)
def test_names_of_spans_are_few(destination: str, name: str, more: dict[str, Any]) -> None:
    span = build(CLIENT, head(destination=destination))
    assert span.name == name
    assert span.attributes.get("messaging.destination.name", "") == destination
    if "{" in name:
        more = {"messaging.destination.template": name.removeprefix("publish ")}
    found = {k: v for k, v in span.attributes.items() if k.endswith(("template", "temporary"))}
    assert found == more


def test_what_messages_carry_are_links_but_for_the_parent() -> None:
    message = head(contexts=(CONTEXT,))
    assert build(CLIENT, message).links == (Link(b"t" * 16, b"s" * 8),)
    assert build(CLIENT, message, parent_span_id=b"s" * 8).links == ()


def test_errors_are_told_by_their_type() -> None:
    span = build(CLIENT, head(), MessagingResponse("404", "NOT_FOUND"))
    assert (span.status, span.attributes["error.type"]) == (ERROR, "NOT_FOUND")
    assert build(CLIENT, head(), None, error="response_lost").status == ERROR
