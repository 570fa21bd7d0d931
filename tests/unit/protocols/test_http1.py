"""HTTP/1.x conversations as tables of what is heard and what is understood."""

from __future__ import annotations

import itertools
import random

import pytest

from otel_ebpf.protocols.base import EGRESS, REQUEST
from otel_ebpf.protocols.http1 import Http1Parser
from otel_ebpf.protocols.http1_connection import MAX_OUTSTANDING
from otel_ebpf.protocols.http1_reader import MAX_HEAD
from tests.unit.protocols.conversation import IN, OUT, Ear, Turn, brief, full

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"  # 28 bytes
GET2 = b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"  # 29
POST = b"POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"  # 44
POST_CHUNKED = (
    b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"  # 40
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"  # 38
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"  # 40, of a HEAD or 304
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"  # 60
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # 25
TO_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nuntil the end"  # 32

# name: what is heard, what is understood before the close, desyncs
CONVERSATIONS: dict[str, tuple[list[Turn], list[str], int]] = {
    "get": ([(IN, GET), (OUT, OK)], ["GET /a +28", "200 +40"], 0),
    "client": ([(OUT, GET), (IN, OK)], ["GET /a +28", "200 +40"], 0),
    "keep-alive": (
        [(IN, GET), (OUT, OK), (IN, POST), (OUT, EMPTY)],
        ["GET /a +28", "200 +40", "POST /p +44", "200 +38"],
        0,
    ),
    "pipelined": (
        [(IN, GET + POST + GET2), (OUT, OK + CHUNKED + EMPTY)],
        ["GET /a +28", "POST /p +44", "GET /b +28", "200 +40", "200 +60", "200 +38"],
        0,
    ),
    "chunked both ways": (
        [(IN, POST_CHUNKED), (OUT, CHUNKED)],
        [f"POST /c +{len(POST_CHUNKED)}", "200 +60"],
        0,
    ),
    "head has no body": (
        [(IN, HEAD), (OUT, SIZED), (IN, GET), (OUT, OK)],
        ["HEAD /a +29", "200 +40", "GET /a +28", "200 +40"],
        0,
    ),
    "pipelined head and get": (
        [(IN, HEAD + GET), (OUT, SIZED + OK)],
        ["HEAD /a +29", "GET /a +28", "200 +40", "200 +40"],
        0,
    ),
    "204 and 304": (
        [
            (IN, GET + GET2),
            (OUT, b"HTTP/1.1 204 No Content\r\n\r\n"),
            (OUT, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
        ],
        ["GET /a +28", "GET /b +28", "204 +27", "304 +48"],
        0,
    ),
    "100-continue": (
        [(IN, POST[:-5]), (OUT, CONTINUE), (IN, POST[-5:]), (OUT, OK)],
        ["POST /p +44", "100 +25 interim", "200 +40"],
        0,
    ),
    "early hints": (
        [(IN, GET), (OUT, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)],
        ["GET /a +28", "103 +37 interim", "200 +40"],
        0,
    ),
    "answered before the request ends": (
        [(IN, POST[:-5]), (OUT, OK), (IN, POST[-5:]), (IN, GET), (OUT, OK)],
        ["POST /p +44", "200 +40", "GET /a +28", "200 +40"],
        0,
    ),
    "the first byte of a request read before the last response": (
        [(IN, GET), (IN, GET2[:1]), (OUT, CHUNKED), (IN, GET2[1:]), (OUT, OK)],
        ["GET /a +28", "200 +60", "GET /b +28", "200 +40"],
        0,
    ),
    "http/1.0 until close": ([(IN, GET), (OUT, TO_CLOSE)], ["GET /a +28", "200 +32 open"], 0),
    "no reason phrase": (
        [(IN, GET), (OUT, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")],
        ["GET /a +28", "200 +35"],
        0,
    ),
    "asterisk form": (
        [(IN, b"OPTIONS * HTTP/1.1\r\n\r\n"), (OUT, EMPTY)],
        ["OPTIONS * +22", "200 +38"],
        0,
    ),
    "absolute form": (
        [(IN, b"GET http://h:1/a?b HTTP/1.1\r\n\r\n"), (OUT, EMPTY)],
        ["GET http://h:1/a?b +31", "200 +38"],
        0,
    ),
    "a space in the target": (
        [(IN, b"GET /a b HTTP/1.1\r\n\r\n"), (OUT, EMPTY)],
        ["GET /a b +21", "200 +38"],
        0,
    ),
    "empty lines first": ([(IN, b"\r\n\n" + GET), (OUT, OK)], ["GET /a +28", "200 +40"], 0),
    "bare line feeds": (
        [(IN, b"GET /a HTTP/1.1\nHost: h\n\n" + GET2), (OUT, OK)],
        ["GET /a +25", "GET /b +28", "200 +40"],
        0,
    ),
    "bare line feeds, then a body with an empty line": (
        [(IN, b"POST /a HTTP/1.1\nContent-Length: 8\n\na\r\n\r\nb\r\n" + GET2), (OUT, OK)],
        ["POST /a +44", "GET /b +28", "200 +40"],
        0,
    ),
    "chunked wins over a length": (
        [(IN, POST_CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n", 1)), (OUT, OK)],
        [f"POST /c +{len(POST_CHUNKED) + 19}", "200 +40"],
        0,
    ),
    "the same length twice": (
        [(IN, POST.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + GET), (OUT, OK)],
        ["POST /p +63", "GET /a +28", "200 +40"],
        0,
    ),
    "a length in a list": (
        [(IN, POST.replace(b": 5", b": 5, 5") + GET), (OUT, OK)],
        ["POST /p +47", "GET /a +28", "200 +40"],
        0,
    ),
    "identity is no coding": (
        [(IN, POST.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: identity\r\n\r\n") + GET)],
        ["POST /p +73", "GET /a +28"],
        0,
    ),
    "gzip, chunked": (
        [(IN, GET), (OUT, CHUNKED.replace(b"chunked", b"gzip, Chunked") + OK)],
        ["GET /a +28", "200 +66", "200 +40"],
        0,
    ),
    "chunked, gzip ends with the connection": (
        [(IN, GET), (OUT, CHUNKED.replace(b"chunked", b"chunked, gzip"))],
        ["GET /a +28", "200 +66 open"],
        0,
    ),
    "two different lengths end at the turn": (
        [(IN, POST.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\n")), (OUT, OK)],
        ["POST /p +63", "200 +40"],
        0,
    ),
    "a length that is none ends at the turn": (
        [(IN, POST.replace(b": 5", b": +5")), (OUT, OK), (IN, GET)],
        ["POST /p +45", "200 +40", "GET /a +28"],
        0,
    ),
    "a length of 5,000 digits": (
        [(IN, POST.replace(b": 5", b": " + b"5" * 5000)), (OUT, OK)],
        ["POST /p +5043", "200 +40"],
        0,
    ),
    "a broken chunk size": (
        [(IN, POST_CHUNKED.replace(b"5;x", b"x5;")), (OUT, OK), (IN, GET), (OUT, OK)],
        [f"POST /c +{len(POST_CHUNKED)}", "200 +40", "GET /a +28", "200 +40"],
        1,
    ),
    "a folded length is none": (
        [(IN, POST.replace(b": 5", b": 5\r\n 6")), (IN, b"!"), (OUT, OK), (IN, GET)],
        ["POST /p +49", "200 +40", "GET /a +28"],
        0,
    ),
    "a chunk longer than it says": (
        [(IN, POST_CHUNKED.replace(b"hello", b"hello you")), (OUT, OK), (IN, GET)],
        [f"POST /c +{len(POST_CHUNKED) + 4}", "200 +40", "GET /a +28"],
        1,
    ),
    "a folded header hides no length": (
        [(IN, b"POST /f HTTP/1.1\r\nX: a\r\n Content-Length: 9\r\n\r\n" + GET), (OUT, OK)],
        ["POST /f +46", "GET /a +28", "200 +40"],
        0,
    ),
    "joined in the middle of a request": (
        [(IN, b'{"tail": "of a body"}'), (OUT, OK), (IN, GET), (OUT, OK)],
        ["200 +40", "GET /a +28", "200 +40"],
        1,
    ),
    "joined in the middle of a response": (
        [(OUT, b"\x00\x01\xff tail"), (OUT, b"more of it"), (IN, GET), (OUT, OK)],
        ["GET /a +28", "200 +40"],
        1,
    ),
    "joined inside lines of text": (
        [(IN, b"{ a\r\n"), (IN, b"GET off\r\nmy lawn"), (IN, GET), (OUT, OK)],
        ["GET /a +28", "200 +40"],
        1,
    ),
    "joined inside text that resembles a request": (
        [(IN, b"some words of a body"), (OUT, OK), (IN, GET), (OUT, OK)],
        ["200 +40", "GET /a +28", "200 +40"],
        1,
    ),
    "a response nobody asked for": (
        [(IN, GET), (OUT, OK + OK), (IN, GET), (OUT, OK)],
        ["GET /a +28", "200 +40", "200 +40", "GET /a +28", "200 +40"],
        0,
    ),
    "a first head that was none": (
        [(OUT, GET2), (IN, GET), (OUT, OK), (IN, GET), (OUT, OK)],
        ["GET /b +28", "GET /a +28", "200 +40", "GET /a +28", "200 +40"],
        1,
    ),
    "a first head that was none, on the side of the responses": (
        [(OUT, GET2), (OUT, OK), (OUT, OK), (IN, GET), (OUT, OK)],
        ["GET /b +28", "200 +40", "GET /a +28", "200 +40"],
        1,
    ),
    "not http": ([(IN, b"\x16\x03\x01\x02\x00\x01"), (OUT, b"\x16\x03\x03")], [], 2),
}


def briefs(ear: Ear) -> list[str]:
    return [brief(message) for message in ear.messages]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_is_understood(name: str) -> None:
    turns, expected, desyncs = CONVERSATIONS[name]
    ear = Ear().play(turns)
    assert briefs(ear) == expected
    assert ear.parser.desyncs == desyncs


SPLITTABLE = [
    name
    for name, (_, _, desyncs) in CONVERSATIONS.items()
    # Where bytes cannot be understood the place of a segment's start is the only clue.
    if not desyncs and name != "a length that is none ends at the turn"
]


@pytest.mark.parametrize("name", SPLITTABLE)
def test_the_cut_into_segments_changes_nothing(name: str) -> None:
    """Every cut in two, byte by byte, and random cuts: the same messages."""
    turns, _, _ = CONVERSATIONS[name]
    whole = Ear().play(turns)
    whole.close()
    expected = [full(message) for message in whole.messages]

    def check(cut: list[Turn]) -> None:
        ear = Ear().play(cut)
        ear.close()
        assert [full(message) for message in ear.messages] == expected
        assert ear.parser.desyncs == 0

    for at, (direction, data) in enumerate(turns):
        step = max(1, len(data) // 400)
        for middle in range(1, len(data), step):
            parts = [(direction, data[:middle]), (direction, data[middle:])]
            check([*turns[:at], *parts, *turns[at + 1 :]])
    check([(way, data[i : i + 1]) for way, data in turns for i in range(len(data))])
    rng = random.Random(name)
    for _ in range(30):
        pieces: list[Turn] = []
        for way, data in turns:
            places = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(4))})
            pieces += [(way, data[a:b]) for a, b in itertools.pairwise(places)]
        check(pieces)


def test_a_message_carries_its_first_and_last_segment() -> None:
    ear = Ear()
    ear.hear(IN, GET[:1])
    ear.hear(IN, GET[1:] + POST[:10])
    ear.hear(IN, POST[10:40])
    ear.hear(IN, POST[40:])
    first, second = ear.messages
    assert (first.start, first.end, first.token, first.last_token) == (10, 25, 10, 20)
    assert (first.offset, second.offset) == (0, 27)
    assert (second.start, second.end, second.token, second.last_token) == (20, 45, 20, 40)


def test_a_message_is_returned_when_known_and_when_complete() -> None:
    ear = Ear()
    assert ear.hear(IN, POST[:20]) == []
    (known,) = ear.hear(IN, POST[20:42])
    assert not known.complete
    assert ear.hear(IN, b"") == []
    (complete,) = ear.hear(IN, POST[42:])
    assert complete is known and complete.complete


def test_a_gigabyte_of_body_is_only_counted() -> None:
    ear = Ear()
    ear.hear(IN, GET)
    ear.hear(OUT, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    for _ in range(1024):
        ear.hear(OUT, b"", 1 << 20)
    assert briefs(ear)[1] == f"200 +{(1 << 30) + 47}"
    assert ear.messages[1].end == ear.clock + 5
    assert ear.parser.desyncs == 0


def test_a_chunk_that_holds_the_gap_keeps_its_framing() -> None:
    ear = Ear()
    ear.hear(IN, GET)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n"
    ear.hear(OUT, head + b"x" * 100, len(head) + 0x100000)
    (response,) = ear.hear(OUT, b"\r\n0\r\n\r\n" + OK[:0])
    assert response.complete and response.length == len(head) + 0x100000 + 7


def test_chunks_that_were_not_captured_end_at_the_turn() -> None:
    ear = Ear()
    ear.hear(IN, GET)
    ear.hear(OUT, CHUNKED[:50], 3000)
    ear.hear(OUT, b"", 4000)
    last = ear.clock + 5
    assert not ear.messages[1].complete
    response, request = ear.hear(IN, GET2)
    assert response.complete and response.length == 7000 and response.end == last
    assert request.head.target == "/b" and response.error is None


def test_chunks_that_were_not_captured_end_with_the_connection() -> None:
    ear = Ear()
    ear.hear(IN, GET)
    ear.hear(OUT, CHUNKED[:50], 3000)
    assert list(map(brief, ear.close())) == ["200 +3000"]


def test_an_interim_response_ends_no_request() -> None:
    ear = Ear()
    ear.hear(IN, POST_CHUNKED[:50], 500)
    ear.hear(OUT, CONTINUE)
    assert not ear.messages[0].complete
    ear.hear(IN, b"more", 100)
    ear.hear(OUT, OK)
    assert briefs(ear) == ["POST /c +600", "100 +25 interim", "200 +40"]


def test_a_quiet_connection_can_be_settled() -> None:
    ear = Ear()
    ear.hear(IN, GET)
    ear.hear(OUT, CHUNKED[:50], 3000)
    (settled,) = ear.keep(ear.parser.settle(99))
    assert settled.complete and settled.end == 25
    assert ear.parser.settle(100) == []
    ear.play([(IN, GET2), (OUT, OK)])
    assert briefs(ear)[2:] == ["GET /b +28", "200 +40"]
    ear.hear(IN, POST[:-2])
    assert ear.parser.settle(200) == [], "a counted body has an end of its own"


LONG = b"GET /long?x=1 HTTP/1.1\r\nHost: h\r\nCookie: " + b"c" * 3000 + b"\r\nA: b\r\n\r\n"


def test_a_head_larger_than_the_capture_is_kept_and_marked() -> None:
    ear = Ear(capture=1024)
    (request,) = ear.hear(IN, LONG)
    assert request.truncated and not request.complete
    assert request.head.header("host") == "h"
    assert request.head.header("cookie") is None, "half a value is no value"
    finished, response = ear.hear(OUT, OK)
    assert finished is request and finished.length == len(LONG)
    assert response.complete
    ear.hear(IN, GET)
    assert briefs(ear)[2:] == ["GET /a +28"]
    assert ear.parser.desyncs == 0


def test_a_target_larger_than_the_capture_is_kept() -> None:
    ear = Ear(capture=100)
    ear.hear(IN, b"GET /" + b"x" * 500 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    ear.hear(OUT, OK)
    request, response = ear.messages
    assert request.head.target == "/" + "x" * 95 and request.head.version == ""
    assert request.truncated and request.complete and response.complete


def test_a_response_head_larger_than_the_capture_ends_at_the_turn() -> None:
    ear = Ear(capture=200)
    long = b"HTTP/1.1 404 Not Found\r\nSet-Cookie: " + b"c" * 900 + b"\r\n\r\n"
    ear.play([(IN, HEAD), (OUT, long), (IN, GET), (OUT, OK)])
    assert briefs(ear) == ["HEAD /a +29", f"404 +{len(long)} truncated", "GET /a +28", "200 +40"]


def test_a_head_past_the_cap_is_cut() -> None:
    ear = Ear()
    data = b"GET /a HTTP/1.1\r\n" + b"X: yyyyyy\r\n" * 20000
    for at in range(0, len(data), 1000):
        ear.hear(IN, data[at : at + 1000])
    ear.hear(OUT, OK)
    request = ear.messages[0]
    assert request.truncated and request.complete and request.length == len(data)
    assert len(request.head.head) == MAX_HEAD


def test_upgrade_hands_off() -> None:
    ear = Ear()
    ear.hear(IN, b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n"
    ear.hear(OUT, switch + b"\x81\x05hello")
    assert briefs(ear) == ["GET /ws +61", f"101 +{len(switch)}"]
    assert ear.parser.upgraded == "websocket"
    assert ear.hear(IN, GET) == [] and ear.close() == []
    assert ear.parser.desyncs == 0


def test_connect_hands_off_only_when_it_succeeds() -> None:
    connect = b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"
    refused = Ear().play([(IN, connect), (OUT, EMPTY.replace(b"200 OK", b"407 No")), (IN, GET)])
    assert refused.parser.upgraded is None and briefs(refused)[-1] == "GET /a +28"
    ear = Ear().play([(IN, connect), (OUT, b"HTTP/1.1 200 Established\r\n\r\n\x16\x03\x01")])
    assert ear.parser.upgraded == "connect"
    assert briefs(ear) == ["CONNECT h:443 +39", "200 +28"]


@pytest.mark.parametrize("cut", [24, 1, 10])
def test_http2_preface_hands_off(cut: int) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    ear = Ear().play([(IN, preface[:cut]), (IN, preface[cut:])])
    assert ear.parser.upgraded == "h2c" and ear.messages == [] and ear.parser.desyncs == 0


def test_a_preface_ends_what_is_in_progress() -> None:
    ear = Ear().play([(OUT, TO_CLOSE), (IN, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")])
    assert briefs(ear) == ["200 +32"]


def test_a_reset_marks_what_was_in_progress() -> None:
    ear = Ear()
    ear.hear(IN, GET + POST[:-2])
    ear.hear(OUT, OK[:-1])
    assert sorted(map(brief, ear.close("connection_reset"))) == [
        "200 +39 connection_reset",
        "POST /p +42 connection_reset",
    ]
    assert briefs(ear)[0] == "GET /a +28", "what was complete is well"


def test_a_head_cut_by_the_close_is_kept() -> None:
    ear = Ear()
    ear.play([(IN, GET), (OUT, b"HTTP/1.1 500 Oops\r\nServer: s\r\nDa")])
    assert list(map(brief, ear.close())) == ["500 +32 truncated"]
    assert ear.messages[1].head.header("server") == "s"


def test_an_orderly_close_ends_a_response_well() -> None:
    ear = Ear().play([(IN, GET), (OUT, TO_CLOSE), (OUT, b"more")])
    assert list(map(brief, ear.close())) == ["200 +36"]


def test_a_gap_in_a_body_ends_it_at_the_turn() -> None:
    ear = Ear().play([(IN, GET), (OUT, OK[:-1])])
    assert ear.gap(OUT) == []
    ear.play([(IN, GET2), (OUT, OK)])
    assert briefs(ear) == ["GET /a +28", "200 +39", "GET /b +28", "200 +40"]


def test_a_gap_in_a_head_keeps_what_was_seen() -> None:
    ear = Ear().play([(IN, GET[:20])])
    (request,) = ear.gap(IN)
    assert request.truncated
    ear.hear(OUT, OK)
    assert briefs(ear) == ["GET /a +20 truncated", "200 +40"]


def test_a_head_after_a_gap_starts_afresh() -> None:
    """The lost bytes held the end of one exchange and the request of the next."""
    ear = Ear().play([(IN, GET), (OUT, OK[:-1])])
    ear.gap(OUT)
    ear.hear(OUT, OK)
    assert briefs(ear) == ["GET /a +28", "200 +39", "200 +40"]


def test_a_lost_response_is_not_awaited() -> None:
    """The method of a request without an answer is not taken for the next one's."""
    ear = Ear().play([(IN, HEAD)])
    ear.gap(OUT)
    ear.play([(IN, GET), (OUT, OK), (IN, GET2), (OUT, OK)])
    assert briefs(ear) == ["HEAD /a +29 oneway", "GET /a +28", "200 +40", "GET /b +28", "200 +40"]
    assert ear.parser.desyncs == 0


def test_body_bytes_that_no_probe_saw_do_not_hide_the_next_exchange() -> None:
    ear = Ear().play([(IN, GET), (OUT, SIZED), (IN, GET2), (OUT, OK), (IN, GET), (OUT, OK)])
    assert briefs(ear)[1:] == ["200 +40", "GET /b +28", "200 +40", "GET /a +28", "200 +40"]
    assert ear.parser.desyncs == 1


def test_a_body_that_resembles_a_request_is_a_body() -> None:
    head = b"POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 28\r\n\r\n"
    ear = Ear().play([(IN, head), (OUT, CONTINUE), (IN, GET2), (OUT, OK)])
    assert briefs(ear) == [f"POST /p +{len(head) + 28}", "100 +25 interim", "200 +40"]


def test_a_body_that_resembles_a_response_is_a_body() -> None:
    """No request waits, so no response is due."""
    ear = Ear().play([(IN, POST[:-2]), (OUT, EMPTY.replace(b": 0", b": 40")), (IN, POST[-2:])])
    ear.hear(OUT, OK)
    assert briefs(ear) == ["POST /p +44", "200 +79"] and ear.parser.desyncs == 0


def test_uncaptured_bytes_behind_a_counted_body_are_a_desync() -> None:
    ear = Ear()
    ear.hear(IN, POST[:-5], len(POST) + 100)
    ear.play([(OUT, OK), (IN, GET), (OUT, OK)])
    assert briefs(ear) == ["POST /p +44", "200 +40", "GET /a +28", "200 +40"]
    assert ear.parser.desyncs == 1


def test_an_upgrade_ends_the_request_it_answers() -> None:
    ear = Ear().play([(IN, POST[:-2])])
    response, request = ear.hear(OUT, b"HTTP/1.1 101 Switching\r\nUpgrade: h2c, x\r\n\r\n")
    assert response.complete and request.complete and request.length == 42
    assert ear.parser.upgraded == "h2c"


def test_requests_beyond_the_capture_are_counted_as_desync() -> None:
    ear = Ear(capture=28).play([(IN, GET + GET2), (OUT, OK), (IN, GET), (OUT, OK)])
    assert briefs(ear)[0] == "GET /a +28" and briefs(ear)[-2] == "GET /a +28"
    assert ear.parser.desyncs == 1


def test_many_outstanding_requests_stay_bounded_and_aligned() -> None:
    parser = Http1Parser()
    count = MAX_OUTSTANDING * 3
    for at in range(count):
        parser.feed(IN, HEAD, len(HEAD), at, at, None)
    assert len(parser._outstanding) == MAX_OUTSTANDING
    for at in range(MAX_OUTSTANDING):
        (response,) = parser.feed(OUT, SIZED, len(SIZED), at, at, None)
        assert response.complete
    for at in range(count - MAX_OUTSTANDING):
        parser.feed(OUT, EMPTY, len(EMPTY), at, at, None)
    parser.feed(IN, HEAD, len(HEAD), 0, 0, None)
    (response,) = parser.feed(OUT, SIZED, len(SIZED), 0, 0, None)
    assert response.complete, "the newest request is paired again once the backlog is gone"


def test_requests_past_the_bound_do_not_overtake() -> None:
    """A forgotten request's response is not paired with a later request's method."""
    ear = Ear().play([(IN, HEAD)] * MAX_OUTSTANDING)
    ear.play([(IN, GET), (OUT, SIZED), (IN, HEAD)])
    ear.play([(OUT, SIZED)] * (MAX_OUTSTANDING - 1))
    (response,) = ear.hear(OUT, OK)
    assert brief(response) == "200 +40" and ear.parser.desyncs == 0


def test_directions_are_reported_as_heard() -> None:
    ear = Ear().play([(OUT, GET), (IN, OK)])
    assert ear.messages[0].kind == REQUEST and ear.messages[0].direction == EGRESS
