"""Who asked for a client stream, told apart from the stream's own bytes."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import pytest

from otel_ebpf.correlation import evidence
from otel_ebpf.correlation.assembly import Assembly
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.model import CLIENT, SERVER, Endpoints
from otel_ebpf.correlation.parents import Parents
from otel_ebpf.events import layout
from tests.unit.events.records import record

ENDS = Endpoints("ipv4", "127.0.0.1", 1, "127.0.0.1", 2)
PID, SOCKET = 7, (1 << 48) + 5
START = 1_000


class Process:
    """A Go process that serves requests 100 and 200 and writes client streams."""

    def __init__(self, go: bool = True) -> None:
        self.counts: Counter[str] = Counter()
        self.ids = Ids(1)
        self.parents = Parents(Assembly(self.ids, self.counts), self.counts)
        self.streams = count(1, 2)
        if go:
            self.parents.go.add(PID)
        self.requests = {uid: self._live(SERVER, uid, 0) for uid in (100, 200)}
        for x in self.requests.values():
            self.parents.opened(x)

    def _live(self, kind: int, uid: int, stream: int) -> Live:
        x = Live(kind, "http2", PID, PID, ENDS, START, None, self.ids.span())
        x.uid = uid
        x.stream = stream
        return x

    def write(self, known: bool = True) -> Live:
        stream = next(self.streams)
        x = self._live(CLIENT, layout.stream_uid(SOCKET, stream), stream)
        self.parents.stream(x, record(flags=layout.FLAG_GO if known else 0), START)
        return x

    def tell(self, stream: int, **members: Any) -> None:
        uid = layout.stream_uid(SOCKET, stream)
        self.parents.evidence.told(
            record(type=layout.STREAM, uid=uid, length=stream, ts=START, tgid=PID, **members)
        )


@pytest.mark.parametrize("first", ["stream", "statement"])
@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ({"context_uid": 200}, "go.context"),
        ({"caller_uid": 200}, "go.caller"),
        ({"caller_uid": 200, "context_uid": 200}, "go.caller+context"),
        ({"parent_uid": 200, "rule": layout.RULE_GOROUTINE}, "go.caller"),
    ],
)
def test_a_statement_names_the_parent_whichever_comes_first(
    first: str, members: dict[str, int], rule: str
) -> None:
    process = Process()
    if first == "stream":
        x = process.write()
        assert not x.settled
        process.tell(1, **members)
    else:
        process.tell(1, **members)
        x = process.write()
    assert x.settled
    assert (x.parent, x.rule) == (process.requests[200], rule)


def test_nothing_is_needed_of_a_program_for_calls_from_before_it_was_known() -> None:
    process = Process()
    for _ in range(100):
        process.write(known=False)
    process.parents.flush()
    assert process.counts["no_parent.go_not_ready"] == 100
    assert not process.parents.needs.wanted


def test_witnesses_that_disagree_are_both_disbelieved() -> None:
    process = Process()
    x = process.write()
    process.tell(1, caller_uid=100, context_uid=200)
    assert (x.settled, x.parent) == (True, None)
    assert process.counts["no_parent.witnesses_disagree"] == 1


def test_two_statements_about_a_stream_are_taken_together() -> None:
    process = Process()
    process.tell(1, caller_goid=9)
    process.tell(1, context_uid=100)
    x = process.write()
    assert (x.parent, x.rule) == (process.requests[100], "go.context")


def test_an_ancestor_s_word_waits_until_its_kind_is_known() -> None:
    process = Process()
    x = process.write()
    process.tell(1, parent_uid=100, rule=layout.RULE_ANCESTOR, caller_goid=9, caller_site=0x400)
    assert (x.settled, x.on_trial) == (False, True)


def test_a_statement_is_about_its_own_stream_only() -> None:
    process = Process()
    x = process.write()
    process.tell(3, context_uid=100)
    assert not x.settled
    assert process.write().parent is process.requests[100]


@pytest.mark.parametrize("ended", [False, True])
def test_without_a_statement_the_parent_is_left_out_in_time(ended: bool) -> None:
    process = Process()
    x = process.write()
    if ended:
        process.parents.ended(x, START)
    wait = evidence.WAIT_ENDED if ended else evidence.WAIT
    process.parents.tick(START + wait - 1)
    assert not x.settled
    process.parents.tick(START + wait)
    assert (x.settled, x.parent) == (True, None)
    assert process.counts["no_parent.no_witness"] == 1


def test_no_other_program_waits_for_a_statement() -> None:
    x = Process(go=False).write()
    assert (x.settled, x.parent) == (True, None)


def test_statements_are_bounded_and_the_unused_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MAX_TOLD", 2)
    process = Process()
    for stream in (1, 3, 5):
        process.tell(stream, context_uid=100)
    assert process.counts["statements_not_used"] == 1
    assert process.write().parent is None
    process.parents.tick(START + evidence.KEEP_TOLD)
    assert process.counts["statements_not_used"] == 3


def test_streams_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MAX_AWAITED", 2)
    process = Process()
    streams = [process.write() for _ in range(3)]
    assert [x.settled for x in streams] == [True, False, False]
