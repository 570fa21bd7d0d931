"""Go connections that are older than the agent, on both sides of the service."""

from __future__ import annotations

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.raw import Connection
from tests.e2e.truth import TRUTH, judge, pair
from tests.gobuild import build_go

BUILDS: dict[str, tuple[str, ...]] = {
    "symbols": (),
    "stripped": ("-ldflags=-s -w",),
    "pie": ("-buildmode=pie",),
}


@pytest.mark.parametrize("build", BUILDS)
def test_connections_older_than_the_agent_have_the_right_parents(build: str) -> None:
    front, back = pair(build_go(TRUTH, flags=BUILDS[build]))
    with front, back, Connection("127.0.0.1", front.port) as old:
        # Its own connection, and the one it calls over, exist before the agent does.
        assert old.get("/call?id=seq.before&mode=seq&n=1")
        with Agent(pids=[front.pid], env=TRUTH_ENV) as agent:
            for number in range(20):
                for mode in ("seq", "ctx", "pool"):
                    old.get(f"/call?id={mode}.{number}&mode={mode}&n=1")
            spans = agent.stop()
    said = judge(spans, front.pid)
    said.check(("seq", "ctx", "pool"), 20, agent.ledger)
    assert agent.ledger["go_stack_found"] >= 2
    # Each is looked for once a connection, not once a request.
    assert agent.ledger["go_stack_found"] + agent.ledger.get("go_stack_nothing", 0) <= 6
    assert {rule for _, rule in said.rules} >= {"go.caller", "go.caller+context", "go.context"}
