"""Connections of many streams: exactly one exchange a stream, joined with the other side's."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.correlation.model import CLIENT as CLIENT_SPAN
from otel_ebpf.correlation.model import SERVER as SERVER_SPAN
from otel_ebpf.correlation.model import Exchange
from otel_ebpf.correlation.streams import KEEP_EARLY
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Record
from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.http2_frames import PREFACE, Walk
from otel_ebpf.protocols.http2_streams import LOST_WAIT
from tests.unit.correlation.world import (
    SECOND,
    SPAN,
    TRACE,
    TRACEPARENT,
    Side,
    World,
    assert_child,
    assert_root,
    status,
)
from tests.unit.protocols.http2_wire import CLIENT, Wire, asks

LOST, BEGINS = 1, 2


class View:
    """What the kernel half tells of one end of a connection."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._walks = [Walk(), Walk()]
        self._serials = [0, 0]

    def records(self, turns: list[tuple[int, bytes]]) -> list[Record]:
        """The records of these segments."""
        client = self.side.role == layout.ROLE_CLIENT
        made = []
        for by, data in turns:
            direction = EGRESS if (by == CLIENT) == client else INGRESS
            flags = 0
            if data.startswith(PREFACE):
                self._walks[direction] = Walk(preface=True)
                self._walks[1 - direction].trust()
                flags = BEGINS
            start = self.side.moved[direction]
            first = 1000 if by == CLIENT else 5_000_000
            walked = self._walks[direction].feed(data, len(data), first + start)
            serial = self._serials[direction]
            if not walked.frames and not walked.tell and not flags:
                self.side.moved[direction] += len(data)
                continue
            self._serials[direction] += 1
            told = serial << 32 | (flags | (LOST if walked.lost else 0)) << 16 | walked.mid
            send = self.side.send if direction == EGRESS else self.side.recv
            made.append(
                send(
                    walked.frames,
                    begins=layout.FRAMES,
                    protocol=21,
                    ref_ts=told,
                    length=len(data),
                    uid=0,
                )
            )
        return made


class Talk:
    """Processes 1 and 2 on one connection, both traced."""

    def __init__(self) -> None:
        self.world, self.wire = World(), Wire()
        wire = self.world.wire(1, 2)
        self.client, self.server = View(wire.client), View(wire.server)
        self._told = 0

    def records(self) -> tuple[list[Record], list[Record]]:
        """The client's and the server's view of what was said since the last call."""
        turns, self._told = self.wire.turns[self._told :], len(self.wire.turns)
        return self.client.records(turns), self.server.records(turns)

    def feed(self, *lists: list[Record]) -> None:
        for records in lists:
            self.world.feed(*records)

    def span(self, path: str, kind: int = CLIENT_SPAN) -> Exchange:
        return self.world.span(path, kind)


@pytest.mark.parametrize("first", ["client", "server"])
def test_both_views_of_a_stream_are_joined_whichever_comes_first(first: str) -> None:
    talk = Talk()
    numbers = [talk.wire.ask(asks(path)) for path in ("/a", "/b", "/c")]
    for number in reversed(numbers):
        talk.wire.answer(number, 200 + number)
    client, server = talk.records()
    talk.feed(*((client, server) if first == "client" else (server, client)))
    talk.world.wait(SECOND)
    for path, code in (("/a", 201), ("/b", 203), ("/c", 205)):
        served = talk.span(path, SERVER_SPAN)
        assert_child(served, talk.span(path), "same_host")
        assert status(served) == status(talk.span(path)) == code
        assert served.protocol == "http"
    assert len(talk.world.out) == 6
    assert "gaps" not in talk.world.counts


def test_a_carried_context_is_read_from_the_fields() -> None:
    talk = Talk()
    name, _, value = TRACEPARENT.partition(": ")
    talk.wire.answer(talk.wire.ask(asks("/x", "GET", (name, value))))
    talk.feed(talk.records()[1])
    talk.world.wait(SECOND)
    served = talk.span("/x", SERVER_SPAN)
    assert (served.trace_id.hex(), served.parent_span_id.hex()) == (TRACE, SPAN)
    assert served.rule == "traceparent"


def test_grpc_is_told_from_http_by_what_is_carried() -> None:
    talk = Talk()
    number = talk.wire.ask(asks("/p.S/M", "POST", ("content-type", "application/grpc+proto")))
    talk.wire.answer(number, 200, b"", trailers=[("grpc-status", "7")])
    talk.feed(talk.records()[1])
    talk.world.wait(SECOND)
    served = talk.span("/p.S/M", SERVER_SPAN)
    assert served.protocol == "grpc"
    assert served.response is not None
    assert served.response.grpc_status == "7"


def test_an_inbound_stream_can_be_named_as_a_parent() -> None:
    talk = Talk()
    number = talk.wire.ask(asks("/in"))
    talk.feed(talk.records()[1])
    uid = layout.stream_uid(talk.server.side.socket_id, number)
    out = talk.world.wire(2, 3)
    talk.world.call(out, "/out", parent_uid=uid, rule=layout.RULE_GOROUTINE, flags=layout.FLAG_GO)
    talk.wire.answer(number)
    talk.feed(talk.records()[1])
    talk.world.wait(SECOND)
    assert_child(talk.span("/out"), talk.span("/in", SERVER_SPAN), "goroutine")


def test_what_a_program_states_of_a_stream_names_its_parent() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.correlator.go_process(2)
    wire, view = Wire(), View(world.wire(2, 3).client)
    stream = wire.ask(asks("/out"))
    world.feed(*view.records(wire.turns))
    world.feed(
        view.side.tell(
            layout.STREAM,
            uid=layout.stream_uid(view.side.socket_id, stream),
            length=stream,
            context_uid=uid,
        )
    )
    done = len(wire.turns)
    wire.answer(stream)
    world.feed(*view.records(wire.turns[done:]))
    world.answered(inbound)
    world.wait(SECOND)
    assert_child(world.span("/out"), world.server_span("/in"), "go.context")


