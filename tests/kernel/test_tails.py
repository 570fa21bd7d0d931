"""The last bytes of segments that are not captured to their end."""

from __future__ import annotations

import pytest

from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import DATA
from tests.kernel.tracer import Tracer, show
from tests.kernel.traffic import REQUEST, Traffic

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = HEAD + b"2000\r\n" + b"y" * 8192
END = b"\r\n0\r\n\r\n"


def tail(record: Record) -> bytes:
    return record.tail[: record.tail_len]


def responses(
    traffic: Traffic, tracer: Tracer, *sends: tuple[str, bytes, tuple[int, ...]]
) -> list[Record]:
    """What the server's sends after one request became, in one burst or several."""
    pair = traffic.pair("tcp4")
    traffic.send("write", pair.client, REQUEST)
    traffic.receive("read", pair.server)
    moved = 0
    for call, data, parts in sends:
        assert traffic.send(call, pair.server, data, parts) == len(data)
        moved += len(data)
    traffic.receive_all("read", pair.client, moved)

    def whole(records: list[Record]) -> bool:
        return sum(r.length for r in sent(records)) == moved

    def sent(records: list[Record]) -> list[Record]:
        return [
            r
            for r in records
            if r.type == DATA and r.tgid == traffic.pid and r.direction and r.fd == pair.server
        ]

    return sent(tracer.wait(whole))


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((), id="one buffer"),
        pytest.param((len(BODY), 7), id="end apart"),
        pytest.param((len(BODY), 2, 5), id="chunk by chunk"),
        pytest.param((0, len(BODY), 0, 2, 1, 0, 3, 1, 0), id="empty buffers"),
        pytest.param((len(BODY) - 100, *[1] * 14, 93), id="many buffers"),
    ],
)
def test_a_segment_captured_in_part_shows_its_last_bytes(
    parts: tuple[int, ...], traffic: Traffic, tracer: Tracer
) -> None:
    sends = ("writev" if parts else "write", BODY + END, parts)
    [record] = responses(traffic, tracer, sends)
    assert record.data_len < record.length
    assert tail(record) == (BODY + END)[-8:], show([record])


@pytest.mark.parametrize("size", [1, 3, 7, 8, 500])
def test_short_segments_join_the_bytes_before_them(
    size: int, traffic: Traffic, tracer: Tracer
) -> None:
    rest = b"x" * 2500 + END
    cuts = [rest[at : at + size] for at in range(0, len(rest), size)][-40:]
    records = responses(traffic, tracer, ("write", BODY, ()), *[("write", cut, ()) for cut in cuts])
    seen = b""
    for record in records[1:]:
        seen = (seen + tail(record))[-8:] if record.length < 8 else tail(record)
    assert seen == (b"x" + b"".join(cuts))[-8:], show(records)


def test_a_segment_captured_to_its_end_has_no_tail(traffic: Traffic, tracer: Tracer) -> None:
    [record] = responses(traffic, tracer, ("write", HEAD + END, ()))
    assert (record.data, record.tail_len) == (HEAD + END, 0)


def test_more_buffers_than_are_looked_at_give_no_tail(traffic: Traffic, tracer: Tracer) -> None:
    data = BODY + END
    [record] = responses(traffic, tracer, ("writev", data, (*[1] * 39, len(data) - 39)))
    assert record.tail_len == 0


def test_a_receive_ends_in_the_middle_of_a_buffer(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    traffic.send("write", pair.client, REQUEST)
    traffic.receive("read", pair.server)
    data = BODY + END
    traffic.send("write", pair.server, data)
    traffic.receive_all("readv", pair.client, len(data), (len(data) - 3, 0, 9000))
    [record] = [r for r in tracer.of(traffic.pid) if r.fd == pair.client and not r.direction]
    assert (record.length, tail(record)) == (len(data), data[-8:])
