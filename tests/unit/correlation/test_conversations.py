"""How requests meet their responses on one connection, in good order and in bad."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.events import layout
from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.http1 import Http1Parser
from tests.unit.correlation.world import (
    SECOND,
    World,
    assert_child,
    get,
    post,
    reply,
    status,
)


def test_times_sizes_and_endpoints_are_those_of_the_records() -> None:
    world = World()
    wire = world.wire(1, 2)
    asked = wire.client.send(post("/x", b"body"))
    got = wire.client.recv(reply(201, b"made"))
    world.feed(asked, got)
    world.wait(SECOND)
    x = world.span("/x")
    assert (x.start, x.end) == (asked.ts, got.ts)
    assert (x.request_size, x.response_size) == (asked.length, got.length)
    assert (status(x), x.error) == (201, None)
    ends = x.endpoints
    assert (ends.family, ends.peer_address, ends.peer_port) == ("ipv4", "127.0.0.1", 8080)
    assert (x.pid, ends.local_port) == (1, 40000)


def test_pipelined_requests_meet_their_responses_in_order() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.server.recv(get("/a") + get("/b") + get("/c")))
    world.feed(wire.server.send(reply(200) + reply(404) + reply(500)))
    world.wait(SECOND)
    assert [(x.request.target, status(x)) for x in world.out] == [
        ("/a", 200),
        ("/b", 404),
        ("/c", 500),
    ]


def test_pipelined_requests_are_joined_with_their_senders_view_one_by_one() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.client.send(get("/a")), wire.client.send(get("/b")))
    world.feed(wire.server.recv(get("/a") + get("/b")))
    world.feed(wire.server.send(reply() + reply()))
    world.feed(wire.client.recv(reply()), wire.client.recv(reply()))
    world.wait(SECOND)
    for path in ("/a", "/b"):
        assert_child(world.server_span(path), world.span(path), "same_host")


def test_only_the_first_of_pipelined_requests_has_a_number_that_children_can_name() -> None:
    """The kernel numbers segments; a child of the second must not go to the first by it."""
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.server.recv(get("/a") + get("/b")))
    uid = wire.server.uid
    world.feed(wire.server.send(reply()))  # /a is over, /b is being served
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    world.feed(wire.server.send(reply()))
    world.wait(SECOND)
    assert world.span("/out").parent_span_id == b""
    assert world.counts["no_parent.parent_was_over"] == 1


def test_a_continue_is_no_answer() -> None:
    world = World()
    wire = world.wire(1, 2)
    head = post("/up", b"payload", "Expect: 100-continue")[:-7]
    world.feed(wire.server.recv(head))
    world.feed(wire.server.send(b"HTTP/1.1 100 Continue\r\n\r\n"))
    world.feed(wire.server.recv(b"payload"))
    world.feed(wire.server.send(reply(201)))
    world.wait(SECOND)
    [x] = world.out
    assert (status(x), x.request_size, x.error) == (201, len(head) + 7, None)


def test_the_byte_that_a_background_read_took_belongs_to_the_request() -> None:
    """Go's server reads one byte ahead, in another goroutine, while a handler runs."""
    world = World()
    wire, outbound = world.wire(1, 2), world.wire(2, 3)
    data = get("/next")
    sent = wire.client.send(data)
    wire.server.goid = 31
    first = wire.server.recv(data[:1])
    wire.server.goid = 30
    rest = wire.server.recv(data[1:], begins=layout.REQUEST)
    world.feed(sent, first, rest)
    world.call(
        outbound,
        "/out",
        rule=layout.RULE_GOROUTINE,
        parent_uid=wire.server.uid,
        flags=layout.FLAG_GO,
    )
    world.answered(wire)
    world.feed(wire.client.recv(reply()))
    world.wait(SECOND)
    server = world.server_span("/next")
    assert server.start == first.ts
    assert_child(server, world.span("/next"), "same_host")
    assert_child(world.span("/out"), server, "goroutine")


def test_the_byte_is_kept_while_the_protocol_is_not_known() -> None:
    """On a connection whose first bytes come one by one."""
    world = World()
    wire = world.wire(1, 2)
    data = get("/slow")
    world.feed(*(wire.server.recv(data[at : at + 1], protocol=0) for at in range(7)))
    world.feed(wire.server.recv(data[7:], begins=layout.REQUEST))
    world.answered(wire)
    world.wait(SECOND)
    assert status(world.server_span("/slow")) == 200


def test_bytes_that_were_never_understood_are_counted() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.server.recv(b"G", protocol=0), wire.server.tell(layout.CLOSE))
    assert world.counts["segments_never_understood"] == 1


