"""HTTP/2 in the kernel: what is told of segments is what ``Walk`` finds in the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from otel_ebpf.events import layout
from otel_ebpf.protocols.http2_frames import PREFACE, Walk
from tests.kernel.tracer import EGRESS, INGRESS, Tracer, show
from tests.kernel.traffic import Pair, Traffic
from tests.unit.protocols.http2_wire import CLIENT, SERVER, Talk, Wire, asks, frame

HEADERS, END, END_HEADERS = 1, 1, 4


def conversation(streams: int = 6) -> Wire:
    """Requests with bodies, answers with trailers, and long ones."""
    wire = Wire()
    for at in range(streams):
        number = wire.ask(asks(f"/{at}", "POST", ("x-long", "v" * at * 150)), b"b" * (at * 700))
        wire.answer(number, 200, b"y" * (at * 2500), [("x", "y" * at * 90)], [("grpc-status", "0")])
    return wire


def told(tracer: Tracer, traffic: Traffic, fd: int, direction: int) -> tuple[bytes, bool]:
    """Frames in one direction of a descriptor's socket, and whether any were lost."""
    records = [
        r for r in tracer.of(traffic.pid) if r.fd == fd and r.direction == direction
        and r.begins == layout.FRAMES
    ]  # fmt: skip
    assert [r.ref_ts >> 32 for r in records] == list(range(len(records))), show(records)
    lost = any(r.ref_ts >> 16 & 1 for r in records)
    return b"".join(r.data for r in records), lost


def walked(segments: Sequence[bytes], start: int, preface: bool) -> bytes:
    walk, out = Walk(preface=preface), b""
    for data in segments:
        out += walk.feed(data, len(data), start).frames
        start += len(data)
    return out


def seq(tracer: Tracer, traffic: Traffic, fd: int, direction: int) -> int:
    return next(
        r.tcp_seq
        for r in tracer.of(traffic.pid)
        if r.fd == fd and r.direction == direction and r.begins == layout.FRAMES
    )


