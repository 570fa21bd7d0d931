"""FastCGI: conversations as web servers and programs have them."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.context import carried_context
from otel_ebpf.protocols.fastcgi import FastCgiParser
from tests.unit.protocols.fastcgi_wire import answer, ask, begin, end, pairs, record, variables
from tests.unit.protocols.talk import Talk

PAGE = b"Status: 404 Not Found\r\nContent-Type: text/html\r\n\r\n<p>no</p>"


def talk(fresh: bool = True) -> Talk:
    return Talk(FastCgiParser(), fresh)


def said(conversation: Talk) -> list[tuple[str, int, str | None]]:
    """Each request's target with its answer's status (0: none) and how it ended."""
    out = []
    for message in conversation.requests:
        reply = conversation.answers.get(message.stream)
        done = reply is not None and reply.complete
        error = message.error or (reply.error if reply is not None else None)
        out.append((message.head.target, reply.head.status if reply and done else 0, error))
    return out


def test_a_request_and_its_answer() -> None:
    t = talk()
    (request,) = t.ask(ask(HTTP_X_A="b", HTTPS="on"))
    assert (request.head.method, request.head.target) == ("GET", "/a?b=1")
    assert (request.head.scheme, request.head.header("Host")) == ("https", "shop:8080")
    assert request.head.headers("x-a") == ["b"]
    assert request.head.header("x-b") is None
    assert request.complete
    (response,) = t.answer(answer(PAGE))
    assert response.complete
    assert response.head.status == 404
    assert response.head.header("content-type") == "text/html"
    assert request.length == len(ask(HTTP_X_A="b", HTTPS="on"))
    assert response.length == len(answer(PAGE))
    assert said(t) == [("/a?b=1", 404, None)]


def test_bytes_one_by_one_are_the_same() -> None:
    t = talk()
    for byte in ask() + record(5, b"x" * 5, padding=3):
        t.ask(bytes([byte]))
    for byte in record(7, b"a warning") + answer(PAGE):
        t.answer(bytes([byte]))
    for byte in ask("/second"):
        t.ask(bytes([byte]))
    for byte in answer(b"Location: /there\r\n\r\n"):
        t.answer(bytes([byte]))
    assert said(t) == [("/a?b=1", 404, None), ("/second", 302, None)]
    assert t.requests[0].offset == t.requests[1].offset == 0
    assert t.parser.desyncs == 0


def test_a_program_that_reads_headers_by_themselves() -> None:
    """As php-fpm does; parameters may be cut over records in the midst of a pair."""
    t = talk()
    given = pairs(variables("/cut", HTTP_COOKIE="c" * 300))
    stream = begin() + record(4, given[:50]) + record(4, given[50:], padding=5) + record(4)
    at = 0
    while at < len(stream):
        size = int.from_bytes(stream[at + 4 : at + 6], "big") + stream[at + 6]
        t.ask(stream[at : at + 8])
        if size:
            t.ask(stream[at + 8 : at + 8 + size])
        at += 8 + size
    (request,) = t.requests
    assert request.head.target == "/cut"
    assert request.head.variable(b"HTTP_COOKIE") == "c" * 300
    assert not request.truncated


def test_requests_at_once_are_told_apart_by_their_ids() -> None:
    t = talk()
    t.ask(ask("/one", 1) + ask("/two", 2) + ask("/three", 300))
    t.answer(record(6, b"\r\ntwo", 2) + record(6, b"Status: 500\r\n\r\n", 1))
    t.answer(end(2) + record(6, b"\r\n", 300) + end(1) + end(300, exit_status=3))
    assert said(t) == [("/one", 500, None), ("/two", 200, None), ("/three", 200, "app_status_3")]


@pytest.mark.parametrize(("status", "error"), [(1, "cannot_multiplex"), (2, "overloaded")])
def test_a_request_that_is_not_taken(status: int, error: str) -> None:
    t = talk()
    t.ask(ask())
    (response,) = t.answer(end(status=status))
    assert (response.complete, response.error, response.head.status) == (True, error, 0)


def test_an_aborted_request_ends_and_its_late_answer_is_nobodys() -> None:
    t = talk()
    t.ask(ask("/gone"))
    t.ask(record(2))
    t.answer(answer(b"\r\n"))
    t.ask(ask("/next"))
    t.answer(answer(b"\r\n"))
    assert said(t) == [("/gone", 0, "aborted"), ("/next", 200, None)]


def test_output_that_was_not_captured_within_a_record() -> None:
    t = talk()
    t.ask(ask())
    body = record(6, b"Status: 201 C\r\n\r\n" + b"z" * 40000, padding=7)
    t.answer(body[:2000], len(body))
    t.answer(end())
    t.ask(ask("/next"))
    t.answer(answer(b"\r\n"))
    assert said(t) == [("/a?b=1", 201, None), ("/next", 200, None)]
    assert t.answers[1].length == len(body) + 16


def test_output_beyond_what_is_captured_ends_with_the_next_request_or_silence() -> None:
    t = talk()
    t.ask(ask("/big"))
    page = record(6, b"Status: 200\r\n\r\n" + b"z" * 9000)
    t.answer(page, len(page) * 5)
    t.answer(b"", 5000)
    assert t.parser.open_ended
    assert said(t) == [("/big", 0, None)]
    t.silence(2000)
    t.ask(ask("/after"))
    t.answer(answer(b"\r\n"))
    assert said(t) == [("/big", 200, None), ("/after", 200, None)]
    assert t.answers[1].length >= 5000
    t.ask(ask("/big2"))
    t.answer(page, len(page) * 5)
    t.keep(t.parser.settle(t.clock))
    assert said(t)[2] == ("/big2", 200, None)


def test_a_long_upload_that_was_not_captured() -> None:
    t = talk()
    given = pairs(variables("/up", "POST"))
    head = begin() + record(4, given) + record(4) + record(5, b"u" * 20000)
    t.ask(head[:4000], len(head))
    t.ask(b"", 60000)
    t.answer(answer(b"\r\n"))
    t.ask(ask("/next"))
    t.answer(answer(b"\r\n"))
    assert said(t) == [("/up", 200, None), ("/next", 200, None)]
    assert t.requests[0].length > 80000


def test_joined_midway_it_begins_with_a_request() -> None:
    t = talk(fresh=False)
    t.answer(record(6, b"of somebody else") + end())
    t.ask(record(5, b"its body"))
    assert not t.parser.in_step
    t.ask(ask("/mine"))
    assert t.parser.in_step
    t.answer(answer(b"\r\n"))
    assert said(t) == [("/mine", 200, None)]


def test_bytes_that_were_lost() -> None:
    t = talk()
    t.ask(ask("/one"))
    t.answer(record(6, b"\r\nabc"))
    t.keep(t.parser.gap(INGRESS, t.clock))
    t.ask(ask("/two"))
    t.answer(answer(b"Status: 503\r\n\r\n"))
    t.keep(t.parser.gap(EGRESS, t.clock))
    t.ask(ask("/three"))
    t.answer(answer(b"\r\n"))
    assert said(t) == [("/one", 200, None), ("/two", 503, None), ("/three", 200, None)]


def test_a_number_that_is_used_again_without_an_answer() -> None:
    t = talk()
    t.ask(ask("/one"))
    t.ask(ask("/two"))
    t.answer(answer(b"\r\n"))
    assert said(t) == [("/one", 0, "response_lost"), ("/two", 200, None)]


def test_bytes_that_are_no_records_end_what_is_under_way() -> None:
    t = talk()
    t.ask(ask("/one") + b"garbage that is none")
    assert t.parser.desyncs == 1
    t.answer(answer(b"\r\n"))
    t.ask(ask("/two"))
    t.answer(b"HTTP/1.1 200 OK\r\n\r\n")
    t.ask(ask("/three"))
    t.answer(answer(b"\r\n"))
    assert [end for *_, end in said(t)] == [None, None, None]
    assert said(t)[0] == ("/one", 200, None)
    assert said(t)[2] == ("/three", 200, None)


def test_the_context_that_the_client_sent_is_found() -> None:
    t = talk()
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    (request,) = t.ask(ask(HTTP_TRACEPARENT=trace))
    found = carried_context(request.head)
    assert found is not None
    assert found.span_id.hex() == "2" * 16


def test_a_closed_connection() -> None:
    t = talk()
    t.ask(ask("/one", 1) + ask("/two", 2))
    t.answer(record(6, b"\r\nok", 1) + record(6, b"", 1) + record(6, b"\r\nha", 2))
    t.keep(t.parser.close(t.clock))
    assert said(t) == [("/one", 200, None), ("/two", 0, None)]
