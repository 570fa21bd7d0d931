"""Random and hostile HTTP/2: nothing raises, memory stays small, cuts change no message."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.hpack_table import MAX_SIZE, Table
from otel_ebpf.protocols.http2 import MAX_BLOCK, Http2Parser
from otel_ebpf.protocols.http2_frames import PREFACE
from otel_ebpf.protocols.http2_streams import MAX_STREAMS
from otel_ebpf.protocols.http2_told import read_block
from tests.unit.protocols.http2_wire import CLIENT, Ear, Talk, Wire, asks, frame

SLOW = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)

BLOCKS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            Talk().block(0, asks("/x")),
            Talk().block(1, [(":status", "200")]),
            b"\xff\xff\xff\xff\x7f",
        ]
    ),
)
FRAMES = st.builds(
    frame,
    st.one_of(st.integers(0, 9), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]), st.integers(0, 255)),
    st.one_of(st.integers(0, 9), st.integers(0, 2**31 - 1)),
    BLOCKS,
)
BYTES = st.one_of(
    st.binary(max_size=80),
    st.lists(FRAMES, max_size=6).map(b"".join),
    st.just(PREFACE),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(0, 1), BYTES, st.sampled_from([0, 0, 1, 500])),
        st.tuples(st.just("frames"), st.integers(0, 1), BYTES, st.integers(0, 90)),
        st.tuples(st.just("tell"), st.integers(0, 1), st.binary(max_size=40), st.integers(0, 90)),
        st.tuples(
            st.sampled_from(["gap", "settle", "begin"]), st.integers(0, 1), st.just(b""), st.just(0)
        ),
    ),
    max_size=25,
)


@SLOW
@given(STEPS, st.booleans())
def test_nothing_raises_and_memory_stays_small(steps: list[Any], close: bool) -> None:
    parser = Http2Parser()
    for clock, (what, direction, data, more) in enumerate(steps):
        if what == "feed":
            parser.feed(direction, data, len(data) + more, clock, clock, object())
        elif what == "tell":
            parser.tell(direction, more % 10, read_block(data, more, clock, more))
        elif what == "frames":
            parser.untold(direction, data, more, clock)
            parser.frames(direction, data, more, bool(more & 1), clock, 500, clock, clock, object())
        elif what == "gap":
            parser.gap(direction, clock)
        elif what == "settle":
            parser.settle(clock)
        else:
            parser.begin(direction)
        assert len(parser._streams) <= MAX_STREAMS
        for half in parser._halves:
            assert half.table._size <= MAX_SIZE
            assert half.block is None or len(half.block.block) <= MAX_BLOCK + 1
    if close:
        assert all(message.complete for message in parser.close(99, None))
        assert not parser._streams


def conversation(random: Random) -> Wire:
    """What two ends of ``h2`` say to each other."""

    def headers() -> list[tuple[str, str]]:
        return [
            (
                "x-" + random.choice("abc"),
                random.choice(["1", "é~", "v" * 30, str(random.random())]),
            )
            for _ in range(random.randrange(4))
        ]

    wire = Wire()
    waiting: list[int] = []
    for _ in range(random.randint(1, 8)):
        path, method = "/" + random.choice("abcdef"), random.choice(["GET", "POST", "PATCH"])
        body = bytes(random.randrange(60))
        waiting.append(wire.ask(asks(path, method, *headers()), body))
        while waiting and random.random() < 0.6:
            trailers = [("grpc-status", random.choice("05"))] if random.random() < 0.5 else []
            number = waiting.pop(random.randrange(len(waiting)))
            status = random.choice([200, 204, 418, 503])
            wire.answer(number, status, bytes(random.randrange(200)), headers(), trailers)
    return wire


SEEDS = st.integers(0, 2**32).map(Random)


@SLOW
@given(SEEDS, st.booleans())
def test_cuts_into_segments_change_nothing(random: Random, walked: bool) -> None:
    wire = conversation(random)
    whole, cut = Ear(), Ear(walked)
    whole.play(wire.turns)
    for direction, said in wire.turns:
        at = 0
        while at < len(said):
            # The preface is known by its first 14 bytes.
            size = random.randint(14 if at == 0 else 1, 60)
            cut.hear(direction, said[at : at + size])
            at += size
    assert cut.told() == whole.told()
    assert cut.parser.desyncs == whole.parser.desyncs == 0
    assert [m.head.block.fields for m in sorted(cut.messages, key=_key)] == [
        m.head.block.fields for m in sorted(whole.messages, key=_key)
    ]


@SLOW
@given(SEEDS, st.booleans())
def test_joined_anywhere_nothing_is_wrong(random: Random, walked: bool) -> None:
    """Every field that is told after joining midway is what was sent; each stream once."""
    wire = conversation(random)
    whole, late = Ear(), Ear(walked)
    whole.play(wire.turns)
    late.play(wire.turns[random.randint(0, len(wire.turns)) :])
    assert len({_key(m) for m in late.messages}) == len(late.messages)
    nothing_wrong(late, whole)


@SLOW
@given(SEEDS)
@example(Random(3677))  # a header of which the beginning was captured alone
def test_what_was_not_captured_is_unknown_and_never_wrong(random: Random) -> None:
    wire = conversation(random)
    whole, cut = Ear(), Ear()
    whole.play(wire.turns)
    for direction, said in wire.turns:
        cut.hear(
            direction, said[: random.choice([len(said), len(said), len(said) // 2, 0])], len(said)
        )
    nothing_wrong(cut, whole)


def nothing_wrong(heard: Ear, whole: Ear) -> None:
    """What was heard is part of what was said."""
    true = {_key(m): m for m in whole.messages}
    for message in heard.messages:
        sent = true[_key(message)].head
        trailers = getattr(sent, "trailers", None)
        said = [sent.block, *([trailers] if trailers is not None else [])]
        for name, value in message.head.block.fields.items():
            values = [v for f in said for v in (f.fields.get(name), *(f.more or {}).get(name, ()))]
            assert value in values
        if message.kind == REQUEST and message.head.method:
            assert message.head.method == sent.method


@SLOW
@given(st.lists(st.binary(max_size=120), max_size=8), st.booleans())
def test_the_table_takes_any_block(blocks: list[bytes], whole: bool) -> None:
    table = Table()
    if whole:
        table.begin()
    for block in blocks:
        out: list[Any] = []
        table.decode(block, out)
        assert len(out) <= len(block)
        assert table._size <= MAX_SIZE


def _key(message: Any) -> tuple[int, int]:
    return message.stream, message.kind


def test_a_block_without_an_end_is_kept_only_so_far() -> None:
    parser = Http2Parser()
    start = PREFACE + frame(4, 0, 0) + frame(1, 0, 1, b"\x82")
    parser.feed(CLIENT, start, len(start), 1, 1, object())
    more = frame(9, 0, 1, b"\x40\x01a\x01b" * 3000)
    for _ in range(20):
        parser.feed(CLIENT, more, len(more), 1, 1, object())
    half = parser._halves[CLIENT]
    assert half.block is not None
    assert len(half.block.block) <= MAX_BLOCK + 1
