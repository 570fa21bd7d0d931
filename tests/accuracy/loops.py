"""Accuracy of parents in event loops: services of one thread, each with its own kinds of calls.

The service under test calls a Go leaf; roots come from the driver. As in the other harness the
plan is the truth that spans are compared with.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.accuracy.harness import HarnessError, Run, Say, drive, load, settle, succeeded
from tests.accuracy.plan import Call, Kind, Plan
from tests.accuracy.score import score
from tests.debian import HAPROXY, debian_program
from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.services import Service
from tests.gobuild import build_go
from tests.nginx import nginx_program
from tests.nodes import node_version, npm_packages
from tests.python314 import python314_root
from tests.pythons import ASYNC_PACKAGES, WEB_PACKAGES, python_with

HERE = Path(__file__).resolve().parent
LEAF = "go-leaf"


@dataclass(frozen=True)
class Loop:
    """One service under test.

    Attributes:
        command: starts it; ``{leaf}`` in it is the leaf's address. kinds: the ways in
            which it makes calls. proxy: it makes one call of its own for each root.
        pause: random milliseconds that it sleeps before a call, at most; 0: never.
    """

    name: str
    command: Sequence[str | Path]
    kinds: tuple[Kind, ...]
    pause: int = 0
    proxy: bool = False
    env: dict[str, str] = field(default_factory=dict)


_MODES = ("sequential", "parallel", "nested", "wait", "shield", "wait_for", "task", "group")


def asyncio_loop(
    server: str,
    python: str | Path,
    *,
    uvloop: bool = False,
    pause: int = 0,
    copied: float = 99.0,
) -> Loop:
    """An asyncio service: ``server`` is "aiohttp" or "starlette" (uvicorn, httpx).

    ``python`` is an interpreter with ``tests.pythons.ASYNC_PACKAGES``; ``copied`` the floor of
    those calls of which only copies of contexts tell.
    """
    name = f"{server} uvloop" if uvloop else server
    kinds = [Kind(name, mode, "pooled", floor=99.0) for mode in _MODES]
    kinds += [Kind(name, mode, "pooled", floor=copied) for mode in ("later", "to_thread")]
    kinds.append(Kind(name, "background", "pooled"))  # written after its cause was answered
    kinds.append(Kind(name, "sequential", "body", floor=copied))
    if server == "aiohttp":
        kinds += [Kind(name, mode, "limited", floor=99.0) for mode in ("sequential", "parallel")]
    command = [python, HERE / "aio_target.py", server, *(["--uvloop"] if uvloop else [])]
    return Loop(name, command, tuple(kinds), pause)


_GUNICORN = {
    "sync": ("-w", "2"),
    "gthread": ("-k", "gthread", "-w", "2", "--threads", "4", "--keep-alive", "30"),
    "uvicorn": ("-k", "uvicorn.workers.UvicornWorker", "-w", "2"),
}


WEB = (("fastapi", "uvicorn"), ("flask", "sync"), ("flask", "gthread"), ("django", "gthread"))
"""What ``all_loops`` has of them."""


def web_loop(framework: str, worker: str, python: str | Path, *, copied: float = 99.0) -> Loop:
    """FastAPI, Flask or Django under gunicorn, with two worker processes of a kind.

    ``python`` is an interpreter with ``tests.pythons.WEB_PACKAGES``; ``copied`` as above.
    """
    label = f"{framework}, gunicorn {worker}"
    floors: dict[str, float | None]
    if worker == "uvicorn":
        floors = {"sequential": 99.0, "parallel": 99.0, "to_thread": copied, "executor": 50.0}
    else:
        floors = {"sequential": 99.0, "submitted": None}
    kinds = tuple(Kind(label, mode, "pooled", floor=floor) for mode, floor in floors.items())
    command = [python, HERE / "web_target.py", framework, "--", *_GUNICORN[worker]]
    return Loop(label, command, kinds)


def asyncio_loop_314(
    server: str, *, uvloop: bool = False, pause: int = 0, copied: float = 99.0
) -> Loop:
    """The same on CPython 3.14, below a root of its own."""
    root = python314_root(ASYNC_PACKAGES)
    script = root / f"aio_target-{os.getpid()}.py"
    shutil.copy(HERE / "aio_target.py", script)
    plain = asyncio_loop(server, "python3.14", uvloop=uvloop, pause=pause, copied=copied)
    name = f"{plain.name} 3.14"
    kinds = tuple(replace(kind, language=name) for kind in plain.kinds)
    options = plain.command[2:]
    command = ["chroot", root, "/usr/bin/python3.14", f"/{script.name}", *options]
    return Loop(name, command, kinds, pause)


def nginx_loop(
    program: str | Path, *, keepalive: bool = False, workers: int = 1, dead: bool = False
) -> Loop:
    """nginx as a proxy. ``dead``: every other server that it tries refuses connections."""
    words = ["nginx"] + ["keep-alive"] * keepalive + ["retries"] * dead
    words += [f"{workers} workers"] * (workers > 1)
    name = " ".join(words)
    command: list[str | Path] = [sys.executable, HERE / "nginx_target.py", program, "{leaf}"]
    command += ["--workers", str(workers)] + ["--keepalive"] * keepalive
    command += ["--dead", "127.0.0.1:1"] * dead
    kind = Kind(name, "proxied", "pooled" if keepalive else "fresh", floor=99.0)
    return Loop(name, command, (kind,), proxy=True)


def haproxy_loop(
    *,
    keepalive: bool = False,
    threads: int = 1,
    dead: bool = False,
) -> Loop:
    """HAProxy as a proxy. ``dead``: every other server that it tries refuses connections."""
    words = ["haproxy"] + ["keep-alive"] * keepalive + ["retries"] * dead
    words += [f"{threads} threads"] * (threads > 1)
    name = " ".join(words)
    program, env = debian_program(*HAPROXY)
    path = {name: env[name] for name in ("LD_LIBRARY_PATH",) if name in env}
    command: list[str | Path] = [sys.executable, HERE / "haproxy_target.py", program, "{leaf}"]
    command += ["--threads", str(threads)] + ["--keepalive"] * keepalive
    command += ["--dead", "127.0.0.1:1"] * dead
    kind = Kind(name, "proxied", "pooled" if keepalive else "fresh")
    return Loop(name, command, (kind,), proxy=True, env=path)


def node_loop(
    program: str | Path,
    *transports: str,
    pause: int = 0,
    label: str = "node",
    options: tuple[str, ...] = (),
    floor: float | None = None,
) -> Loop:
    """A Node service; ``options`` are those of node_target.js. What is believed of it must be
    earned first, and where it sleeps before its calls and shows no async context, a third
    is left out."""
    kinds = [
        Kind(label, mode, transport, floor=floor)
        for mode in ("sequential", "parallel")
        for transport in transports or ("pooled",)
    ]
    env = {}
    if "--express" in options:
        env["NODE_PATH"] = str(npm_packages(("express@4",)))
    command = [program, HERE / "node_target.js", *options]
    return Loop(label, command, tuple(kinds), pause, env=env)


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
                for _ in range(1 if loop.proxy else chance.choice((1, 2, 2, 3))):
                    child = f"{root}c" if loop.proxy else name()
                    own["calls"].append(child)
                    plan.calls[child] = Call(child, root, loop.name, LEAF, kind, root, level)
                    plan.nodes[child] = node(
                        LEAF, None, sleep_ms=chance.choice((1, 2, 5, 10, 20)),
                        post=kind.transport == "body", before_ms=pause,
                    )  # fmt: skip
        chance.shuffle(names)
    return plan


def _children(pid: int) -> list[int]:
    """Processes that it has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def started_loops(
    loops: Sequence[Loop], plan: Plan
) -> Iterator[tuple[dict[str, Service], list[int]]]:
    """The leaf and the loops with the plan loaded, and the processes that they have started."""
    with ExitStack() as stack:
        services = {LEAF: stack.enter_context(Service(LEAF, [build_go(HERE / "target")]))}
        for loop in loops:
            words = [str(word).format(leaf=services[LEAF].address) for word in loop.command]
            service = Service(loop.name, words, env=loop.env)
            services[loop.name] = stack.enter_context(service)
        proxies = {loop.name for loop in loops if loop.proxy}
        load({name: s for name, s in services.items() if name not in proxies}, plan)
        yield services, [pid for s in services.values() for pid in _children(s.pid)]


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
    with started_loops(loops, plan) as (services, workers):
        if late:
            drive(services, plan, plan.roots[min(levels)][:20], 4)
            settle(services)
        pids = {name: service.pid for name, service in services.items()}
        chosen = [*pids.values(), *workers]
        with Agent(*agent_arguments, pids=chosen, env=TRUTH_ENV) as agent:
            outcomes: list[dict[str, Any]] = []
            for concurrency, roots in plan.roots.items():
                outcomes += drive(services, plan, roots, concurrency)
                if settle(services):
                    raise HarnessError("calls failed after their request had ended")
                say(f"concurrency {concurrency}: {len(roots)} roots")
            spans = agent.stop(120)
        calls, failed = succeeded(plan, outcomes)
        if failed > len(outcomes) // 100:
            said = "\n".join(service.errors[-500:] for service in services.values())
            first = next(o for o in outcomes if o["error"])
            raise HarnessError(f"{failed} of {len(outcomes)} roots failed: {first}\n{said}")
        return Run(score(calls, spans, pids), spans, agent.ledger, failed, {}, len(calls))