def test_other_programs_streams_have_no_parent_within_the_process() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    wire, view = Wire(), View(world.wire(2, 3).client)
    wire.answer(wire.ask(asks("/out")))
    for record in view.records(wire.turns):
        record.parent_uid, record.rule = uid, layout.RULE_THREAD
        world.feed(record)
    world.answered(inbound)
    world.wait(SECOND)
    assert_root(world.span("/out"))


def test_a_lost_record_gives_no_wrong_pair_and_its_streams_end_with_the_reason() -> None:
    talk = Talk()
    numbers = [talk.wire.ask(asks(path)) for path in ("/a", "/b", "/c")]
    _, asked = talk.records()
    for number, code in zip(numbers, (200, 404, 500), strict=True):
        talk.wire.answer(number, code)
    _, answers = talk.records()
    talk.feed(asked, answers[1:])  # /a's answer was lost
    talk.world.wait(SECOND)
    assert status(talk.span("/b", SERVER_SPAN)) == 404
    assert status(talk.span("/c", SERVER_SPAN)) == 500
    assert talk.world.counts["gaps"] == 1
    for _ in range(4):
        talk.world.wait(LOST_WAIT // 2)
    lost = talk.span("/a", SERVER_SPAN)
    assert (lost.error, lost.response) == ("response_lost", None)
    assert len(talk.world.out) == 3


def test_a_response_told_of_before_its_request_is_paired_all_the_same() -> None:
    talk = Talk()
    number = talk.wire.ask(asks("/x"))
    asked, _ = talk.records()
    talk.wire.answer(number, 201)
    answered, _ = talk.records()
    opening, request = asked[:-1], asked[-1:]
    talk.feed(opening, answered, request)
    talk.world.wait(SECOND)
    assert status(talk.span("/x")) == 201


def test_responses_whose_requests_were_lost_are_counted_while_the_connection_lives() -> None:
    talk = Talk()
    numbers = [talk.wire.ask(asks(path)) for path in ("/a", "/b", "/c")]
    asked, _ = talk.records()
    for number in numbers:
        talk.wire.answer(number)
    talk.feed(asked[:1], talk.records()[0])
    talk.world.wait(SECOND)
    assert "responses_without_request" not in talk.world.counts  # it may still be told of
    number = talk.wire.ask(asks("/d"))
    asked, _ = talk.records()
    talk.wire.answer(number)
    talk.world.now += KEEP_EARLY + SECOND
    talk.feed(talk.records()[0])
    assert talk.world.counts["responses_without_request"] == 3
    talk.world.end()
    assert talk.world.counts["responses_without_request"] == 4


def test_streams_end_with_their_connection() -> None:
    talk = Talk()
    talk.wire.ask(asks("/a"))
    client, _ = talk.records()
    talk.feed(client)
    talk.world.feed(talk.client.side.tell(layout.ERROR, length=104))
    talk.world.wait(SECOND)
    assert talk.span("/a").error == "connection_reset"


def upgraded() -> Talk:
    """A connection that began in HTTP/1 and has just turned to HTTP/2."""
    talk = Talk()
    ask = b"GET /old HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n"
    talk.world.feed(
        talk.server.side.recv(ask, protocol=20),
        talk.server.side.send(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n", protocol=20),
    )
    return talk


def test_a_request_that_asks_for_the_upgrade_is_answered_as_the_first_stream() -> None:
    talk = upgraded()
    first = talk.wire.ask(asks("/as if /old"))
    ask = talk.wire.turns.pop()
    assert ask[0] == CLIENT
    talk.wire.answer(first, 418)
    talk.wire.answer(talk.wire.ask(asks("/new")), 202)
    _, server = talk.records()
    talk.feed(server)
    talk.world.wait(SECOND)
    old, new = talk.span("/old", SERVER_SPAN), talk.span("/new", SERVER_SPAN)
    assert (status(old), status(new)) == (418, 202)
    assert (old.error, len(talk.world.out)) == (None, 2)


def test_after_an_upgrade_the_server_s_table_is_not_taken_for_empty() -> None:
    """Its first answer, to the request that asked for the upgrade, passed unseen."""
    talk = upgraded()
    opening = len(talk.wire.turns)
    first = talk.wire.ask(asks("/unseen"))
    talk.wire.answer(first, 418, fields=[("x-first", "1")])
    assert talk.wire.turns[opening:]
    del talk.wire.turns[opening:]
    _, server = talk.records()
    talk.feed(server)
    talk.wire.answer(talk.wire.ask(asks("/new")), 418, fields=[("x-first", "1")])
    _, server = talk.records()
    talk.feed(server)
    talk.world.wait(SECOND)
    served = next(x for x in talk.world.out if x.request.version == "2")
    assert served.response is not None
    assert served.response.header("x-first") is None
    assert served.response_truncated


def test_a_connection_that_turns_to_http2_is_a_new_conversation() -> None:
    talk = Talk()
    first: dict[str, Any] = {"protocol": 20}
    talk.world.feed(
        talk.server.side.recv(b"GET /old HTTP/1.1\r\n\r\n", **first),
        talk.server.side.send(b"HTTP/1.1 204 X\r\n\r\n", **first),
    )
    talk.wire.answer(talk.wire.ask(asks("/new")), 202)
    _, server = talk.records()
    talk.feed(server)
    talk.world.wait(SECOND)
    assert status(talk.span("/old", SERVER_SPAN)) == 204
    assert status(talk.span("/new", SERVER_SPAN)) == 202
