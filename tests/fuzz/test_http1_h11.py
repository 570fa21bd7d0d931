"""Random valid conversations: the messages are those that h11 reads from the same bytes."""

from __future__ import annotations

import itertools
from typing import Any

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from tests.unit.protocols.conversation import IN, OUT, Ear, Turn

TOKEN = st.text("abcdefgXYZ-09", min_size=1, max_size=12).map(lambda name: "x-" + name)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
HEADERS = st.lists(st.tuples(TOKEN, VALUE), max_size=6)
BODY = st.lists(st.binary(min_size=1, max_size=300), max_size=4)


@st.composite
def exchange(draw: Any) -> dict[str, Any]:
    return {
        "method": draw(st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"])),
        "target": "/" + draw(st.text("abc/?=&%2", max_size=30)),
        "request_headers": draw(HEADERS),
        "request_body": draw(BODY),
        "request_chunked": draw(st.booleans()),
        "informational": draw(st.lists(st.sampled_from([100, 102, 103]), max_size=2)),
        "status": draw(st.sampled_from([200, 201, 204, 302, 304, 404, 500])),
        "response_headers": draw(HEADERS),
        "response_body": draw(BODY),
        "response_chunked": draw(st.booleans()),
    }


def framing(body: list[bytes], chunked: bool) -> list[tuple[str, str]]:
    if chunked:
        return [("Transfer-Encoding", "chunked")]
    return [("Content-Length", str(sum(map(len, body))))]


def converse(exchanges: list[dict[str, Any]]) -> tuple[list[list[Turn]], list[tuple[Any, ...]]]:
    """Write each exchange with h11, read it with h11; turns and what the far end read."""
    client, server = h11.Connection(h11.CLIENT), h11.Connection(h11.SERVER)
    written: list[list[Turn]] = []
    read: list[tuple[Any, ...]] = []

    def events(reader: h11.Connection) -> list[Any]:
        found: list[Any] = []
        while True:
            event = reader.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED):
                return found
            found.append(event)
            if isinstance(event, h11.EndOfMessage):
                return found

    def headers(event: Any) -> list[tuple[str, str]]:
        return [(n.decode(), v.decode()) for n, v in event.headers]

    for one in exchanges:
        host = [("Host", "h")]
        sends: list[bytes] = []
        body = one["request_body"]
        lines = host + one["request_headers"] + framing(body, one["request_chunked"])
        request = h11.Request(method=one["method"], target=one["target"], headers=lines)
        sends.append(client.send(request) or b"")
        sends += [client.send(h11.Data(data=part)) or b"" for part in body]
        sends.append(client.send(h11.EndOfMessage()) or b"")
        server.receive_data(b"".join(sends))
        got = events(server)
        assert isinstance(got[-1], h11.EndOfMessage)
        read.append((REQUEST, got[0].method.decode(), got[0].target.decode(), headers(got[0])))
        replies: list[bytes] = []
        for status in one["informational"]:
            info = h11.InformationalResponse(status_code=status, headers=[])
            replies.append(server.send(info) or b"")
        body = one["response_body"]
        if one["method"] == "HEAD" or one["status"] in (204, 304):
            body = []
        lines = one["response_headers"] + framing(body, one["response_chunked"])
        response = h11.Response(status_code=one["status"], headers=lines, reason=b"r")
        replies.append(server.send(response) or b"")
        replies += [server.send(h11.Data(data=part)) or b"" for part in body]
        replies.append(server.send(h11.EndOfMessage()) or b"")
        client.receive_data(b"".join(replies))
        for event in events(client):
            if isinstance(event, h11.InformationalResponse | h11.Response):
                interim = isinstance(event, h11.InformationalResponse)
                read.append((2, event.status_code, interim, headers(event)))
        written.append([(IN, b"".join(sends)), (OUT, b"".join(replies))])
        client.start_next_cycle()
        server.start_next_cycle()
    return written, read


def told(ear: Ear) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for message in ear.messages:
        head = message.head
        names = [line.partition(b":")[0].decode() for line in head.head.splitlines()[1:] if line]
        counts: dict[str, int] = {}
        pairs = []
        for name in map(str.lower, names):
            values = head.headers(name)
            pairs.append((name, values[counts.get(name, 0)]))
            counts[name] = counts.get(name, 0) + 1
        if message.kind == REQUEST:
            found.append((REQUEST, head.method, head.target, pairs))
        else:
            found.append((2, head.status, message.interim, pairs))
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(exchange(), min_size=1, max_size=4), st.data())
def test_the_same_messages_as_h11(exchanges: list[dict[str, Any]], data: st.DataObject) -> None:
    written, read = converse(exchanges)
    turns = [turn for pair in written for turn in pair]
    cut: list[Turn] = []
    for way, raw in turns:
        places = data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=5))
        edges = sorted({0, len(raw), *places})
        cut += [(way, raw[a:b]) for a, b in itertools.pairwise(edges)]
    ear = Ear().play(cut)
    assert told(ear) == read
    assert all(message.complete for message in ear.messages)
    for way in (IN, OUT):
        wire = sum(len(raw) for direction, raw in turns if direction == way)
        assert sum(m.length for m in ear.messages if m.direction == way) == wire
    assert ear.parser.desyncs == 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(exchange(), min_size=1, max_size=4), st.sampled_from([600, 1024]))
def test_a_capture_prefix_tells_the_same_lengths(
    exchanges: list[dict[str, Any]], capture: int
) -> None:
    """Only a prefix of each run is seen; still every message has its true size."""
    for one in exchanges:
        one["informational"] = []
    written, _ = converse(exchanges)
    ear = Ear(capture=capture)
    for way, raw in (turn for pair in written for turn in pair):
        for at in range(0, len(raw), 97):
            ear.hear(way, raw[at : at + 97])
    ear.close()
    sizes = [len(raw) for pair in written for _, raw in pair]
    assert [message.length for message in ear.messages] == sizes
    assert ear.parser.desyncs == 0
    assert all(message.complete and not message.error for message in ear.messages)
