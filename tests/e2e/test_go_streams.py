"""Who asked, for Go's HTTP/2 and gRPC: on both sides, in every combination, without a uprobe
for each request."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from tests.e2e import relay
from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.query import select
from tests.e2e.services import TESTS, Service
from tests.gobuild import build_go

# Every way in which a handler's context reaches a call.
OLDEST = {
    "google.golang.org/grpc": "v1.40.0",
    "golang.org/x/net": "v0.0.0-20210525063256-abc453219eb5",
}
WITH_CONTEXT = ("ctx", "wrapped", "par", "chain", "pool", "poolwrapped")
CALLED = ("http1", "h2", "x", "grpc")


@pytest.mark.parametrize("served", ["grpc", "h2", "x", "http1"])
@pytest.mark.parametrize("concurrency", [1, 32])
def test_calls_with_a_context_are_children_of_the_request_it_came_with(
    served: str, concurrency: int
) -> None:
    front, back = relay.pair(relay.build())
    with front, back, Agent(pids=[front.pid], env=relay.ENV) as agent:
        relay.drive(front, served, WITH_CONTEXT, CALLED, 240, len(CALLED), concurrency)
        spans = agent.stop()
    said = relay.judge(spans, front.pid)
    assert not said.wrong, said
    right, all_calls = sum(said.right.values()), 240 * len(CALLED)
    assert right >= 0.99 * all_calls, f"{said}\n{agent.ledger}"
    assert agent.ledger.get("programs_probed_for_each_request", 0) == 0


@pytest.mark.parametrize("served", ["http1", "grpc"])
def test_256_callers_of_one_connection_are_all_known(served: str) -> None:
    """Their calls leave in a few writes, each with many new streams."""
    front, back = relay.pair(relay.build())
    called = ("grpc", "h2")
    with front, back, Agent(pids=[front.pid], env=relay.ENV) as agent:
        relay.drive(front, served, WITH_CONTEXT, called, 768, len(called), 256)
        spans = agent.stop()
    said = relay.judge(spans, front.pid)
    assert not said.wrong, said
    assert said.right.total() >= 0.99 * 768 * len(called), f"{said}\n{agent.ledger}"
    assert agent.ledger.get("http2_cut", 0) == 0


@pytest.mark.parametrize("served", ["grpc", "h2", "h2s", "grpcs"])
def test_the_first_request_of_a_connection_is_known(served: str) -> None:
    """It may come with the handshake's last bytes, and be served before anything else is read."""
    front, back = relay.pair(relay.build())
    with front, back, Agent(pids=[front.pid], env=relay.ENV) as agent:
        for number in range(20):
            relay.drive(front, served, WITH_CONTEXT, ["http1"], 2, 1, 2, str(number), warm=False)
        spans = agent.stop()
    said = relay.judge(spans, front.pid)
    assert not said.wrong, said
    assert said.right.total() >= 39, f"{said}\n{agent.ledger}"


@pytest.mark.parametrize(
    ("toolchain", "modules", "h2"),
    [("local", relay.NEWEST, "h2"), ("go1.15.15", OLDEST, "x")],
    ids=["newest", "oldest"],
)
def test_handlers_that_drop_the_context_are_known_once_somebody_needs_it(
    toolchain: str, modules: dict[str, str], h2: str
) -> None:
    """Then, and only then, a probe fires for each request."""
    front, back = relay.pair(relay.build(toolchain, modules))
    # Of the oldest x/net's calls nothing tells who waits.
    over = ["http1", "grpc", h2] if h2 == "h2" else ["http1", "grpc"]
    with front, back, Agent(pids=[front.pid], env=relay.ENV) as agent:

        def lack() -> None:
            relay.drive(front, "grpc", ["none"], over, 20, 3)
            relay.drive(front, h2, ["none"], over, 20, 3)

        agent.wait_said("its handlers call others without", meanwhile=lack)
        agent.wait_said("it calls gRPC services without", meanwhile=lack)
        relay.drive(front, "grpc", ["none"], over, 100, len(over), 8, "then")
        relay.drive(front, h2, ["none"], over, 100, len(over), 8, "then")
        spans = agent.stop()
    assert not relay.judge(spans, front.pid).wrong
    later = [s for s in spans if s["kind"] == "SERVER" or ".then" in relay.truth(s, "parent")]
    said = relay.judge(later, front.pid)
    assert not said.wrong, said
    assert sum(said.right.values()) >= 0.98 * 200 * len(over), f"{said}\n{agent.ledger}"
    assert agent.ledger["programs_probed_for_each_request"] == 1


def test_a_database_called_by_a_pool_is_called_for_the_request_of_its_context() -> None:
    program = build_go(TESTS / "targets" / "go" / "sqlpool")
    with (
        Service("database", [program]) as database,
        Service("front", [program, "-database", database.address]) as front,
        Agent(pids=[front.pid], env=TRUTH_ENV) as agent,
    ):
        # Their calls have no parent: enough to ask for a probe, after a while.
        agent.wait_said("it calls databases", meanwhile=lambda: front.get("/call?id=first&n=2"))
        for number in range(50):
            front.get(f"/call?id=then.{number}&n=4")
        spans = agent.stop()
    ids = {
        s["span_id"]: parse_qs(s["attributes"]["url.query"])["id"][0]
        for s in select(spans, "SERVER", "/call", front.pid)
    }
    calls = relay.calls(spans, front.pid)
    said = [ids.get(call["parent_span_id"]) for call in calls]
    truth = [relay.truth(call, "parent") for call in calls]
    assert all(parent in (None, wanted) for parent, wanted in zip(said, truth, strict=True))
    right = sum(parent is not None and parent.startswith("then.") for parent in said)
    assert right >= 198, (right, agent.ledger)
