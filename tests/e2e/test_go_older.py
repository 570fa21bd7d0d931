"""Connections of Go's HTTP/2 and gRPC that are older than the agent, in use while it starts:
who asked is known on both sides of them, without a uprobe for each request."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.e2e import relay
from tests.e2e.agent import Agent

MODES = ("ctx", "wrapped", "par", "chain", "pool", "poolwrapped")
BUILDS = {
    "newest": ("local", relay.NEWEST, ()),
    "stripped": ("local", relay.NEWEST, ("-ldflags=-s -w", "-buildmode=pie")),
    # HTTP/2's server has no other witness there: who bore its reader is not in memory.
    "old": (
        "go1.15.15",
        {
            "google.golang.org/grpc": "v1.40.0",
            "golang.org/x/net": "v0.0.0-20210525063256-abc453219eb5",
        },
        (),
    ),
    "middle": (
        "go1.21.13",
        {"google.golang.org/grpc": "v1.60.1", "golang.org/x/net": "v0.20.0"},
        (),
    ),
}
REQUESTS = 60


@pytest.mark.parametrize(
    ("build", "concurrency", "way"),
    [
        ("newest", 1, "auto"),
        ("newest", 16, "auto"),
        ("stripped", 4, "auto"),
        ("middle", 8, "auto"),
        # Who runs on a thread is known there only from its next scheduling on.
        ("middle", 8, "uprobe"),
        ("old", 8, "both"),
    ],
)
def test_connections_older_than_the_agent_tell_who_asked(
    build: str, concurrency: int, way: str
) -> None:
    toolchain, requires, flags = BUILDS[build]
    front, back = relay.pair(relay.build(toolchain, requires, flags))
    protocols = [part.partition("=")[0] for part in front.address.split(",")]
    assert {"grpc", "grpcs", "x", "h2s", "http1"} <= set(protocols)
    with front, back, ExitStack() as stack:
        loads = [
            stack.enter_context(
                relay.EarlyLoad(front, served, MODES, protocols, REQUESTS, concurrency)
            )
            for served in protocols
        ]
        arguments = ("--go-identity", way)
        agent = stack.enter_context(Agent(*arguments, pids=[front.pid], env=relay.ENV))
        for load in loads:
            load.count()
        for load in loads:
            load.finish()
        spans = agent.stop(60)
    said = relay.judge(relay.counted(spans), front.pid)
    assert not said.wrong, said
    calls = REQUESTS * len(protocols) ** 2
    assert sum(said.right.values()) >= 0.99 * calls, f"{said}\n{agent.ledger}"
    assert sum(said.right.values()) + sum(said.absent.values()) <= calls
    assert agent.ledger.get("programs_probed_for_each_request", 0) == 0
    assert agent.ledger["go_stack_found"] >= 2 * (len(protocols) - 1)


def test_http2_servers_of_before_go_1_21_are_known_without_who_bore_their_readers() -> None:
    """New connections too."""
    toolchain, requires, flags = BUILDS["old"]
    front, back = relay.pair(relay.build(toolchain, requires, flags))
    called = ("x", "h2s", "grpc", "http1")
    with front, back, Agent(pids=[front.pid], env=relay.ENV) as agent:
        for served in ("x", "h2s"):
            relay.drive(front, served, MODES, called, REQUESTS, len(called), 8, served)
        spans = agent.stop()
    said = relay.judge(spans, front.pid)
    assert not said.wrong, said
    assert said.right.total() >= 0.99 * 2 * REQUESTS * len(called), f"{said}\n{agent.ledger}"
