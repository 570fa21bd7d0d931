"""Records of all CPUs in the order of time, and sends that are put right in passing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import CORRECTION, VOID
from otel_ebpf.events.order import Orderer
from otel_ebpf.protocols.base import EGRESS, INGRESS
from tests.unit.events.records import record


def at(*times: int, **members: Any) -> list[Record]:
    return [record(b"x", ts=time, **members) for time in times]


def times(records: list[Record]) -> list[int]:
    return [r.ts for r in records]


def test_records_of_several_cpus_come_in_the_order_of_time() -> None:
    orderer = Orderer()
    orderer.feed(at(10, 40, 70))
    orderer.feed(at(20, 30, 60))
    assert times(orderer.advance(50)) == [10, 20, 30, 40]
    assert orderer.held == 2
    orderer.feed(at(55))
    assert times(orderer.advance(100)) == [55, 60, 70]
    assert (orderer.late, orderer.held) == (0, 0)


def test_nothing_younger_than_the_watermark_leaves() -> None:
    orderer = Orderer()
    orderer.feed(at(50, 51))
    assert times(orderer.advance(50)) == [50]
    assert times(orderer.flush()) == [51]


def test_what_comes_behind_the_watermark_is_taken_and_counted() -> None:
    orderer = Orderer()
    orderer.feed(at(10))
    orderer.advance(100)
    orderer.feed(at(90, 95, 150))
    assert times(orderer.advance(200)) == [90, 95, 150]
    assert orderer.late == 2


def test_a_watermark_without_records_still_counts() -> None:
    orderer = Orderer()
    orderer.advance(100)
    orderer.feed(at(90))
    orderer.advance(200)
    assert orderer.late == 1


def test_more_than_the_bound_leave_early_oldest_first_and_counted() -> None:
    orderer = Orderer(bound=3)
    orderer.feed(at(50, 10, 40, 20, 30))
    assert times(orderer.advance(0)) == [10, 20]
    assert (orderer.early, orderer.held) == (2, 3)


def send(ts: int, data: bytes = b"0123456789", socket_id: int = 1) -> Record:
    return record(data, ts=ts, direction=EGRESS, socket_id=socket_id)


def correction(ts: int, of: int, length: int, **members: Any) -> Record:
    members = {"direction": EGRESS, "socket_id": 1, **members}
    return record(type=CORRECTION, ts=ts, ref_ts=of, length=length, **members)


def test_a_short_send_is_cut_to_what_moved() -> None:
    orderer = Orderer()
    orderer.feed([send(10), correction(12, 10, 4)])
    [cut] = orderer.flush()
    assert (cut.length, cut.data, cut.data_len) == (4, b"0123", 4)
    assert orderer.corrected == 1


def test_a_correction_just_behind_the_watermark_reaches_its_send() -> None:
    orderer = Orderer()
    orderer.feed([send(10), correction(60, 10, 4)])
    [cut] = orderer.advance(50)
    assert cut.length == 4
    assert orderer.flush() == []


def test_a_send_that_moved_nothing_never_was() -> None:
    for late in (12, 60):
        orderer = Orderer()
        orderer.feed([send(10), correction(late, 10, 0), send(30)])
        assert times(orderer.advance(50) + orderer.flush()) == [30]
    orderer = Orderer()
    orderer.feed([record(b"abc", type=VOID, ts=10), send(30)])
    assert times(orderer.flush()) == [30]
    assert orderer.corrected == 1


def test_a_correction_touches_only_its_own_send() -> None:
    orderer = Orderer()
    mine, other_socket = send(10), send(10, socket_id=2)
    inbound = record(b"0123456789", ts=11, direction=INGRESS, socket_id=1)
    orderer.feed([mine, other_socket, inbound, correction(12, 10, 4)])
    assert [r.length for r in orderer.flush()] == [4, 10, 10]
    orderer.feed([inbound, correction(12, 11, 4)])  # a receive is never put right
    assert [r.type for r in orderer.flush()] == [1, CORRECTION]
    assert inbound.length == 10


def test_a_correction_whose_send_has_left_goes_on_to_the_connection() -> None:
    orderer = Orderer()
    orderer.feed([send(10)])
    orderer.advance(20)
    orderer.feed([correction(30, 10, 4)])
    assert [r.type for r in orderer.flush()] == [CORRECTION]


@given(
    st.lists(st.lists(st.integers(0, 1000), max_size=8), max_size=6),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_nothing_is_lost_doubled_or_out_of_order(bursts: list[list[int]], marks: list[int]) -> None:
    """All bursts arrived before the first watermark: then the order is total."""
    orderer = Orderer()
    for burst in bursts:
        orderer.feed(at(*burst))
    out: list[int] = []
    for mark in sorted(marks):
        left = times(orderer.advance(mark))
        assert all(time <= mark for time in left)
        out += left
    out += times(orderer.flush())
    assert out == sorted(time for burst in bursts for time in burst)
    assert orderer.late == 0