def all_loops(pause: int = 0) -> list[Loop]:
    """Every event loop that can be had here; Node 24 is npm's, or what OTEL_EBPF_NODE names."""
    python, nginx = python_with(ASYNC_PACKAGES), nginx_program()
    found = [
        asyncio_loop("aiohttp", python, pause=pause),
        asyncio_loop("aiohttp", python, uvloop=True, pause=pause),
        asyncio_loop("starlette", python, pause=pause),
        asyncio_loop("starlette", python, uvloop=True, pause=pause),
        asyncio_loop_314("aiohttp", pause=pause),
        asyncio_loop_314("starlette", uvloop=True, pause=pause),
        nginx_loop(nginx, dead=True),
        nginx_loop(nginx, keepalive=True, workers=2, dead=True),
        *(web_loop(*words, python_with(WEB_PACKAGES)) for words in WEB),
        haproxy_loop(dead=True),
        haproxy_loop(keepalive=True, threads=2),
    ]
    newest = os.environ.get("OTEL_EBPF_NODE") or node_version(24)
    for name in (shutil.which("node"), node_version(22), newest):
        if name:
            said = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            label = f"node {said.strip().lstrip('v').partition('.')[0]}"
            found += [
                node_loop(name, "pooled", pause=pause, label=label, floor=55.0),
                node_loop(name, "fetch", pause=pause, label=f"{label} fetch", floor=55.0),
                node_loop(name, "limited", pause=pause, label=f"{label} maxSockets", floor=55.0),
                node_loop(name, "pooled", label=f"{label} without sleeps", floor=97.0),
            ]
    if newest:
        for more, transport, floor, options in (
            ("", "pooled", 90.0, ()),
            (" fetch", "fetch", 90.0, ()),
            (" maxSockets", "limited", 90.0, ()),
            (" Express cluster", "pooled", 90.0, ("--express", "--cluster")),
        ):
            label = f"node 24 AsyncLocalStorage{more}"
            chosen = ("--als", *options)
            found.append(
                node_loop(newest, transport, pause=pause, label=label, options=chosen, floor=floor)
            )
        # Whose calls are begun in another's frame, by a queue that does not care.
        label = "node 24 AsyncLocalStorage queue"
        found.append(
            node_loop(newest, "pooled", "queued", pause=pause, label=label, options=("--als",))
        )
    return found
