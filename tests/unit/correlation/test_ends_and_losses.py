"""Exchanges whose end shows late, and those whose records were lost."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.correlation.correlator import QUIET
from otel_ebpf.correlation.model import SERVER
from otel_ebpf.events import layout
from otel_ebpf.protocols.base import EGRESS
from tests.unit.correlation.world import MS, SECOND, Side, World, get, reply

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n" + b"x" * 100
REMOTE: dict[str, Any] = {
    "client_address": bytes((10, 0, 0, 9)),
    "server_address": bytes((10, 0, 0, 1)),
}


def lose(side: Side, length: int) -> None:
    """Bytes were sent and their record never came."""
    side.moved[EGRESS] += length


def outcome(world: World) -> list[tuple[str, int, str | None]]:
    """Target, status (0: none) and error of every exchange that left, in order."""
    return [(x.request.target, x.response.status if x.response else 0, x.error) for x in world.out]


def test_a_last_chunk_outside_the_capture_lets_the_span_leave_at_once() -> None:
    world = World()
    server = world.wire(**REMOTE).server
    world.feed(server.recv(get("/a")), server.send(CHUNKED))
    [x] = world.feed(server.send(length=70_000, tail=b"\r\n0\r\n\r\n".rjust(8), tail_len=8))
    assert x.end == world.now
    assert x.response_size == len(CHUNKED) + 70_000


def test_a_message_without_a_visible_end_leaves_when_the_connection_is_quiet() -> None:
    world = World()
    server = world.wire(**REMOTE).server
    world.feed(server.recv(get("/a")), server.send(CHUNKED), server.send(length=70_000))
    end = world.now
    assert world.wait(QUIET - 50 * MS) == []
    world.wait(QUIET + 50 * MS)
    assert outcome(world) == [("/a", 200, None)]
    assert world.out[0].end == end
    world.feed(server.send(length=5000))
    assert world.correlator.stats()["desyncs"] == 1


def test_a_message_that_goes_on_is_not_ended_by_the_clock() -> None:
    world = World()
    server = world.wire(**REMOTE).server
    world.feed(server.recv(get("/a")), server.send(CHUNKED))
    for _ in range(20):
        world.feed(server.send(length=70_000))
        assert world.wait(QUIET // 2) == []
    world.wait(2 * QUIET)
    assert world.out[0].response_size == len(CHUNKED) + 20 * 70_000


def test_a_quiet_event_stream_stays_open_between_two_events() -> None:
    world = World()
    server = world.wire(**REMOTE).server
    world.feed(server.recv(get("/events")), server.send(CHUNKED))
    for _ in range(5):
        world.feed(server.send(length=20_000, tail=b"ata: 1\n\n\r\n"[-8:], tail_len=8))
        assert world.wait(30 * SECOND) == []
    [x] = world.feed(server.send(length=5, tail=b"0\r\n\r\n", tail_len=5))
    assert x.end == world.now


@pytest.mark.parametrize("first", [True, False])
def test_a_lost_response_is_told_and_the_next_one_goes_to_its_own_request(first: bool) -> None:
    world = World()
    server = world.wire(**REMOTE).server
    if not first:
        world.feed(server.recv(get("/0")), server.send(reply()))
    world.feed(server.recv(get("/a")))
    lose(server, len(reply()))
    world.feed(server.recv(get("/b")), server.send(reply(201)))
    world.feed(server.recv(get("/c")), server.send(reply(202)))
    assert outcome(world)[not first :] == [
        ("/a", 0, "response_lost"),
        ("/b", 201, None),
        ("/c", 202, None),
    ]
    assert world.counts["gaps"]


def test_pipelined_requests_are_no_loss() -> None:
    world = World()
    server = world.wire(**REMOTE).server
    later = {"begins": layout.NOTHING}  # the kernel judges where the connection turns
    world.feed(server.recv(get("/a")), server.recv(get("/b"), **later))
    world.feed(server.send(reply(200)), server.send(reply(201), **later))
    assert outcome(world) == [("/a", 200, None), ("/b", 201, None)]
    assert "gaps" not in world.counts


@pytest.mark.parametrize("kind", ["server", "client"])
@pytest.mark.parametrize("first", [True, False])
def test_a_response_whose_request_was_lost_is_given_to_nobody(kind: str, first: bool) -> None:
    world = World()
    wire = world.wire(**REMOTE)
    side = wire.server if kind == "server" else wire.client
    ask, answer = (side.recv, side.send) if kind == "server" else (side.send, side.recv)
    if not first:
        world.feed(ask(get("/0")), answer(reply()))
    world.feed(ask(get("/a")))
    answer(reply())  # lost, and so is
    ask(get("/lost"))  # the next request
    world.feed(answer(reply(201)))
    world.feed(ask(get("/c")), answer(reply(202)))
    world.wait(SECOND)
    assert outcome(world)[not first :] == [("/a", 0, "response_lost"), ("/c", 202, None)]
    assert world.counts["responses_without_request"] == 1


def test_a_gap_inside_a_body_of_known_length_changes_nothing() -> None:
    world = World()
    server = world.wire(**REMOTE).server
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"
    world.feed(server.recv(get("/a")), server.send(head))
    lose(server, 60_000)
    world.feed(server.send(length=30_000))
    world.feed(server.recv(get("/b")), server.send(reply(201)))
    assert outcome(world) == [("/a", 200, None), ("/b", 201, None)]
    assert world.out[0].response_size == len(head) + 90_000
    assert world.correlator.stats()["desyncs"] == 0


def test_a_send_that_moved_less_than_told_is_no_loss_of_what_follows() -> None:
    world = World()
    server = world.wire(**REMOTE).server
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"
    world.feed(server.recv(get("/a")), server.send(head))
    send = server.send(length=90_000)
    world.feed(send)
    assert world.out[-1].kind == SERVER
    world.feed(server.tell(layout.CORRECTION, EGRESS, length=40_000, ref_ts=send.ts))
    server.moved[EGRESS] -= 50_000
    world.feed(server.send(length=50_000))
    world.feed(server.recv(get("/b")), server.send(reply(201)))
    assert outcome(world) == [("/a", 200, None), ("/b", 201, None)]
    assert "bytes_not_seen" not in world.counts
