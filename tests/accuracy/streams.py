"""HTTP/2 and gRPC: who asked for a stream, in every combination with HTTP/1, as more rows.

A relay (tests/targets/go/relay) answers requests of one protocol and calls another relay over
the others. Which request makes which calls follows from the request's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from tests.accuracy.harness import Run, Say, let_trials_end
from tests.accuracy.plan import Call, Kind
from tests.accuracy.score import score
from tests.e2e import relay
from tests.e2e.agent import Agent
from tests.e2e.services import Service

PLAIN = ("grpc", "h2", "http1")
SECURE = ("grpcs", "h2s")
"""The same over TLS."""
MODES = {
    # mode of the relay -> (how its row calls it, whether the context is passed on)
    "ctx": ("one goroutine", True),
    "wrapped": ("one goroutine", True),
    "par": ("parallel", True),
    "chain": ("chain3", True),
    "pool": ("pool", True),
    "poolwrapped": ("pool", True),
    "none": ("one goroutine", False),
    "parnone": ("parallel", False),
}
OLDER = ("grpc", "h2", "grpcs", "h2s")
"""What connections that are older than the agent speak, on both sides."""
_NAMES = {
    "grpc": "gRPC",
    "h2": "HTTP/2",
    "http1": "HTTP/1",
    "grpcs": "gRPC with TLS",
    "h2s": "HTTP/2 with TLS",
}


def calls_of(levels: dict[int, int], protocols: tuple[str, ...] = PLAIN) -> Iterator[Call]:
    """Every request that the relays get, and every call that follows from it."""
    for concurrency, requests in levels.items():
        for served in protocols:
            tag = f"{len(protocols)}.{'+'.join(protocols)}.{_tag(concurrency, served)}"
            for number in range(1, requests + 1):
                mode = tuple(MODES)[number % len(MODES)]
                name = f"{mode}.{tag}{number}"
                yield Call(name, "", "", "go-front", None, name, concurrency)
                for i, called in enumerate(protocols):
                    how, context = MODES[mode]
                    way = f"{_NAMES[served]} to {_NAMES[called]}"
                    # Nothing is promised without a context.
                    kind = Kind("go", how, way, context, 99.0 if context else None)
                    yield Call(
                        f"leaf.0.-.{name}:{i}", name, "go-front", "go-back", kind, name, concurrency
                    )


def _tag(concurrency: int, served: str) -> str:
    return f"{concurrency}-{served}-"


def run_streams(levels: dict[int, int], *, secure: bool = False, say: Say = lambda _: None) -> Run:
    """``levels``: concurrency -> requests over each protocol; with ``secure``, over TLS."""
    protocols = SECURE if secure else PLAIN
    front, back = relay.pair(relay.build())
    pids = {"go-front": front.pid, "go-back": back.pid}
    with front, back, Agent(pids=pids.values(), env=relay.ENV) as agent:
        _ask_for_probes(front, agent, protocols)
        for concurrency, requests in levels.items():
            for served in protocols:
                relay.drive(
                    front, served, MODES, protocols, requests, len(protocols), concurrency,
                    _tag(concurrency, served),
                )  # fmt: skip
            say(f"streams, concurrency {concurrency}: {requests} requests a protocol")
        let_trials_end()
        spans = agent.stop(120)
    calls = list(calls_of(levels, protocols))
    return Run(score(calls, spans, pids), spans, agent.ledger, 0, {}, len(calls))


def _ask_for_probes(front: Service, agent: Agent, protocols: tuple[str, ...]) -> None:
    """Calls without a context have parents once some have lacked them, and once the goroutines
    that make them are known to keep to one request. These first ones are not counted."""

    def some() -> None:
        for served in protocols:
            relay.drive(
                front, served, ["none", "parnone"], protocols, 16, len(protocols), 2, "first"
            )

    agent.wait_said("its handlers call others without", meanwhile=some)
    agent.wait_said("it calls gRPC services without", meanwhile=some)
    some()


def run_older(levels: dict[int, int], *, say: Say = lambda _: None) -> Run:
    """The same on connections that are all older than the agent, and in use while it starts.
    ``levels``: concurrency over all protocols together -> requests over each."""
    modes = [mode for mode, (_, context) in MODES.items() if context]
    runs: list[Run] = []
    for concurrency, requests in levels.items():
        front, back = relay.pair(relay.build())
        pids = {"go-front": front.pid, "go-back": back.pid}
        share = max(1, concurrency // len(OLDER))
        with front, back, ExitStack() as stack:
            loads = [
                relay.EarlyLoad(front, served, modes, OLDER, requests, share) for served in OLDER
            ]
            for load in loads:
                stack.enter_context(load)
            agent = stack.enter_context(Agent(pids=pids.values(), env=relay.ENV))
            for load in loads:
                load.count()
            for load in loads:
                load.finish()
            spans = agent.stop(120)
        say(f"older connections, concurrency {concurrency}: {requests} requests a protocol")
        calls = list(_older_calls(modes, concurrency, requests))
        runs.append(Run(score(calls, spans, pids), spans, agent.ledger, 0, {}, len(calls)))
    for run in runs[1:]:
        runs[0].join(run)
    return runs[0]


def _older_calls(modes: list[str], concurrency: int, requests: int) -> Iterator[Call]:
    for served in OLDER:
        for number in range(1, requests + 1):
            mode = modes[number % len(modes)]
            name = f"{mode}.{len(OLDER)}.{'+'.join(OLDER)}.{served}-{number}"
            yield Call(name, "", "", "go-front", None, name, concurrency)
            for i, called in enumerate(OLDER):
                way = f"{_NAMES[served]} to {_NAMES[called]}"
                kind = Kind("go", "older connections", way, True, 99.0)
                yield Call(
                    f"leaf.0.-.{name}:{i}", name, "go-front", "go-back", kind, name, concurrency
                )
