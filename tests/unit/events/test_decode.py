"""From bursts to records: every member arrives, loss is counted, no bytes raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.events.decode import Decoder
from otel_ebpf.events.layout import BURST, EXEC, RECORD, RECORD_MEMBERS
from tests.unit.events.records import burst, pack, record

_PLAIN = [
    name for name, fmt in RECORD_MEMBERS if fmt in "BHIQ" and name not in ("size", "data_len")
]


def test_every_member_arrives_where_it_belongs() -> None:
    values = {name: 3 + number for number, name in enumerate(_PLAIN)}
    values |= {"type": 1, "direction": 1}
    made = record(b"payload", **values)
    slots = set(type(made).__slots__)
    assert {name: getattr(made, name) for name in values if name in slots} == {
        name: value for name, value in values.items() if name in slots
    }
    # Addresses are read once a connection.
    assert set(values) - slots == {"netns", "local_port", "peer_port"}
    assert made.addresses()[:3] == (values["netns"], values["local_port"], values["peer_port"])
    assert made.data == b"payload"


def test_a_process_record_names_its_command() -> None:
    assert record(type=EXEC, local_addr=b"sh\0left over").comm == "sh"
    assert record(type=EXEC, local_addr=b"\xff" * 16).comm == "\N{REPLACEMENT CHARACTER}" * 16


def test_records_of_a_burst_come_in_order_with_their_payload() -> None:
    payloads = [b"x" * size for size in (0, 1, 7, 8, 9, 1024)]
    records = Decoder().feed(burst([pack(data, ts=n) for n, data in enumerate(payloads)]))
    assert [(r.ts, r.data) for r in records] == list(enumerate(payloads))


def test_records_that_never_arrived_are_counted_by_cpu() -> None:
    decoder = Decoder()
    two = [pack(b"a"), pack(b"b")]
    decoder.feed(burst(two, cpu=0, before=0))
    decoder.feed(burst(two, cpu=1, before=40))  # the first of this CPU that came
    assert decoder.lost == 40, "reading begins before writing does"
    decoder.feed(burst(two, cpu=0, before=5))
    decoder.feed(burst(two, cpu=1, before=42))
    assert decoder.lost == 43
    decoder.feed(burst(two, cpu=1, before=144))
    assert (decoder.lost, decoder.records, decoder.malformed) == (143, 10, 0)


@pytest.mark.parametrize(
    ("spoilt", "kept"),
    [
        (b"", 0),
        (burst([pack()])[: BURST.size - 1], 0),
        (burst([pack(b"a"), pack(b"b")])[:-8], 1),
        (burst([pack(b"a"), pack(b"b", size=RECORD.size - 1)]), 1),
        (burst([pack(b"a"), pack(b"b", size=0)]), 1),
        (burst([pack(b"a"), pack(b"b", data_len=4096)]), 1),
        (burst([pack(b"a"), pack(b"b", direction=2)]), 1),
    ],
    ids=[
        "empty",
        "half a header",
        "cut",
        "too small",
        "no size",
        "payload beyond the end",
        "no direction",
    ],
)
def test_what_makes_no_sense_is_counted_and_what_came_before_it_is_kept(
    spoilt: bytes, kept: int
) -> None:
    decoder = Decoder()
    assert len(decoder.feed(spoilt)) == kept
    assert decoder.malformed >= 1


@given(st.binary(max_size=2000))
def test_no_bytes_raise(data: bytes) -> None:
    decoder = Decoder()
    decoder.feed(data)
    decoder.feed(BURST.pack(1, len(data), 0, 0, 0, 0, 0, 0) + data)


@given(
    st.lists(st.binary(max_size=64), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 255)), max_size=12),
)
def test_no_damage_raises_and_memory_stays_that_of_the_burst(
    payloads: list[bytes], damage: list[tuple[int, int]]
) -> None:
    data = bytearray(burst([pack(payload) for payload in payloads]))
    for at, value in damage:
        data[at % len(data)] = value
    records = Decoder().feed(bytes(data))
    assert sum(len(r.data) for r in records) <= len(data) * len(payloads)
    assert len(records) <= len(data) // RECORD.size
