"""Accuracy of parents in event loops: services of one thread, each with its own kinds of calls.

The service under test calls a Go leaf; roots come from the driver. As in the other harness the
plan is the truth that spans are compared with.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.accuracy.harness import HarnessError, Run, Say, drive, load, settle, succeeded
from tests.accuracy.plan import Call, Kind, Plan
from tests.accuracy.score import score
from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.services import Service
from tests.gobuild import build_go

HERE = Path(__file__).resolve().parent
LEAF = "go-leaf"


@dataclass(frozen=True)
class Loop:
    """One service under test.

    Attributes:
        command: starts it. kinds: the ways in which it makes calls.
        pause: random milliseconds that it sleeps before a call, at most; 0: never.
    """

    name: str
    command: Sequence[str | Path]
    kinds: tuple[Kind, ...]
    pause: int = 0
    env: dict[str, str] = field(default_factory=dict)


_MODES = ("sequential", "parallel", "nested", "wait", "shield", "wait_for", "task", "group")


def asyncio_loop(server: str, python: str | Path, *, uvloop: bool = False, pause: int = 0) -> Loop:
    """An asyncio service: ``server`` is "aiohttp" or "starlette" (uvicorn, httpx).

    ``python`` is an interpreter with ``tests.pythons.ASYNC_PACKAGES``. A task that nobody
    waits for tells nothing, so "later" and "background" may be absent.
    """
    name = f"{server} uvloop" if uvloop else server
    kinds = [Kind(name, mode, "pooled", floor=99.0) for mode in _MODES]
    kinds += [Kind(name, mode, "pooled", leaves=True) for mode in ("later", "background")]
    if server == "aiohttp":
        kinds += [Kind(name, mode, "limited", floor=99.0) for mode in ("sequential", "parallel")]
    command = [python, HERE / "aio_target.py", server, *(["--uvloop"] if uvloop else [])]
    return Loop(name, command, tuple(kinds), pause)


def make_plan(seed: int, loops: Sequence[Loop], levels: dict[int, int]) -> Plan:
    """``levels`` maps a concurrency to the number of roots for each loop."""
    chance, plan = random.Random(seed), Plan()

    def name() -> str:
        return f"{chance.getrandbits(64):016x}"

    def node(service: str, kind: Kind | None, **more: Any) -> dict[str, Any]:
        return {
            "service": service,
            "mode": kind.mode if kind else "sequential",
            "transport": kind.transport if kind else "pooled",
            "ctx": True,
            "post": False,
            "calls": [],
            **more,
        }

    for level, roots in levels.items():
        names = plan.roots.setdefault(level, [])
        for loop in loops:
            for _ in range(roots):
                kind = chance.choices(loop.kinds, [kind.weight for kind in loop.kinds])[0]
                root = name()
                names.append(root)
                plan.calls[root] = Call(root, "", "", loop.name, None, root, level)
                pause = loop.pause if chance.random() < 0.7 else 0
                own = node(loop.name, kind, sleep_ms=pause and chance.choice((0, 1, 3)),
                           pause_ms=pause, post=False)  # fmt: skip
                plan.nodes[root] = own
                for _ in range(chance.choice((1, 2, 2, 3))):
                    child = name()
                    own["calls"].append(child)
                    plan.calls[child] = Call(child, root, loop.name, LEAF, kind, root, level)
                    plan.nodes[child] = node(
                        LEAF, None, sleep_ms=chance.choice((1, 2, 5, 10, 20)),
                        post=kind.transport == "body",
                    )  # fmt: skip
        chance.shuffle(names)
    return plan


def run_loops(
    loops: Sequence[Loop],
    levels: dict[int, int],
    *,
    seed: int = 1,
    late: bool = False,
    say: Say = lambda _: None,
    agent_arguments: tuple[str, ...] = (),
) -> Run:
    """Run every loop at every level (concurrency -> roots each) and score the spans.

    ``late`` lets each service answer before the agent starts.
    """
    plan = make_plan(seed, loops, levels)
    with ExitStack() as stack:
        services = {LEAF: stack.enter_context(Service(LEAF, [build_go(HERE / "target")]))}
        for loop in loops:
            service = Service(loop.name, [*loop.command], env=loop.env)
            services[loop.name] = stack.enter_context(service)
        load(services, plan)
        if late:
            drive(services, plan, plan.roots[min(levels)][:20], 4)
            settle(services)
        pids = {name: service.pid for name, service in services.items()}
        with Agent(*agent_arguments, pids=pids.values(), env=TRUTH_ENV) as agent:
            outcomes: list[dict[str, Any]] = []
            for concurrency, roots in plan.roots.items():
                outcomes += drive(services, plan, roots, concurrency)
                if settle(services):
                    raise HarnessError("calls failed after their request had ended")
                say(f"concurrency {concurrency}: {len(roots)} roots")
            spans = agent.stop(120)
        calls, failed = succeeded(plan, outcomes)
        if failed > len(outcomes) // 100:
            words = "\n".join(service.errors[-500:] for service in services.values())
            first = next(o for o in outcomes if o["error"])
            raise HarnessError(f"{failed} of {len(outcomes)} roots failed: {first}\n{words}")
        return Run(score(calls, spans, pids), spans, agent.ledger, failed, {}, len(calls))