@pytest.mark.parametrize(
    ("kind", "members", "error"),
    [
        (layout.CLOSE, {}, "connection_closed"),
        (layout.ERROR, {"length": 104}, "connection_reset"),
        (layout.ERROR, {"length": 110}, "timeout"),
        (layout.ERROR, {"length": 9999}, "socket_error"),
        (layout.EXIT, {}, "connection_closed"),
        (layout.EOF, {"direction": INGRESS}, "connection_closed"),
    ],
    ids=["close", "reset", "timeout", "other error", "exit", "end of stream"],
)
def test_a_request_without_an_answer_ends_with_the_connection(
    kind: int, members: dict[str, int], error: str
) -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.client.send(get("/x")))
    last = wire.client.tell(kind, **members)
    world.feed(last)
    world.wait(SECOND)
    x = world.span("/x")
    assert (x.response, x.error, x.end) == (None, error, last.ts)
    world.feed(wire.client.tell(layout.CLOSE))
    assert len(world.out) == 1


def test_who_has_asked_and_closes_his_half_may_still_be_answered() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.client.send(get("/x")), wire.server.recv(get("/x")))
    world.feed(
        wire.client.tell(layout.EOF, direction=EGRESS),
        wire.server.tell(layout.EOF, direction=INGRESS),
    )
    world.feed(wire.server.send(reply()), wire.client.recv(reply()))
    world.wait(SECOND)
    assert [status(x) for x in world.out] == [200, 200]
    assert {x.error for x in world.out} == {None}


def test_a_response_until_the_end_of_the_connection_is_whole() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.client.send(get("/x")))
    world.feed(wire.client.recv(b"HTTP/1.0 200 OK\r\n\r\nall of"), wire.client.recv(b" it"))
    world.feed(wire.client.tell(layout.EOF))
    world.wait(SECOND)
    x = world.span("/x")
    assert (status(x), x.error) == (200, None)
    assert x.response_size == len(b"HTTP/1.0 200 OK\r\n\r\nall of it")


def test_a_reset_in_the_middle_of_a_response_is_its_error() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.client.send(get("/x")))
    world.feed(wire.client.recv(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npart"))
    world.feed(wire.client.tell(layout.ERROR, length=104))
    world.wait(SECOND)
    assert (status(world.span("/x")), world.span("/x").error) == (200, "connection_reset")


def test_a_response_whose_request_was_before_our_time_is_counted() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.client.recv(reply()))
    world.feed(wire.client.send(get("/x")), wire.client.recv(reply(202)))
    world.wait(SECOND)
    assert world.counts["responses_without_request"] == 1
    assert status(world.span("/x")) == 202


def test_a_send_that_was_put_right_too_late_loses_no_later_message() -> None:
    world = World()
    wire = world.wire(1, 2)
    half = wire.client.send(post("/half", b"0123456789"))
    world.feed(half)
    world.feed(wire.client.tell(layout.CORRECTION, EGRESS, length=half.length - 5, ref_ts=half.ts))
    world.feed(wire.client.send(b"56789", begins=layout.NOTHING))
    world.feed(wire.client.recv(reply(200)))
    world.feed(wire.client.send(get("/next")), wire.client.recv(reply(204, b"")))
    world.wait(SECOND)
    assert status(world.span("/next")) == 204
    assert status(world.span("/half")) == 200
    assert world.counts["late_corrections"] == 1


def test_segments_after_the_end_are_counted() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.client.send(get("/x")), wire.client.tell(layout.ERROR, length=104))
    world.feed(wire.client.recv(reply()))
    assert world.counts["segments_after_end"] == 1


def test_a_protocol_that_is_not_known_here_is_counted() -> None:
    world = World()
    world.feed(world.wire(1, 2).client.send(b"\x16\x03\x01", protocol=200))
    assert world.counts["segments_of_unknown_protocol"] == 1


def test_a_lost_response_does_not_shift_the_later_ones() -> None:
    """The records of /a's response were lost with their burst."""
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.client.send(get("/a")))
    wire.client.recv(reply(500))  # happened, and was lost
    world.feed(wire.client.send(get("/b")), wire.client.recv(reply(201)))
    world.feed(wire.client.send(get("/c")), wire.client.recv(reply(202)))
    world.feed(wire.client.tell(layout.CLOSE))
    world.wait(SECOND)
    statuses = {x.request.target: x.response and status(x) for x in world.out}
    assert statuses == {"/a": None, "/b": 201, "/c": 202}


def test_a_fault_of_http_s_parser_ends_its_conversation_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    feed = Http1Parser.feed

    def fails(self: Any, direction: int, data: bytes, *more: Any) -> Any:
        if b"poison" in data:
            raise ValueError("a fault")
        return feed(self, direction, data, *more)

    monkeypatch.setattr(Http1Parser, "feed", fails)
    wire, other = world.wire(1, 2), world.wire(1, 2)
    world.call(wire, "/before")
    world.call(wire, "/poison")
    world.call(other, "/after")
    world.wait(SECOND)
    assert world.counts["parsers_failed"] == 1
    assert "the http parser failed" in caplog.text
    assert [x.request.target for x in world.out if x.response] == ["/before", "/after"]