def play(traffic: Traffic, pair: Pair, by: int, data: bytes, cut: int, send: str) -> list[bytes]:
    """Sends ``data`` in pieces of ``cut`` bytes; the other end reads what it likes."""
    source, sink = (pair.client, pair.server) if by == CLIENT else (pair.server, pair.client)
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    for piece in pieces:
        third = len(piece) // 3
        parts = (third, 1, len(piece) - third - 1) if send != "write" and third else ()
        assert traffic.send(send, source, piece, parts) == len(piece)
        traffic.receive_all("read", sink, len(piece), (len(piece) // 2 + 1,))
    return pieces


@pytest.mark.parametrize("cut", [24, 61, 700, 100_000])
@pytest.mark.parametrize("send", ["write", "writev", "sendmsg"])
def test_frames_are_found_however_they_are_cut(
    send: str, cut: int, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair("tcp4")
    said: dict[int, list[bytes]] = {CLIENT: [], SERVER: []}
    turns = conversation(3 if cut < 100 else 6).turns
    for by, data in turns:
        said[by] += play(traffic, pair, by, data, cut, send)
    for by, fd in ((CLIENT, pair.client), (SERVER, pair.server)):
        other = pair.server if by == CLIENT else pair.client
        out, lost = told(tracer, traffic, fd, EGRESS)
        back, lost_back = told(tracer, traffic, other, INGRESS)
        assert not lost
        assert not lost_back
        assert out == back
        whole = b"".join(said[by])
        if by == CLIENT:
            assert out == walked([whole], seq(tracer, traffic, fd, EGRESS), preface=True)
        else:  # its first frames, which are not kept, may be told of by no record
            strip = walked([whole], 0, preface=False)
            assert len(out) == len(strip)
            assert out[4:13] == strip[4:13]


def test_a_large_segment_of_many_frames_is_gone_through_to_its_end(
    traffic: Traffic, tracer: Tracer
) -> None:
    pair, talk = traffic.pair("tcp4"), Talk()
    play(traffic, pair, CLIENT, PREFACE + frame(4, 0, 0), 1000, "write")
    many = b"".join(
        frame(HEADERS, END_HEADERS, n, talk.block(CLIENT, asks(f"/{n}", "POST", ("x", "v" * 200))))
        + frame(0, END, n, b"d" * 30)
        for n in range(1, 201, 2)
    )
    play(traffic, pair, CLIENT, many, 1 << 20, "write")
    out, lost = told(tracer, traffic, pair.client, EGRESS)
    assert not lost
    start = seq(tracer, traffic, pair.client, EGRESS) + len(PREFACE) + 9
    assert out == walked([frame(4, 0, 0), many], start - 9, preface=False)


def test_a_flush_of_a_thousand_streams_is_gone_through_to_its_end(
    traffic: Traffic, tracer: Tracer
) -> None:
    """What a client writes at once when many of its callers were waiting for the connection."""
    pair, talk = traffic.pair("tcp4"), Talk()
    play(traffic, pair, CLIENT, PREFACE + frame(4, 0, 0), 1000, "write")
    many = b"".join(
        frame(HEADERS, END_HEADERS, n, talk.block(CLIENT, asks("/", "POST", ("n", str(n % 7)))))
        + frame(0, END, n, b"d")
        for n in range(1, 2001, 2)
    )
    assert len(many) < 32768
    play(traffic, pair, CLIENT, many, 1 << 20, "write")
    out, lost = told(tracer, traffic, pair.client, EGRESS)
    assert not lost
    start = seq(tracer, traffic, pair.client, EGRESS) + len(PREFACE) + 9
    assert out == walked([frame(4, 0, 0), many], start - 9, preface=False)


def test_frames_that_no_program_is_left_for_are_a_loss_that_is_told(
    traffic: Traffic, tracer: Tracer
) -> None:
    pair, talk = traffic.pair("tcp4"), Talk()
    block = talk.block(CLIENT, asks("/", "POST"))
    play(traffic, pair, CLIENT, PREFACE + frame(4, 0, 0), 1000, "write")
    before = tracer.kernel.stats()["http2_cut"]
    play(traffic, pair, CLIENT, frame(6, 0, 0, b"12345678") * 4000, 1 << 20, "write")
    play(traffic, pair, CLIENT, frame(HEADERS, END_HEADERS | END, 1, block), 1000, "write")
    _, lost = told(tracer, traffic, pair.client, EGRESS)
    assert lost
    assert tracer.kernel.stats()["http2_cut"] > before


def test_bytes_that_nobody_saw_are_a_loss_that_is_told(traffic: Traffic, tracer: Tracer) -> None:
    """Whole frames that pass by a call without a probe leave all others where they should be."""
    pair, talk = traffic.pair("tcp4"), Talk()
    request = [
        frame(HEADERS, END_HEADERS | END, n, talk.block(CLIENT, asks(f"/{n}")))
        for n in (1, 3, 5, 7)
    ]
    before = tracer.kernel.stats()["http2_gaps"]
    play(traffic, pair, CLIENT, PREFACE + frame(4, 0, 0), 1000, "write")
    for data in request[:2]:
        play(traffic, pair, CLIENT, data, 1000, "write")
    assert tracer.kernel.stats()["http2_gaps"] == before
    assert traffic.send("pwritev2", pair.client, request[2], (len(request[2]),)) > 0
    traffic.receive_all("read", pair.server, len(request[2]))
    play(traffic, pair, CLIENT, request[3], 1000, "write")
    out, lost = told(tracer, traffic, pair.client, EGRESS)
    assert lost
    assert tracer.kernel.stats()["http2_gaps"] == before + 1
    assert [out.count(data[:9]) for data in request] == [1, 1, 0, 1]
    _, lost = told(tracer, traffic, pair.server, INGRESS)
    assert not lost  # every read was seen


def test_a_header_that_is_read_alone_is_told_with_its_payload(
    traffic: Traffic, tracer: Tracer
) -> None:
    """As a reader does that asks for each frame's header first."""
    pair, talk = traffic.pair("tcp4"), Talk()
    play(traffic, pair, CLIENT, PREFACE + frame(4, 0, 0), 1000, "write")
    requests = [
        frame(HEADERS, END_HEADERS | END, n, talk.block(CLIENT, asks(f"/{n}"))) for n in (1, 3)
    ]
    for request in requests:
        assert traffic.send("write", pair.client, request) == len(request)
        for size in (9, len(request) - 9):
            traffic.receive_all("read", pair.server, size, (size,))
    records = [
        r for r in tracer.of(traffic.pid)
        if r.fd == pair.server and r.direction == INGRESS and r.begins == layout.FRAMES and r.data
    ]  # fmt: skip
    assert [r.data[4:] for r in records] == requests, show(records)
    assert [r.ref_ts & 0xFFFF for r in records] == [0, 0]  # nothing of a frame told of before
    # A frame's place is that of its header, which was read before.
    places = [int.from_bytes(r.data[:4], "big") for r in records]
    assert [r.tcp_seq - place for r, place in zip(records, places, strict=True)] == [9, 9]


def test_bodies_cost_no_records(traffic: Traffic, tracer: Tracer) -> None:
    pair, talk = traffic.pair("tcp4"), Talk()
    play(traffic, pair, CLIENT, PREFACE + frame(4, 0, 0), 1000, "write")
    block = talk.block(CLIENT, asks("/up", "POST"))
    body = b"".join(frame(0, 0, 1, b"d" * 16000) for _ in range(40))
    tracer.clear()
    play(traffic, pair, CLIENT, frame(HEADERS, END_HEADERS, 1, block), 1000, "write")
    play(traffic, pair, CLIENT, body, 50_000, "write")
    # The request's head, which the server reads in two parts.
    fds = [r.fd for r in tracer.of(traffic.pid)]
    assert sorted(fds) == sorted([pair.client, pair.server, pair.server])
    play(traffic, pair, CLIENT, frame(0, END, 1, b"d" * 3000), 1000, "write")
    ends = [r for r in tracer.of(traffic.pid) if r.fd == pair.client][1:]
    assert [(len(r.data), r.length) for r in ends] == [(13, 1000), (0, 9)]


def test_a_send_that_moves_less_than_asked_does_not_lose_the_frames(
    traffic: Traffic, tracer: Tracer
) -> None:
    pair, talk = traffic.pair("tcp4"), Talk()
    play(traffic, pair, CLIENT, PREFACE + frame(4, 0, 0), 1000, "write")
    traffic.do("sndbuf", pair.client, 20_000)
    traffic.do("nonblock", pair.client)
    data = b"".join(
        frame(HEADERS, END_HEADERS, n, talk.block(CLIENT, asks(f"/{n}", "POST")))
        + frame(0, END, n, b"d" * 16000)
        for n in range(1, 61, 2)
    )
    at = short = 0
    while at < len(data):
        moved = traffic.send("write", pair.client, data[at : at + 100_000])
        short += 0 < moved < len(data[at : at + 100_000])
        if moved > 0:
            at += moved
        else:
            traffic.receive("read", pair.server, (1 << 20,))
    assert short
    out, lost = told(tracer, traffic, pair.client, EGRESS)
    assert not lost
    start = seq(tracer, traffic, pair.client, EGRESS) + len(PREFACE) + 9
    assert out == walked([frame(4, 0, 0), data], start - 9, preface=False)


def test_other_binary_protocols_are_not_taken_for_it(traffic: Traffic, tracer: Tracer) -> None:
    random = Random(1)
    for at in range(60):
        pair = traffic.pair("tcp4")
        # Lengths first, big-endian, as many protocols have them; sizes that resemble types.
        size = random.choice([257, 260, 264, 1025, 1032, 2049, 2054])
        body = (size - 4).to_bytes(4, "big") + bytes(random.choice([3, 6, 12]))
        data = body + random.randbytes(size - len(body))
        play(traffic, pair, CLIENT, data, 1 << 20, "write")
        play(traffic, pair, SERVER, data[: 30 + at], 1 << 20, "write")
    assert [r for r in tracer.of(traffic.pid) if r.begins == layout.FRAMES] == []
