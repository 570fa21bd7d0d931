"""Every call that moves bytes: the same bytes, at the same place, on both ends."""

from __future__ import annotations

import itertools

import pytest

from otel_ebpf.events import layout
from tests.kernel.tracer import Conversation, Tracer, show
from tests.kernel.traffic import REQUEST, RESPONSE, Traffic

KINDS = ("tcp4", "tcp6", "mapped", "unix", "socketpair")
SENDS = ("write", "send", "sendto", "sendmsg", "writev", "sendmmsg")
RECEIVES = ("read", "recv", "recvfrom", "recvmsg", "readv", "recvmmsg")


def talk(
    traffic: Traffic,
    tracer: Tracer,
    kind: str,
    send: str,
    receive: str,
    parts: tuple[int, ...] = (),
    sizes: tuple[int, ...] = (65536,),
) -> Conversation:
    """A request cut into ``parts``, read into ``sizes``; then the same for a response."""
    pair = traffic.pair(kind)
    for source, sink, message in (
        (pair.client, pair.server, REQUEST),
        (pair.server, pair.client, RESPONSE),
    ):
        cut = list(parts)
        if cut:
            cut.append(len(message) - sum(cut))
        assert traffic.send(send, source, message, cut) in (len(message), len(cut) or 1)
        traffic.receive_all(receive, sink, len(message), sizes)
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("send", "receive"), list(zip(SENDS, RECEIVES, strict=True)))
def test_request_and_response_are_whole_on_both_ends(
    kind: str, send: str, receive: str, traffic: Traffic, tracer: Tracer
) -> None:
    found = talk(traffic, tracer, kind, send, receive)
    assert found.sent.data == found.arrived.data == REQUEST
    assert found.answered.data == found.returned.data == RESPONSE
    assert [r.begins for r in found.sent.records + found.arrived.records] == [layout.REQUEST] * 2
    assert [r.begins for r in found.returned.records] == [layout.RESPONSE]
    assert {r.role for r in found.sent.records + found.returned.records} == {layout.ROLE_CLIENT}
    assert {r.role for r in found.arrived.records + found.answered.records} == {layout.ROLE_SERVER}


SPLITS = {
    "two buffers": (9,),
    "empty ones first": (0, 0, 9),
    "empty ones between": (3, 0, 0, 0, 0, 6),
    "a method in pieces": (1, 1, 1, 1),
    "sixteen buffers": (2,) * 15,
    "forty buffers": (1,) * 39,
}


@pytest.mark.parametrize("parts", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("send", ["writev", "sendmsg"])
def test_messages_of_several_buffers(
    parts: tuple[int, ...], send: str, traffic: Traffic, tracer: Tracer
) -> None:
    found = talk(traffic, tracer, "tcp4", send, "read", parts)
    assert found.sent.data == REQUEST, show(found.sent.records)
    assert found.answered.data == RESPONSE
    assert found.sent.records[0].begins == layout.REQUEST
    assert found.answered.records[0].begins == layout.RESPONSE
    assert found.sent.records[0].uid, "a request has an id"


@pytest.mark.parametrize("parts", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("receive", ["readv", "recvmsg"])
def test_reads_into_several_buffers(
    parts: tuple[int, ...], receive: str, traffic: Traffic, tracer: Tracer
) -> None:
    found = talk(traffic, tracer, "tcp4", "write", receive, sizes=(*parts, 4096))
    assert found.arrived.data == REQUEST
    assert found.returned.data == RESPONSE
    assert found.arrived.records[0].begins == layout.REQUEST


@pytest.mark.parametrize("messages", [2, 3, 64, 100])
def test_sendmmsg_of_several_messages_counts_them_all(
    messages: int, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair("tcp4")
    parts = [len(REQUEST), *[100] * (messages - 1)]
    total = len(REQUEST) + 100 * (messages - 1)
    data = REQUEST + b"b" * (total - len(REQUEST))
    assert traffic.send("sendmmsg", pair.client, data, parts) == messages
    traffic.receive_all("read", pair.server, total)
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    assert found.sent.length == total
    assert found.sent.data == REQUEST, "what follows the first message is a gap, not garbage"


@pytest.mark.parametrize("messages", [2, 64, 100])
def test_recvmmsg_into_several_messages_counts_them_all(
    messages: int, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair("tcp4")
    data = REQUEST.ljust(messages * 20, b"b")
    assert traffic.send("write", pair.client, data) == len(data)
    sizes = [len(REQUEST), *[20] * messages]
    traffic.receive_all("recvmmsg", pair.server, len(data), sizes)
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    assert found.arrived.data == REQUEST


@pytest.mark.parametrize("kind", ["tcp4", "unix"])
@pytest.mark.parametrize("call", ["sendfile", "splice"])
def test_bytes_that_move_without_a_buffer_are_counted(
    call: str, kind: str, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair(kind)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"
    assert traffic.send("write", pair.client, REQUEST) == len(REQUEST)
    assert traffic.receive("read", pair.server) == len(REQUEST)
    assert traffic.send("write", pair.server, head) == len(head)
    assert traffic.send(call, pair.server, 20000) == 20000
    got = 0
    while got < 20000 + len(head):
        more = traffic.receive(call if call == "splice" and got else "read", pair.client, (7000,))
        assert more > 0
        got += more
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    assert found.answered.length == found.returned.length == 20000 + len(head)
    assert found.answered.data == head


METHODS = (
    *("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "SEARCH", "REPORT", "QUERY"),
)


@pytest.mark.parametrize("method", METHODS)
def test_methods_that_arrive_byte_by_byte(method: str, traffic: Traffic, tracer: Tracer) -> None:
    request = f"{method} /a HTTP/1.1\r\nHost: b\r\n\r\n".encode()
    pair = traffic.pair("tcp4")
    for source, sink, message in (
        (pair.client, pair.server, request),
        (pair.server, pair.client, RESPONSE),
    ):
        assert traffic.do("steps", source, message.hex()) == len(message)
        traffic.receive_all("read", sink, len(message))
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    assert found.sent.data == request
    assert found.answered.data == RESPONSE
    assert [r.begins for r in found.sent.records].count(layout.REQUEST) == 1
    assert [r.begins for r in found.answered.records].count(layout.RESPONSE) == 1


def test_every_pair_of_calls_meets(traffic: Traffic, tracer: Tracer) -> None:
    """One connection, all sends with all receives: the sequence never slips."""
    pair = traffic.pair("tcp4")
    moved = 0
    for send, receive in itertools.product(SENDS, RECEIVES):
        assert traffic.send(send, pair.client, REQUEST) > 0
        traffic.receive_all(receive, pair.server, len(REQUEST))
        assert traffic.send(send, pair.server, RESPONSE) > 0
        traffic.receive_all(receive, pair.client, len(RESPONSE))
        moved += len(REQUEST)
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    assert found.sent.length == moved
