"""Goroutines told apart by memory and by the scheduler: the same, and the same parents."""

from __future__ import annotations

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.truth import TRUTH, drive, judge, pair
from tests.gobuild import build_go

REQUESTS, CALLS = 20, 2
DEEP = ("chain2", "chain3", "chain5")
MODES = ("seq", "ctx", "par", "pool", *DEEP)
RULES = {
    ("seq", "go.caller"),
    ("ctx", "go.caller+context"),
    ("par", "go.caller_ancestor"),
    ("pool", "go.context"),
}


@pytest.mark.parametrize("way", ["both", "uprobe", "tls"])
def test_goroutines_and_their_parents_are_the_same_either_way(way: str) -> None:
    """Who bore whom over several generations only the scheduler tells."""
    each = REQUESTS * CALLS
    front, back = pair(build_go(TRUTH))
    with front, back:
        with Agent("--go-identity", way, pids=[front.pid], env=TRUTH_ENV) as agent:
            drive(front, MODES, REQUESTS, CALLS)
            # Some wait until it is known that goroutines of their kind keep to their request.
            agent.wait_spans(len(MODES) * REQUESTS * (1 + CALLS))
            spans = agent.stop()
        said = judge(spans, front.pid)
    ledger = agent.ledger
    assert "uprobes_refused" not in ledger
    modes = MODES if way != "tls" else [mode for mode in MODES if mode not in DEEP]
    said.check(modes, each, ledger)
    deep = {(mode, "go.caller_ancestor") for mode in DEEP} if way != "tls" else set()
    assert set(said.rules) == RULES | deep
    if way == "both":
        # On every record: memory's word against the scheduler's.
        assert ledger["go_identity_agrees"] > each * len(MODES)
        assert ledger["go_parent_agrees"] > each
        assert "go_identity_differs" not in ledger and "go_parent_differs" not in ledger
