"""Records of all CPUs in the order of time, and sends that are put right in passing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.events.decode import Decoder, Record, record_at
from otel_ebpf.events.layout import CORRECTION, VOID
from otel_ebpf.events.order import Orderer
from otel_ebpf.protocols.base import EGRESS, INGRESS
from tests.unit.events.records import burst, pack


class Orders(Orderer):
    """Takes packed records and gives decoded ones."""

    def take(self, packed: list[bytes]) -> None:
        self.feed(*Decoder().locate(burst(packed)))

    def left(self, watermark: int) -> list[Record]:
        return [record_at(data, at) for _, _, data, at in self.advance(watermark)]

    def rest(self) -> list[Record]:
        return [record_at(data, at) for _, _, data, at in self.flush()]


def at(*times: int, **members: Any) -> list[bytes]:
    return [pack(b"x", ts=time, **members) for time in times]


def times(records: list[Record]) -> list[int]:
    return [r.ts for r in records]


def test_records_of_several_cpus_come_in_the_order_of_time() -> None:
    orderer = Orders()
    orderer.take(at(10, 40, 70))
    orderer.take(at(20, 30, 60))
    assert times(orderer.left(50)) == [10, 20, 30, 40]
    assert orderer.held == 2
    orderer.take(at(55))
    assert times(orderer.left(100)) == [55, 60, 70]
    assert (orderer.late, orderer.held) == (0, 0)


def test_nothing_younger_than_the_watermark_leaves() -> None:
    orderer = Orders()
    orderer.take(at(50, 51))
    assert times(orderer.left(50)) == [50]
    assert times(orderer.rest()) == [51]


def test_what_comes_behind_the_watermark_is_taken_and_counted() -> None:
    orderer = Orders()
    orderer.take(at(10))
    orderer.advance(100)
    orderer.take(at(90, 95, 150))
    assert times(orderer.left(200)) == [90, 95, 150]
    assert orderer.late == 2


def test_a_watermark_without_records_still_counts() -> None:
    orderer = Orders()
    orderer.advance(100)
    orderer.take(at(90))
    orderer.advance(200)
    assert orderer.late == 1


def test_more_than_the_bound_leave_early_oldest_first_and_counted() -> None:
    orderer = Orders(bound=3)
    orderer.take(at(50, 10, 40, 20, 30))
    assert times(orderer.left(0)) == [10, 20]
    assert (orderer.early, orderer.held) == (2, 3)


def send(ts: int, data: bytes = b"0123456789", socket_id: int = 1) -> bytes:
    return pack(data, ts=ts, direction=EGRESS, socket_id=socket_id)


def correction(ts: int, of: int, length: int, **members: Any) -> bytes:
    members = {"direction": EGRESS, "socket_id": 1, **members}
    return pack(type=CORRECTION, ts=ts, ref_ts=of, length=length, **members)


def test_a_short_send_is_cut_to_what_moved() -> None:
    orderer = Orders()
    orderer.take([send(10), correction(12, 10, 4)])
    [cut] = orderer.rest()
    assert (cut.length, cut.data, cut.data_len) == (4, b"0123", 4)
    assert orderer.corrected == 1


def test_a_correction_just_behind_the_watermark_reaches_its_send() -> None:
    orderer = Orders()
    orderer.take([send(10), correction(60, 10, 4)])
    [cut] = orderer.left(50)
    assert cut.length == 4
    assert orderer.rest() == []


def test_a_send_that_moved_nothing_never_was() -> None:
    for late in (12, 60):
        orderer = Orders()
        orderer.take([send(10), correction(late, 10, 0), send(30)])
        assert times(orderer.left(50) + orderer.rest()) == [30]
    orderer = Orders()
    orderer.take([pack(b"abc", type=VOID, ts=10), send(30)])
    assert times(orderer.rest()) == [30]
    assert orderer.corrected == 1


def test_a_correction_touches_only_its_own_send() -> None:
    orderer = Orders()
    mine, other_socket = send(10), send(10, socket_id=2)
    inbound = pack(b"0123456789", ts=11, direction=INGRESS, socket_id=1)
    orderer.take([mine, other_socket, inbound, correction(12, 10, 4)])
    assert [r.length for r in orderer.rest()] == [4, 10, 10]
    orderer.take([inbound, correction(12, 11, 4)])  # a receive is never put right
    assert [(r.type, r.length) for r in orderer.rest()] == [(1, 10), (CORRECTION, 4)]


def test_a_correction_whose_send_has_left_goes_on_to_the_connection() -> None:
    orderer = Orders()
    orderer.take([send(10)])
    orderer.advance(20)
    orderer.take([correction(30, 10, 4)])
    assert [r.type for r in orderer.rest()] == [CORRECTION]


@given(
    st.lists(st.lists(st.integers(0, 1000), max_size=8), max_size=6),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_nothing_is_lost_doubled_or_out_of_order(bursts: list[list[int]], marks: list[int]) -> None:
    """All bursts arrived before the first watermark: then the order is total."""
    orderer = Orders()
    for moments in bursts:
        orderer.take(at(*moments))
    out: list[int] = []
    for mark in sorted(marks):
        left = times(orderer.left(mark))
        assert all(time <= mark for time in left)
        out += left
    out += times(orderer.rest())
    assert out == sorted(time for moments in bursts for time in moments)
    assert orderer.late == 0
