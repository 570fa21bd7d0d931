"""HTTP/2: what the parser says of conversations."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.base import REQUEST, RESPONSE
from otel_ebpf.protocols.http2_frames import PREFACE
from otel_ebpf.protocols.http2_streams import LOST_WAIT, MAX_STREAMS
from tests.unit.protocols.http2_wire import CLIENT, SERVER, Ear, Talk, Wire, asks, brief, frame

GRPC = ("content-type", "application/grpc")
DATA, HEADERS, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, MORE = 0, 1, 3, 4, 5, 6, 7, 8, 9
END, END_HEADERS = 1, 4


@pytest.fixture(params=["bytes", "walked"])
def ear(request: pytest.FixtureRequest) -> Ear:
    return Ear(walked=request.param == "walked")


def test_streams_pair_whatever_the_order_of_their_answers(ear: Ear) -> None:
    wire = Wire()
    first, second = wire.ask(asks("/a")), wire.ask(asks("/b", "POST"), b"body")
    wire.answer(second, 201)
    wire.answer(first, 404)
    ear.play(wire.turns)
    assert ear.told() == ["1 GET /a", "1 404", "3 POST /b", "3 201"]
    assert ear.parser.desyncs == 0


def test_a_head_has_what_the_request_said(ear: Ear) -> None:
    wire = Wire()
    wire.ask(asks("/a?b=c", "PUT", ("x-one", "1"), ("x-one", "2"), ("cookie", "a=b")))
    ear.play(wire.turns)
    [message] = ear.messages
    head = message.head
    assert (head.method, head.target, head.scheme, head.version) == ("PUT", "/a?b=c", "http", "2")
    assert head.header("Host") == "shop:80"
    assert head.headers("X-One") == ["1", "2"]
    assert head.header("x-two") is None
    assert (message.kind, message.direction, message.complete) == (REQUEST, CLIENT, True)


def test_a_hundred_streams_at_once(ear: Ear) -> None:
    wire = Wire()
    numbers = [wire.ask(asks(f"/{at}", "POST"), b"x" * 100, end=False) for at in range(100)]
    for number in reversed(numbers):
        wire.client.end_stream(number)
        wire.answer(number, 200 + number % 7, b"y" * number)
    ear.play(wire.turns)
    assert ear.told() == [
        text
        for at, number in enumerate(numbers)
        for text in (f"{number} POST /{at}", f"{number} {200 + number % 7}")
    ]


def test_trailers_end_a_response_and_say_grpc_s_status(ear: Ear) -> None:
    wire = Wire()
    number = wire.ask(asks("/pkg.S/M", "POST", GRPC), b"\0\0\0\0\0")
    wire.answer(number, 200, b"\0\0\0\0\0", [GRPC], [("grpc-status", "5")])
    ear.play(wire.turns)
    assert ear.told() == ["1 POST /pkg.S/M", "1 200 grpc=5"]
    assert all(message.head.grpc for message in ear.messages)


def test_a_response_of_trailers_only(ear: Ear) -> None:
    wire = Wire()
    number = wire.ask(asks("/pkg.S/M", "POST", GRPC), b"\0\0\0\0\0")
    wire.answer(number, 200, b"", [GRPC, ("grpc-status", "12")])
    ear.play(wire.turns)
    assert ear.told() == ["1 POST /pkg.S/M", "1 200 grpc=12"]


def test_a_stream_lives_from_its_first_to_its_last_frame(ear: Ear) -> None:
    wire = Wire()
    number = wire.ask(asks("/pkg.S/Chat", "POST", GRPC), b"\0\0\0\0\1a", end=False)
    wire.server.send_headers(number, [(":status", "200"), GRPC])
    wire.flush()
    ear.play(wire.turns)
    assert ear.told() == ["1 POST /pkg.S/Chat open", "1 200 open"]
    asked = ear.clock
    done = len(wire.turns)
    for _ in range(5):
        wire.client.send_data(number, b"\0\0\0\0\1b")
        wire.flush()
        wire.server.send_data(number, b"\0\0\0\0\1b")
        wire.flush()
    wire.client.end_stream(number)
    wire.server.send_headers(number, [("grpc-status", "0")], end_stream=True)
    wire.flush()
    ear.play(wire.turns[done:])
    assert ear.told() == ["1 POST /pkg.S/Chat", "1 200 grpc=0"]
    response = ear.messages[-1]
    assert (response.start <= asked, response.end > asked) == (True, True)


def test_the_end_of_a_body_is_the_segment_with_its_last_byte(ear: Ear) -> None:
    wire = Wire()
    number = wire.ask(asks())
    wire.answer(number, 200, b"z" * 3000)
    *before, (direction, last) = wire.turns
    ear.play(before)
    for piece in (last[:700], last[700:1500], last[1500:]):
        assert not any(m.complete for m in ear.messages if m.kind == RESPONSE)
        ear.hear(direction, piece)
    assert ear.told() == ["1 GET /", "1 200"]
    assert ear.messages[-1].end == ear.clock + 5


def test_interim_responses_end_nothing(ear: Ear) -> None:
    wire = Wire()
    number = wire.ask(asks("/upload", "POST", ("expect", "100-continue")), end=False)
    wire.server.send_headers(number, [(":status", "100")])
    wire.server.send_headers(number, [(":status", "103"), ("link", "</a>")])
    wire.flush()
    wire.client.send_data(number, b"body", end_stream=True)
    wire.flush()
    wire.answer(number, 204, b"")
    ear.play(wire.turns)
    assert ear.told() == ["1 POST /upload", "1 204"]


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("by", [CLIENT, SERVER])
def test_a_reset_ends_a_stream_with_its_reason(ear: Ear, by: int, answered: bool) -> None:
    wire = Wire()
    number = wire.ask(asks("/slow"))
    if answered:
        wire.server.send_headers(number, [(":status", "200")])
        wire.flush()
    (wire.client if by == CLIENT else wire.server).reset_stream(number, 8)
    wire.flush()
    ear.play(wire.turns)
    if answered:
        assert ear.told() == ["1 GET /slow", "1 200 cancel"]
    else:
        assert ear.told() == ["1 GET /slow cancel"]


def test_a_reset_behind_a_whole_response_changes_nothing(ear: Ear) -> None:
    talk = Talk()
    ear.hear(CLIENT, PREFACE + frame(SETTINGS, 0, 0))
    block = talk.block(CLIENT, asks("/", "POST"))
    ear.hear(CLIENT, frame(HEADERS, END_HEADERS, 1, block))
    answer = frame(HEADERS, END_HEADERS | END, 1, talk.block(SERVER, [(":status", "413")]))
    ear.hear(SERVER, answer + frame(RST, 0, 1, bytes(4)))
    assert ear.told() == ["1 POST / open", "1 413"]


def test_streams_above_a_goaway_s_last_were_refused(ear: Ear) -> None:
    wire = Wire()
    for path in ("/a", "/b", "/c"):
        wire.ask(asks(path))
    ear.play(wire.turns)
    ear.hear(SERVER, frame(GOAWAY, 0, 0, (3).to_bytes(4, "big") + bytes(4)))
    assert ear.told() == ["1 GET /a", "3 GET /b", "5 GET /c refused_stream"]


def test_open_streams_end_with_the_connection(ear: Ear) -> None:
    wire = Wire()
    first, second = wire.ask(asks("/a")), wire.ask(asks("/b"))
    wire.answer(first)
    wire.server.send_headers(second, [(":status", "200")])
    wire.flush()
    wire.ask(asks("/c"))
    ear.play(wire.turns)
    ear.keep(ear.parser.close(99, None))
    assert ear.told() == [
        *("1 GET /a", "1 200", "3 GET /b", "3 200 connection_closed"),
        "5 GET /c connection_closed",
    ]


def test_padding_priority_and_continuation_are_understood(ear: Ear) -> None:
    talk = Talk()
    ear.hear(CLIENT, PREFACE + frame(SETTINGS, 0, 0))
    block = talk.block(CLIENT, asks("/padded"))
    padded = bytes((3,)) + bytes(5) + block + bytes(3)
    ear.hear(CLIENT, frame(HEADERS, END_HEADERS | END | 0x8 | 0x20, 1, padded))
    block = talk.block(CLIENT, asks("/pieces", "GET", ("x-long", "v" * 300)))
    ear.hear(
        CLIENT,
        frame(HEADERS, END | 0x20, 3, bytes(5) + block[:7])
        + frame(MORE, 0, 3, block[7:100])
        + frame(MORE, END_HEADERS, 3, block[100:]),
    )
    assert ear.told() == ["1 GET /padded", "3 GET /pieces"]
    assert ear.messages[1].head.header("x-long") == "v" * 300


def test_other_frames_and_unknown_ones_are_passed_over(ear: Ear) -> None:
    talk = Talk()
    ear.hear(SERVER, frame(SETTINGS, 0, 0, bytes(6)))
    ear.hear(CLIENT, PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW, 0, 0, b"\0\0\1\0"))
    request = frame(HEADERS, END_HEADERS | END, 1, talk.block(CLIENT, asks("/x")))
    ear.hear(CLIENT, frame(0x10, 0, 0, b"u=1") + frame(PING, 0, 0, bytes(8)) + request)
    ear.hear(SERVER, frame(SETTINGS, 1, 0) + frame(0xA, 0, 1, b"altsvc"))
    answer = frame(HEADERS, END_HEADERS, 1, talk.block(SERVER, [(":status", "200")]))
    ear.hear(SERVER, answer + frame(DATA, 0, 1, b"x" * 40) + frame(WINDOW, 0, 1, b"\0\0\1\0"))
    ear.hear(SERVER, frame(DATA, END | 8, 1, b"\1y\0"))
    assert ear.told() == ["1 GET /x", "1 200"]


def test_a_pushed_stream_is_no_exchange_and_keeps_the_table_right(ear: Ear) -> None:
    talk = Talk()
    ear.hear(CLIENT, PREFACE + frame(SETTINGS, 0, 0))
    ear.hear(CLIENT, frame(HEADERS, END_HEADERS | END, 1, talk.block(CLIENT, asks("/x"))))
    promised = (2).to_bytes(4, "big") + talk.block(SERVER, asks("/pushed"))
    ear.hear(SERVER, frame(PUSH, END_HEADERS, 1, promised))
    head = [(":status", "200"), ("x-new", "1")]
    ear.hear(SERVER, frame(HEADERS, END_HEADERS | END, 2, talk.block(SERVER, head)))
    ear.hear(SERVER, frame(HEADERS, END_HEADERS | END, 1, talk.block(SERVER, head)))
    assert ear.told() == ["1 GET /x", "1 200"]
    assert ear.messages[1].head.header("x-new") == "1"


def test_joined_midway_what_the_table_held_is_unknown_and_never_wrong(ear: Ear) -> None:
    wire = Wire()
    mine = ("x-mine", "first")
    wire.answer(wire.ask(asks("/secret", "GET", mine)), 418, fields=[("x-old", "1")])
    joined = len(wire.turns)
    wire.answer(wire.ask(asks("/secret", "GET", mine)), 418, fields=[("x-old", "1")])
    wire.answer(wire.ask(asks("/new", "GET", mine)), 200, fields=[("x-new", "1")])
    wire.answer(wire.ask(asks("/new", "GET", mine)), 200, fields=[("x-new", "1")])
    ear.play(wire.turns[joined:])
    assert ear.told() == [
        *("3 GET  truncated", "3 0 truncated"),
        *("5 GET /new truncated", "5 200", "7 GET /new truncated", "7 200"),
    ]
    assert ear.messages[0].head.header("x-mine") is None
    assert ear.messages[-1].head.header("x-new") == "1"


def test_a_cut_block_leaves_what_was_seen_and_a_table_in_doubt(ear: Ear) -> None:
    wire = Wire()
    wire.ask(asks("/a", "GET", ("x-long", "v" * 400), ("x-after", "1")))
    (direction, cut), *_ = wire.turns[-1:]
    ear.play(wire.turns[:-1])
    ear.hear(direction, cut[:60], len(cut))
    done = len(wire.turns)
    wire.ask(asks("/a", "GET", ("x-after", "1")))
    ear.play(wire.turns[done:])
    assert ear.told() == ["1 GET /a truncated", "3 GET  truncated"]
    assert ear.messages[1].head.header("x-after") is None


def test_after_lost_bytes_a_stream_that_is_silent_ends_with_the_reason(ear: Ear) -> None:
    wire = Wire()
    for path in ("/a", "/b"):
        wire.ask(asks(path))
    ear.play(wire.turns)
    ear.keep(ear.parser.gap(SERVER, 1000))
    assert ear.parser.open_ended
    ear.hear(SERVER, frame(HEADERS, END_HEADERS, 3, Talk().block(SERVER, [(":status", "200")])))
    assert ear.keep(ear.parser.settle(1000 + LOST_WAIT - 1)) == []
    ear.keep(ear.parser.settle(1000 + LOST_WAIT))
    assert ear.told() == ["1 GET /a response_lost", "3 GET /b", "3 200 open"]
    assert not ear.parser.open_ended


def test_after_lost_bytes_no_answer_is_given_to_another_request(ear: Ear) -> None:
    wire = Wire()
    numbers = [wire.ask(asks(path)) for path in ("/a", "/b", "/c")]
    ear.play(wire.turns)
    done = len(wire.turns)
    for number, status in zip(numbers, (200, 404, 500), strict=True):
        wire.answer(number, status)
    ear.keep(ear.parser.gap(SERVER, 1000))
    if ear._walks is not None:
        ear._walks[SERVER].lose()
    ear.play(wire.turns[done + 1 :])  # /a's answer is lost
    assert ear.told() == ["1 GET /a", "3 GET /b", "3 404", "5 GET /c", "5 500"]


def test_streams_are_bounded_and_the_oldest_is_given_up() -> None:
    ear, talk = Ear(), Talk()
    ear.hear(CLIENT, PREFACE + frame(SETTINGS, 0, 0))
    block = talk.block(CLIENT, asks("/"))
    ear.hear(CLIENT, frame(HEADERS, END_HEADERS, 1, block))
    again = talk.block(CLIENT, asks("/"))
    for number in range(3, 2 * MAX_STREAMS + 3, 2):
        ear.parser.feed(
            CLIENT, frame(HEADERS, END_HEADERS, number, again), 9 + len(again), 1, 1, object()
        )
    assert len(ear.parser._streams) == MAX_STREAMS
    assert brief(ear.messages[0]) == "1 GET / no_response"
    assert ear.parser.given_up == 1


def test_bytes_that_are_no_frames_are_passed_over_until_frames_come() -> None:
    ear, talk = Ear(), Talk()
    ear.hear(CLIENT, PREFACE + frame(SETTINGS, 0, 0))
    ear.hear(CLIENT, b"\xff" * 500)
    ear.hear(CLIENT, frame(HEADERS, END_HEADERS | END, 1, talk.block(CLIENT, asks("/x"))))
    assert ear.told() == ["1 GET /x"]


def test_the_preface_may_come_in_pieces() -> None:
    ear, talk = Ear(), Talk()
    ear.hear(CLIENT, PREFACE[:14])
    ear.hear(CLIENT, PREFACE[14:])
    for byte in frame(SETTINGS, 0, 0) + frame(
        HEADERS, END_HEADERS | END, 1, talk.block(CLIENT, asks("/x"))
    ):
        ear.hear(CLIENT, bytes((byte,)))
    assert ear.told() == ["1 GET /x"]
