"""Places of plaintext in the TCP stream: both ends name a byte alike, or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.correlation.tls import tls_place
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import CALL_TLS_READ, CALL_TLS_WRITE, FRAMES, NOTHING, TLS_WHOLE


def record(
    ref: int, *, begins: int = NOTHING, syscall: int = CALL_TLS_WRITE, seq: int = 0
) -> Record:
    made = Record()
    made.caller_site = made.fd = 0
    made.ref_ts, made.begins, made.syscall, made.tcp_seq = ref, begins, syscall, seq
    made.caller_site = 0
    return made


def told(end: int, span: int, before: int) -> int:
    """As the kernel half puts it: bpf/records.h, TLS_PLACE."""
    return 1 << 63 | end << 31 | span << 16 | before


@given(
    end=st.integers(0, 2**32 - 1),
    size=st.integers(1, 16384),
    data=st.data(),
)
def test_a_reader_in_pieces_names_a_byte_as_the_writer_does(
    end: int, size: int, data: st.DataObject
) -> None:
    byte = data.draw(st.integers(0, size - 1))
    before = data.draw(st.integers(0, byte))
    count = data.draw(st.integers(byte - before + 1, size - before))
    reader = tls_place(record(told(end, count, before), syscall=CALL_TLS_READ), byte - before)
    # The writer is certain of all but the last bytes of the record.
    writer = tls_place(record(told(end, max(0, size - 64), 0)), byte)
    assert reader is not None
    assert writer in (reader, None)
    assert writer is not None or byte >= size - 64


def test_what_may_be_in_the_next_record_has_no_place() -> None:
    assert tls_place(record(told(7, 100, 0)), 99) is not None
    assert tls_place(record(told(7, 100, 0)), 100) is None
    assert tls_place(record(told(7, 0, 0)), 0) is not None  # its first byte is certain
    assert tls_place(record(0), 0) is None


def test_a_header_that_was_read_before_has_a_place_in_the_same_record_alone() -> None:
    assert tls_place(record(told(7, 100, 9)), -9) == tls_place(record(told(7, 100, 0)), 0)
    assert tls_place(record(told(7, 100, 8)), -9) is None


def test_the_place_has_moved_where_the_time_of_a_context_is_told() -> None:
    moved = record(123_456_789)
    moved.fd = 7
    assert tls_place(moved, 0) == tls_place(record(told(7, 100, 0)), 0)
    assert tls_place(moved, 1) is None
    moved.syscall = CALL_TLS_READ  # its descriptor
    assert tls_place(moved, 0) is None


def test_frames_have_places_where_the_whole_connection_was_followed() -> None:
    whole = record(5, begins=FRAMES, syscall=CALL_TLS_READ | TLS_WHOLE, seq=2**32 - 2)
    place = tls_place(whole, 3)
    assert place is not None and place & 0xFFFFFFFF == 1


def test_frames_of_older_connections_have_those_of_their_records() -> None:
    late = record(5, begins=FRAMES, seq=9)
    late.caller_site = told(7, 100, 3)
    assert tls_place(late, 2) == tls_place(record(told(7, 100, 3)), 2)
    late.caller_site = 0
    assert tls_place(late, 0) is None


def test_no_two_kinds_of_places_are_equal() -> None:
    frames = tls_place(record(5, begins=FRAMES, syscall=CALL_TLS_READ | TLS_WHOLE, seq=9), 0)
    other = tls_place(record(told(9, 1, 0)), 0)
    assert frames is not None and other is not None
    assert frames != other and min(frames, other) > 1 << 32 and max(frames, other) < 1 << 64
