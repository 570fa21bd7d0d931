"""When the callers of net/http's requests are asked for by a probe for each of them."""

from __future__ import annotations

import pytest

from otel_ebpf.correlation.needs import CALLERS, ENOUGH, Needs

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
