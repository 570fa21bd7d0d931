"""Frameworks of Go that wrap the request's context: gin, echo, chi and gorilla."""

from __future__ import annotations

import pytest

from tests.e2e import relay
from tests.e2e.agent import Agent

MODULES = {
    **relay.NEWEST,
    "github.com/gin-gonic/gin": "v1.12.0",
    "github.com/labstack/echo/v4": "v4.16.0",
    "github.com/go-chi/chi/v5": "v5.5.0",
    "github.com/gorilla/mux": "v1.8.1",
}
MODES = ("ctx", "pool", "par", "wrapped", "poolwrapped")
CALLED = ("http1", "h2", "grpc")
REQUESTS = 150


@pytest.mark.parametrize("served", ["gin", "echo", "chi", "gorilla"])
def test_calls_with_a_frameworks_context_are_children_of_its_request(served: str) -> None:
    front, back = relay.pair(relay.build(requires=MODULES, flags=("-tags=frameworks",)))
    with front, back, Agent(pids=[front.pid], env=relay.ENV) as agent:
        relay.drive(front, served, MODES, CALLED, REQUESTS, len(CALLED), 16)
        spans = agent.stop()
    said = relay.judge(spans, front.pid)
    assert not said.wrong, said
    assert said.served == REQUESTS + 1, agent.ledger
    right = sum(said.right.values())
    assert right >= 0.99 * REQUESTS * len(CALLED), f"{said}\n{agent.ledger}"
    # No uprobe fires for each request, only for each connection.
    assert agent.ledger.get("programs_probed_for_each_request", 0) == 0


def test_gins_own_context_in_place_of_the_requests_is_made_up_for() -> None:
    """It does not begin with what it wraps; who asks for gRPC's streams is then told by a probe."""
    front, back = relay.pair(relay.build(requires=MODULES, flags=("-tags=frameworks",)))
    with front, back, Agent(pids=[front.pid], env=relay.ENV) as agent:

        def lack() -> None:
            relay.drive(front, "gincontext", ["none"], ["grpc"], 20, 2)

        agent.wait_said("it calls gRPC services without", meanwhile=lack)
        relay.drive(front, "gincontext", ["ctx", "wrapped"], CALLED, REQUESTS, len(CALLED), 8)
        spans = agent.stop()
    said = relay.judge(spans, front.pid)
    assert not said.wrong, said
    right = said.of(said.right, "ctx") + said.of(said.right, "wrapped")
    assert right >= 0.98 * REQUESTS * len(CALLED), f"{said}\n{agent.ledger}"
