"""Rule 6 in Node: a request belongs to the exchange whose response is written in its frame,
where frames have been seen to be right."""

from __future__ import annotations

import pytest

from otel_ebpf.correlation import frames
from otel_ebpf.events import layout
from tests.unit.correlation.world import (
    MS,
    SECOND,
    Wire,
    World,
    assert_child,
    assert_root,
    get,
    reply,
)


class Node(World):
    """Process 2 is Node and serves on two connections; it calls process 3."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = self.wire(1, 2), self.wire(1, 2)
        self.count = 0
        self.calls: list[Wire] = []

    def ask(self, path: str, frame: int, cause: int = 0) -> Wire:
        """A call in ``frame``, on a connection of its own, after message ``cause`` was read."""
        wire = self.wire(2, 3)
        flags = layout.FLAG_TURN | layout.FLAG_OPENED
        self.feed(
            wire.client.send(
                get(path), flags=flags, caller_uid=cause, caller_goid=1, context_uid=frame
            )
        )
        self.feed(wire.server.recv(get(path)), wire.server.send(reply()))
        self.feed(wire.client.recv(reply()))
        return wire

    def begin(self, path: str, frame: int) -> Wire:
        """A call in ``frame`` that is not answered yet."""
        wire = self.wire(2, 3)
        flags = layout.FLAG_TURN | layout.FLAG_OPENED
        sent = wire.client.send(get(path), flags=flags, caller_goid=1, context_uid=frame)
        self.feed(sent, wire.server.recv(get(path)))
        return wire

    def answer(self, wire: Wire, frame: int, cause: int = 0) -> None:
        flags = layout.FLAG_TURN
        self.feed(
            wire.server.send(
                reply(), flags=flags, caller_uid=cause, caller_goid=1, context_uid=frame
            )
        )

    def both(self, right: bool = True) -> None:
        """Two requests at once; each makes a call, and its answer follows from that call. The
        second one's frame is not told where the first is not ``right``."""
        self.count += 1
        n = self.count
        one, two = 16 * n, 16 * n + 8
        self.asked(self.first, f"/a{n}")
        self.asked(self.second, f"/b{n}")
        of_a = self.ask(f"/of-a{n}", one if right else two)
        of_b = self.ask(f"/of-b{n}", two if right else one)
        self.answer(self.second, two, of_b.client.uid)
        self.answer(self.first, one, of_a.client.uid)
        self.wait(5 * MS)

    def late(self) -> tuple[str, str]:
        """The same, but nothing else tells whose the calls are; paths of a call and its cause."""
        self.count += 1
        n = self.count
        self.asked(self.first, f"/a{n}")
        self.asked(self.second, f"/b{n}")
        self.ask(f"/of-a{n}", 16 * n)
        self.ask(f"/of-b{n}", 16 * n + 8)
        self.answer(self.second, 16 * n + 8)
        self.answer(self.first, 16 * n)
        self.wait(SECOND)
        return f"/of-a{n}", f"/a{n}"


def test_frames_are_believed_when_they_were_right_often_enough() -> None:
    world = Node()
    early = world.late()
    for _ in range(frames.ENOUGH):
        world.both()
    for call, cause in (early, world.late()):  # the first one waited for the verdict
        assert_child(world.span(call), world.server_span(cause), frames.RULE)


def test_a_frame_that_moves_names_what_was_written_in_it_by_what_turns_tell() -> None:
    world = Node()
    for _ in range(frames.ENOUGH):
        world.both()
    world.asked(world.first, "/a")
    world.asked(world.second, "/b")
    world.ask("/early", 0x8000)
    last = world.ask("/last", 0x8000)
    world.answer(world.second, 0x8008)
    world.answer(world.first, 0x9000, last.client.uid)  # the frame has moved meanwhile
    world.wait(SECOND)
    assert_child(world.span("/early"), world.server_span("/a"), frames.RULE)


@pytest.mark.parametrize("after", [5, frames.ENOUGH])
def test_one_request_in_anothers_frame_and_they_are_not(after: int) -> None:
    world = Node()
    for n in range(frames.ENOUGH + 5):
        world.both(right=n != after)
    call, _ = world.late()
    assert_root(world.span(call))


@pytest.mark.parametrize(("before", "claimed"), [(0x8000, False), (0x8008, True)])
def test_a_call_in_the_frame_of_the_one_it_follows_from_may_be_anybodys(
    before: int, claimed: bool
) -> None:
    world = Node()
    for _ in range(frames.ENOUGH):
        world.both()
    world.asked(world.first, "/a")
    world.asked(world.second, "/b")
    done = world.ask("/done", before)
    # A queue that does not care begins it in the frame of the call that has made room.
    world.ask("/next", 0x8000, done.client.uid)
    world.answer(world.first, 0x8000)
    world.answer(world.second, 0x8010)
    world.wait(SECOND)
    if claimed:
        assert_child(world.span("/next"), world.server_span("/a"), frames.RULE)
    else:
        assert_root(world.span("/next"))


def test_a_call_that_outlives_the_exchange_of_its_frame_may_be_anothers() -> None:
    world = Node()
    for _ in range(frames.ENOUGH):
        world.both()
    world.asked(world.first, "/a")
    world.asked(world.second, "/b")
    wire = world.begin("/late", 0x8000)
    world.answer(world.first, 0x8000)
    world.feed(wire.server.send(reply()))
    world.feed(wire.client.recv(reply()))
    world.answer(world.second, 0x8008)
    world.wait(SECOND)
    assert_root(world.span("/late"))
