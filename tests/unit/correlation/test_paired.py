"""Protocols whose parser pairs, through the correlator: ends, losses, joins, internal calls."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.correlation.correlator import Correlator
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.model import CLIENT, SERVER
from otel_ebpf.events import layout
from otel_ebpf.protocols.redis import RedisParser
from tests.unit.correlation.world import MS, SECOND, Side, World, assert_child, assert_root
from tests.unit.protocols.test_redis import OK, bulk, command

REDIS = 80


class Calls(World):
    """A client and a server of Redis on one host."""

    def __init__(self, chatter: bool = False) -> None:
        super().__init__()
        self.correlator = Correlator(Ids(7), chatter)
        self.pipe = self.wire(1, 2)

    def say(self, side: Side, direction: int, data: bytes, **members: Any) -> None:
        asks = (side is self.pipe.client) == (direction == layout.EGRESS)
        members.setdefault("begins", layout.REQUEST if asks else layout.RESPONSE)
        members.setdefault("protocol", REDIS)
        move = side.send if direction == layout.EGRESS else side.recv
        self.feed(move(data, **members))

    def ask(self, data: bytes, **members: Any) -> None:
        self.say(self.pipe.client, layout.EGRESS, data, **members)
        self.say(self.pipe.server, layout.INGRESS, data, **members)

    def answer(self, data: bytes) -> None:
        self.say(self.pipe.server, layout.EGRESS, data)
        self.say(self.pipe.client, layout.INGRESS, data)

    def ends(self, kind: int) -> list[tuple[str, str | None]]:
        """Text and error of each call that left."""
        return [
            (x.request.text, x.error or (x.response.error or "ok" if x.response else None))
            for x in self.out
            if x.kind == kind
        ]


def test_every_call_of_a_pipeline_is_joined_with_the_servers_view_of_it() -> None:
    world = Calls()
    world.ask(command("SET", "a", "1") + command("GET", "a") + command("GET", "b"))
    world.answer(OK + bulk(b"1") + b"-MOVED 1 x\r\n")
    world.wait(SECOND)
    expected = [("SET a ?", "ok"), ("GET a", "ok"), ("GET b", "MOVED")]
    assert world.ends(CLIENT) == world.ends(SERVER) == expected
    for text, _ in expected:
        client, server = sorted(
            (x for x in world.out if x.request.text == text), key=lambda x: -x.kind
        )
        assert_root(client)
        assert_child(server, client, "same_host")


def test_calls_of_a_request_are_its_children_wherever_in_the_segment_they_are() -> None:
    world = Calls()
    inbound = world.wire(9, 1)
    uid = world.asked(inbound, "/cart")
    data = command("GET", "a") + command("GET", "b")
    cause = {"parent_uid": uid, "rule": layout.RULE_THREAD}
    world.say(world.pipe.client, layout.EGRESS, data, **cause)
    world.say(world.pipe.client, layout.INGRESS, OK * 2)
    world.answered(inbound)
    world.wait(SECOND)
    (cart,) = [x for x in world.out if x.kind == SERVER]
    calls = [x for x in world.out if x.kind == CLIENT]
    assert [x.request.text for x in calls] == ["GET a", "GET b"]
    for call in calls:
        assert_child(call, cart, "thread")


@pytest.mark.parametrize("chatter", [False, True])
def test_internal_calls_are_left_out_and_counted_unless_they_are_wanted_or_fail(
    chatter: bool,
) -> None:
    world = Calls(chatter)
    for words, answer in (
        (["CLIENT", "SETINFO", "x", "y"], b"-ERR unknown\r\n"),
        (["AUTH", "x"], OK),
        (["AUTH", "y"], b"-WRONGPASS no\r\n"),
        (["GET", "k"], OK),
    ):
        world.ask(command(*words))
        world.answer(answer)
    world.wait(SECOND)
    told = [("CLIENT SETINFO ? ?", "ERR"), ("AUTH ?", "ok")] if chatter else []
    assert world.ends(CLIENT) == [*told, ("AUTH ?", "WRONGPASS"), ("GET k", "ok")]
    assert world.counts.get("internal_calls_left_out", 0) == (0 if chatter else 4)
    assert world.correlator.stats()["connections"] == 2


def test_a_call_that_is_open_when_the_connection_ends_says_so() -> None:
    world = Calls()
    world.ask(command("BLPOP", "q", "0"))
    world.feed(world.pipe.client.tell(layout.ERROR, length=104))
    world.feed(world.pipe.server.tell(layout.CLOSE))
    world.wait(SECOND)
    assert world.ends(CLIENT) == [("BLPOP q ?", "connection_reset")]
    assert world.ends(SERVER) == [("BLPOP q ?", "connection_closed")]


def test_a_command_without_a_reply_leaves_at_once() -> None:
    world = Calls()
    world.ask(command("CLIENT", "REPLY", "OFF") + command("SET", "k", "v"))
    world.wait(SECOND)
    assert world.ends(CLIENT) == world.ends(SERVER) == [("SET k ?", None)]


def test_bytes_that_no_record_told_of_are_passed_over_by_their_number() -> None:
    world = Calls()
    value = command("SET", "k", "v" * 5000)
    world.say(world.pipe.client, layout.EGRESS, value[:1000], length=1000)
    world.pipe.client.moved[layout.EGRESS] += 3000  # of which nothing was told
    world.say(world.pipe.client, layout.EGRESS, value[4000:], begins=layout.NOTHING)
    world.say(world.pipe.client, layout.INGRESS, OK)
    world.wait(SECOND)
    assert world.ends(CLIENT) == [("SET k ?", "ok")]
    assert world.counts["bytes_not_seen"] == 3000


def test_what_is_not_told_on_a_connection_that_was_joined_midway_is_counted() -> None:
    world = Calls()

    def turn(text: str) -> None:
        world.say(world.pipe.client, layout.EGRESS, command("GET", text), flags=0)
        world.say(world.pipe.client, layout.INGRESS, OK)

    for number in range(3):
        turn(f"busy{number}")
    assert world.counts["segments_out_of_step"] == 6
    for number in range(3):
        world.wait(SECOND)
        turn(f"quiet{number}")
    world.wait(SECOND)
    # The first after a silence is the trial, the next one is in step.
    assert world.ends(CLIENT) == [("GET quiet1", "ok"), ("GET quiet2", "ok")]
    assert world.counts["segments_out_of_step"] == 8


def test_a_first_command_in_pieces_waits_for_its_protocol() -> None:
    world = Calls()
    asked = command("GET", "k")
    world.say(world.pipe.client, layout.EGRESS, asked[:3], begins=layout.MAYBE, protocol=0, flags=0)
    world.say(world.pipe.client, layout.EGRESS, asked[3:])
    world.say(world.pipe.client, layout.INGRESS, OK)
    world.wait(SECOND)
    assert world.ends(CLIENT) == [("GET k", "ok")]


def test_a_parser_that_fails_ends_its_conversation_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = Calls()
    feed = RedisParser.feed

    def fails(self: Any, direction: int, data: bytes, *more: Any) -> Any:
        if b"poison" in data:
            raise ValueError("a fault")
        return feed(self, direction, data, *more)

    monkeypatch.setattr(RedisParser, "feed", fails)
    world.ask(command("GET", "k"))
    world.ask(command("GET", "poison"))
    world.answer(OK)
    assert world.counts["parsers_failed"] == 2
    assert "redis" in caplog.text
    world.pipe = world.wire(1, 2)
    world.ask(command("GET", "other"))
    world.answer(OK)
    world.wait(SECOND + 200 * MS)
    assert world.ends(CLIENT) == [("GET k", "response_lost"), ("GET other", "ok")]


def test_a_lost_first_reply_gives_no_call_anothers() -> None:
    world = Calls()
    world.ask(command("GET", "a"))
    for side, direction in (
        (world.pipe.server, layout.EGRESS),
        (world.pipe.client, layout.INGRESS),
    ):
        side.moved[direction] += len(bulk(b"1"))  # recorded, and lost with its burst
    for key, value in (("b", b"2"), ("c", b"3")):
        world.ask(command("GET", key))
        world.answer(bulk(value))
    world.wait(SECOND)
    lost = [("GET a", "response_lost"), ("GET b", "response_lost")]
    assert world.ends(CLIENT) == world.ends(SERVER) == lost
    assert world.counts["gaps"] == 2
