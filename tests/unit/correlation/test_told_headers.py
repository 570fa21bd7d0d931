"""Frames wait for what the program itself tells of their header blocks, and not for ever."""

from __future__ import annotations

import struct

from otel_ebpf.correlation.model import SERVER as SERVER_SPAN
from otel_ebpf.correlation.streams import FRUITLESS, HOLD
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Record
from tests.unit.correlation.test_streams import Talk
from tests.unit.correlation.world import SECOND, status
from tests.unit.protocols.http2_wire import asks

TOLD = 4 << 16


def block(talk: Talk, stream: int, fields: list[tuple[str, str]]) -> Record:
    data = b"".join(struct.pack("<HH", len(n), len(v)) + n.encode() + v.encode() for n, v in fields)
    record = talk.server.side.tell(layout.HEADERS, length=stream)
    record.data = data
    return record


def flagged(records: list[Record]) -> list[Record]:
    """As the kernel half marks what a server reads whose headers are told."""
    for record in records:
        if record.direction == layout.INGRESS:
            record.ref_ts |= TOLD
    return records


def joined_midway() -> tuple[Talk, int]:
    """A stream whose path is an entry of a table that was not seen."""
    talk = Talk()
    talk.wire.answer(talk.wire.ask(asks("/often")))
    talk.records()
    return talk, talk.wire.ask(asks("/often"))


def test_a_request_waits_for_its_fields() -> None:
    talk, stream = joined_midway()
    talk.feed(flagged(talk.records()[1]))
    assert talk.world.counts.get("requests", 0) == 0
    talk.feed([block(talk, stream, [*asks("/often")])])
    assert talk.world.counts["requests"] == 1
    talk.wire.answer(stream)
    talk.feed(flagged(talk.records()[1]))
    talk.world.wait(SECOND)
    served = talk.span("/often", SERVER_SPAN)
    assert status(served) == 200
    assert talk.world.counts["header_blocks_told"] == 1


def test_what_is_told_before_its_frame_waits_for_it() -> None:
    talk, stream = joined_midway()
    records = flagged(talk.records()[1])
    talk.feed([block(talk, stream, [*asks("/often")])])
    talk.feed(records)
    assert talk.world.counts["requests"] == 1
    talk.wire.answer(stream)
    talk.feed(flagged(talk.records()[1]))
    talk.world.wait(SECOND)
    talk.span("/often", SERVER_SPAN)


def test_frames_whose_fields_nobody_tells_are_read_as_they_are() -> None:
    talk = Talk()
    for number in range(FRUITLESS):
        stream = talk.wire.ask(asks(f"/{number}"))
        talk.feed(flagged(talk.records()[1]))
        assert talk.world.counts.get("requests", 0) == number
        talk.world.wait(HOLD + 1)
        assert talk.world.counts["requests"] == number + 1
        talk.wire.answer(stream)
        talk.feed(flagged(talk.records()[1]))
    # After so many waits in vain there is none any more.
    talk.wire.answer(talk.wire.ask(asks("/last")))
    talk.feed(flagged(talk.records()[1]))
    assert talk.world.counts["requests"] == FRUITLESS + 1
    talk.world.wait(SECOND)
    talk.span("/last", SERVER_SPAN)
    assert talk.world.counts["header_blocks_waited_for_in_vain"] == FRUITLESS


def test_a_connection_that_closes_leaves_nothing_waiting() -> None:
    talk = Talk()
    talk.wire.answer(talk.wire.ask(asks("/a")))
    talk.feed(flagged(talk.records()[1]))
    talk.feed([talk.server.side.tell(layout.CLOSE)])
    talk.world.wait(SECOND)
    assert status(talk.span("/a", SERVER_SPAN)) == 200


def test_the_end_of_the_data_leaves_nothing_waiting() -> None:
    talk = Talk()
    talk.wire.answer(talk.wire.ask(asks("/a")))
    talk.feed(flagged(talk.records()[1]))
    talk.world.end()
    assert status(talk.span("/a", SERVER_SPAN)) == 200


def test_of_several_blocks_in_a_segment_each_goes_on_when_it_is_told() -> None:
    talk = Talk()
    talk.wire.answer(talk.wire.ask(asks("/a")))
    talk.records()
    streams = [talk.wire.ask(asks("/a")), talk.wire.ask(asks("/a", "POST"), b"body")]
    together = b"".join(data for _, data in talk.wire.turns[-2:])
    talk.wire.turns[-2:] = [(talk.wire.turns[-1][0], together)]
    [record] = flagged(talk.records()[1])
    talk.feed([record])
    for number, (stream, method) in enumerate(zip(streams, ("GET", "POST"), strict=True)):
        assert talk.world.counts.get("requests", 0) == number
        talk.feed([block(talk, stream, [*asks("/a", method)])])
    assert talk.world.counts["requests"] == 2
    for stream in streams:
        talk.wire.answer(stream)
    talk.feed(flagged(talk.records()[1]))
    talk.world.wait(SECOND)
    assert sorted(x.request.method for x in talk.world.out) == ["GET", "POST"]
    assert {status(x) for x in talk.world.out} == {200}
    assert talk.world.counts["header_blocks_told"] == 2
    assert talk.world.counts["gaps"] == 2, "each direction was joined midway, once"
