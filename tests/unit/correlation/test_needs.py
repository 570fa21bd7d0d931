"""When the callers of net/http's requests are asked for by a probe for each of them."""

from __future__ import annotations

import pytest

from otel_ebpf.correlation.needs import CALLERS, ENOUGH, GRACE, HANDLERS, SHARE, STREAMS, Needs

PID = 7


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("N" * ENOUGH, True),
        ("N" * (ENOUGH - 1), False),
        ("F" * 1000 + "N" * ENOUGH, False),
        ("FFFFFFFFFN" * 100, False),  # one in ten is not parked yet
        ("FN" * 100, False),
        ("FNNN" * 20, True),
    ],
)
def test_callers_are_asked_for_where_most_are_not_found(pattern: str, asked: bool) -> None:
    needs = Needs()
    for letter in pattern:
        needs.caller(PID, letter == "F")
    assert needs.wanted == ({(PID, CALLERS)} if asked else set())


def test_another_process_of_that_number_begins_anew() -> None:
    needs = Needs()
    for _ in range(ENOUGH - 1):
        needs.caller(PID, False)
    needs.process_ended(PID)
    needs.caller(PID, False)
    assert not needs.wanted


def test_calls_for_requests_from_before_the_agent_need_nothing() -> None:
    needs = Needs()
    for number in range(1000):
        needs.lacks_caller(PID, True, 5 + number)
    assert not needs.wanted
    for number in range(ENOUGH):
        needs.lacks_caller(PID, True, 5 + GRACE + number)
    assert needs.wanted == {(PID, STREAMS)}


@pytest.mark.parametrize(("witnessed", "asked"), [(1, True), (ENOUGH * SHARE + 1, False)])
def test_a_few_calls_among_many_need_nothing(witnessed: int, asked: bool) -> None:
    needs = Needs()
    needs.serves_streams(PID)
    needs.lacks_caller(PID, True, 0)
    for _ in range(witnessed):
        needs.witnessed(PID)
    for _ in range(ENOUGH):
        needs.lacks_caller(PID, False, GRACE)
    assert needs.wanted == ({(PID, HANDLERS)} if asked else set())
