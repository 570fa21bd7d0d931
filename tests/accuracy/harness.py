"""One accuracy run: services, agent, load by plan, and the spans that came of it."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_ebpf.correlation.sites import PATIENCE
from tests.accuracy.plan import GO_SERVICES, Call, Plan, make_plan
from tests.accuracy.score import Score, score
from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.services import Service, python_command
from tests.gobuild import build_go

HERE = Path(__file__).resolve().parent
Say = Callable[[str], None]


class HarnessError(RuntimeError):
    """The workload itself did not run as planned, so nothing can be said of the agent."""


@dataclass
class Run:
    """What one run gave. ``seconds`` is the load's time by concurrency."""

    score: Score
    spans: list[dict[str, Any]]
    ledger: dict[str, int]
    failed: int
    seconds: dict[int, float] = field(default_factory=dict)
    calls: int = 0

    def join(self, other: Run) -> None:
        """Adds what another run gave."""
        self.score.join(other.score)
        self.spans += other.spans
        self.calls += other.calls
        for name, count in other.ledger.items():
            self.ledger[name] = self.ledger.get(name, 0) + count


@contextmanager
def started_services() -> Iterator[dict[str, Service]]:
    """The four truth services on free loopback ports."""
    target = build_go(HERE / "target")
    commands: dict[str, list[str | Path]] = {
        "go-a": [target],
        "go-b": [target],
        "py-threads": [*python_command(HERE / "target.py", "threading")],
        "py-pool": [*python_command(HERE / "target.py", "pool")],
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Service(name, command)) for name, command in commands.items()
        }


def load(services: dict[str, Service], plan: Plan, secure: bool = False) -> None:
    """Hand the plan to every service."""
    tls = {}
    for name in (name for name in GO_SERVICES if name in services):
        words = services[name].take_line().split()
        if words[0] != "secure":
            raise HarnessError(f"{name}: expected `secure HOST:PORT`, got {words!r}")
        tls[name] = words[1]
    body = json.dumps(
        {
            "services": {name: service.address for name, service in services.items()},
            "secure": tls if secure else {},
            "nodes": plan.nodes,
        }
    ).encode()
    for service in services.values():
        service.get("/load", data=body)


def drive(
    services: dict[str, Service], plan: Plan, roots: list[str], concurrency: int
) -> list[dict[str, Any]]:
    """Send the roots, ``concurrency`` at a time; one outcome each."""
    driver = build_go(HERE / "driver")
    lines = "".join(
        json.dumps({"id": name, "address": services[plan.calls[name].service].address}) + "\n"
        for name in roots
    )
    done = subprocess.run(
        [driver, "-concurrency", str(concurrency)],
        input=lines, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode != 0:
        raise HarnessError(f"the driver ended with {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def settle(services: dict[str, Service], seconds: float = 30.0) -> int:
    """Wait for the calls that outlive their requests; returns how many failed."""
    deadline = time.monotonic() + seconds
    failed = 0
    for service in services.values():
        while True:
            pending, bad = (int(word) for word in service.get("/pending").split())
            if pending == 0:
                failed += bad
                break
            if time.monotonic() > deadline:
                raise HarnessError(f"{service.name}: {pending} calls are still pending")
            time.sleep(0.05)
    return failed


def let_trials_end() -> None:
    """Until goroutines may have shown that they keep to their requests: only time tells."""
    time.sleep(PATIENCE / 1e9 + 0.5)


def succeeded(plan: Plan, outcomes: list[dict[str, Any]]) -> tuple[list[Call], int]:
    """The calls of the trees that were answered well, and the number of other trees."""
    good = {outcome["id"] for outcome in outcomes if not outcome["error"]}
    return [call for call in plan.calls.values() if call.root in good], len(outcomes) - len(good)


def run_accuracy(
    levels: dict[int, int],
    *,
    seed: int = 1,
    late: bool = False,
    saturate: bool = False,
    secure: bool = False,
    say: Say = lambda _: None,
    agent_arguments: tuple[str, ...] = (),
) -> Run:
    """Run ``levels`` (concurrency -> trees) under the agent and score its spans.

    ``late`` opens the services' connections before the agent starts; ``saturate`` makes as
    many calls as the machine can, whether or not the agent keeps up; ``secure`` has the Go
    services call each other over TLS.
    """
    plan = make_plan(seed, levels, saturate=saturate, secure=secure)
    with started_services() as services:
        load(services, plan, secure)
        if late:
            warm = random.Random(seed).sample(
                plan.roots[max(levels)], min(64, max(levels.values()))
            )
            drive(services, plan, warm, 16)
            settle(services)
        pids = {name: service.pid for name, service in services.items()}
        with Agent(*agent_arguments, pids=pids.values(), env=TRUTH_ENV) as agent:
            say(f"the agent was ready after {agent.ready_seconds:.2f} s")
            outcomes: list[dict[str, Any]] = []
            seconds: dict[int, float] = {}
            for concurrency, roots in plan.roots.items():
                begun = time.monotonic()
                outcomes += drive(services, plan, roots, concurrency)
                leftovers = settle(services)
                seconds[concurrency] = time.monotonic() - begun
                say(f"concurrency {concurrency}: {len(roots)} trees, {seconds[concurrency]:.1f} s")
                if leftovers:
                    raise HarnessError(f"{leftovers} calls failed after their request had ended")
            let_trials_end()
            spans = agent.stop(120)
        calls, failed = succeeded(plan, outcomes)
        if failed > len(outcomes) // 100:
            words = "\n".join(service.errors[-500:] for service in services.values())
            first = next(o for o in outcomes if o["error"])
            raise HarnessError(f"{failed} of {len(outcomes)} trees failed: {first}\n{words}")
        return Run(score(calls, spans, pids), spans, agent.ledger, failed, seconds, len(calls))
