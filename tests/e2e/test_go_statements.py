"""Goroutines that start others, which call without a context: who bore those in between is told
by a uprobe behind the very statements that start them, once enough calls have lacked it."""

from __future__ import annotations

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.query import Span
from tests.e2e.truth import TRUTH, drive, judge, pair
from tests.gobuild import build_go

DEEP = ("chain2", "chain3", "chain5")
REQUESTS, CALLS = 20, 2
SPANS = len(DEEP) * REQUESTS * (1 + CALLS)


@pytest.mark.parametrize("flags", [(), ("-buildmode=pie",)], ids=["exe", "pie"])
def test_calls_of_goroutines_several_generations_down(flags: tuple[str, ...]) -> None:
    front, back = pair(build_go(TRUTH, flags=flags))
    with front, back, Agent(pids=[front.pid], env=TRUTH_ENV) as agent:
        rounds = 0

        def load() -> list[Span]:
            nonlocal rounds
            drive(front, DEEP, REQUESTS, CALLS)
            rounds += 1
            return agent.wait_spans(rounds * SPANS, 30)

        agent.wait_said("is probed where it starts goroutines", meanwhile=load)
        # Their kinds must have shown that they keep to one request.
        while judge(load()[-SPANS:], front.pid).right.total() != len(DEEP) * REQUESTS * CALLS:
            assert rounds < 40, agent.errors
        before = len(agent.spans)
        load()
        spans = agent.stop()
    assert not judge(spans, front.pid).wrong
    judge(spans[before:], front.pid).check(DEEP, REQUESTS * CALLS, agent.ledger)
    # All goroutines of those modes are started by one statement.
    assert agent.ledger["go_statements_followed"] == 1
    assert "programs_with_births_followed" not in agent.ledger
    assert "programs_probed_for_each_request" not in agent.ledger
