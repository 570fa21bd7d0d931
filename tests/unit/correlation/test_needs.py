"""When the callers of net/http's requests are asked for by a probe for each of them."""

from __future__ import annotations

import pytest

from otel_ebpf.correlation.needs import (
    CALLERS,
    ENOUGH,
    GRACE,
    HANDLERS,
    LONGEST,
    MOST_GRACE,
    SHARE,
    STREAMS,
    USELESS,
    Needs,
)

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


def test_on_a_busy_host_requests_from_before_the_agent_last_as_long_as_others() -> None:
    needs = Needs()
    needs.lacks_caller(PID, True, 100)
    assert needs.new == {PID}
    needs.served(PID, 50, 100 + GRACE)  # began before: it may be an old one
    needs.served(PID, 200, 200 + GRACE // 2)
    for number in range(100):
        needs.lacks_caller(PID, True, 100 + GRACE + number)
    assert not needs.wanted
    until = 100 + LONGEST * GRACE // 2
    needs.served(PID, until, until + 1)
    assert not needs.new
    for number in range(100):  # decided late
        needs.lacks_caller(PID, True, until - number - 1)
    assert not needs.wanted
    for number in range(ENOUGH):
        needs.lacks_caller(PID, True, until + number)
    assert needs.wanted == {(PID, STREAMS)}


def test_a_request_that_lasts_for_ever_does_not_put_it_off() -> None:
    needs = Needs()
    needs.lacks_caller(PID, True, 100)
    needs.served(PID, 100, 100 + GRACE)
    needs.served(PID, 100, 100 + 3 * GRACE)
    for number in range(ENOUGH):
        needs.lacks_caller(PID, True, 100 + MOST_GRACE + number)
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


CALLER_SITE, BETWEEN = 0x500, 0x600


def lack(needs: Needs, times: int, *sites: int) -> None:
    for _ in range(times):
        needs.lacks_birth(PID, sites, GRACE)


def asking() -> Needs:
    """A process that has lacked something long ago."""
    needs = Needs()
    needs.lacks_birth(PID, (1,), 0)
    return needs


def test_where_goroutines_are_started_is_asked_for_from_the_youngest_up() -> None:
    needs = asking()
    lack(needs, ENOUGH - 1, CALLER_SITE)
    assert not needs.wanted_statements
    lack(needs, 1, CALLER_SITE)
    assert needs.wanted_statements == {(PID, CALLER_SITE)}
    needs.wanted_statements.clear()
    # Who started the caller's goroutine is known by now: the one before is to be found.
    lack(needs, ENOUGH, CALLER_SITE, BETWEEN)
    assert needs.wanted_statements == {(PID, BETWEEN)}


def test_goroutines_that_never_inherit_are_let_be() -> None:
    needs = asking()
    lack(needs, USELESS, CALLER_SITE, BETWEEN)
    assert needs.unwanted_statements == {(PID, CALLER_SITE), (PID, BETWEEN)}
    needs.wanted_statements.clear()
    lack(needs, 4 * USELESS, CALLER_SITE, BETWEEN)
    assert not needs.wanted_statements


def test_a_statement_that_was_of_use_stays() -> None:
    needs = asking()
    lack(needs, ENOUGH, CALLER_SITE)
    needs.birth_told(PID, (CALLER_SITE, BETWEEN))
    lack(needs, 4 * USELESS, CALLER_SITE)
    assert not needs.unwanted_statements
