"""Random call trees over the truth services: what is called by whom, and how.

A plan is made before anything runs, from a seed. It is the truth that spans are
compared with.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

GO_SERVICES = ("go-a", "go-b")
PYTHON_SERVICES = ("py-threads", "py-pool")
SERVICES = (*GO_SERVICES, *PYTHON_SERVICES)


@dataclass(frozen=True)
class Kind:
    """One way in which a service makes the calls of a request.

    Attributes:
        floor: least recall in per cent, None where the tracer may abstain.
        leaves: its calls make none of their own, because a bounded pool or connection
            limit that waits for itself would never end.
        known: the tracer is known to err here. The row is shown and does not fail a run.
        secure: over TLS.
    """

    language: str
    mode: str
    transport: str
    ctx: bool = True
    floor: float | None = None
    leaves: bool = False
    weight: int = 1
    known: bool = False
    secure: bool = False

    @property
    def label(self) -> str:
        words = [self.language, self.mode, self.transport]
        if self.language == "go":
            words.append("ctx" if self.ctx else "no ctx")
        if self.secure:
            words.append("TLS")
        return ", ".join(words)


GO_KINDS = (
    Kind("go", "sequential", "pooled", True, 99.0, weight=3),
    Kind("go", "sequential", "pooled", False, 99.0, weight=2),
    Kind("go", "sequential", "fresh", True, 99.0, weight=2),
    Kind("go", "sequential", "fresh", False, 99.0),
    Kind("go", "parallel", "pooled", True, 99.0, weight=3),
    Kind("go", "parallel", "pooled", False, 99.0, weight=2),
    Kind("go", "parallel", "fresh", True, 99.0, weight=2),
    Kind("go", "parallel", "fresh", False, 99.0),
    Kind("go", "sequential", "limited", True, 99.0, leaves=True),
    Kind("go", "parallel", "limited", True, 99.0, leaves=True),
    Kind("go", "parallel", "limited", False, leaves=True),
    Kind("go", "chain2", "pooled", True, 99.0),
    Kind("go", "chain2", "pooled", False),
    Kind("go", "chain3", "pooled", True, 99.0),
    Kind("go", "chain3", "pooled", False),
    Kind("go", "chain2", "fresh", True, 99.0),
    Kind("go", "pool", "pooled", True, leaves=True),
    Kind("go", "pool", "pooled", False, leaves=True),
    Kind("go", "worker", "pooled", False, leaves=True),
    Kind("go", "grown", "pooled", True, leaves=True),
    # Its first job comes from the request that started the worker, the next from any other
    # one, while the first may still be open: ancestry alone cannot tell.
    Kind("go", "grown", "pooled", False, leaves=True, known=True),
    Kind("go", "leftover", "pooled", True, leaves=True),
    Kind("go", "leftover", "pooled", False, leaves=True),
)
PYTHON_KINDS = (
    Kind("python", "sequential", "pooled", floor=99.0, weight=3),
    Kind("python", "sequential", "shared", floor=99.0, weight=3),
    Kind("python", "sequential", "fresh", floor=99.0, weight=3),
    Kind("python", "sequential", "requests", floor=99.0),
    Kind("python", "threads", "fresh"),
    Kind("python", "executor", "fresh", leaves=True),
)
POOL_KINDS = (
    Kind("python pool", "sequential", "pooled", floor=99.0),
    Kind("python pool", "sequential", "fresh", floor=99.0),
)
KINDS = {
    **dict.fromkeys(GO_SERVICES, GO_KINDS),
    "py-threads": PYTHON_KINDS,
    "py-pool": POOL_KINDS,
}
MANY = 64
"""Requests in flight above which only Go's services take part: Python's have no threads for
so many, and what times out proves nothing."""
LEAF = Kind("", "sequential", "pooled")


@dataclass
class Call:
    """One request of the plan. ``caller`` is "" for the driver's own, ``parent`` then too."""

    id: str
    parent: str
    caller: str
    service: str
    kind: Kind | None
    """How its caller makes it; None for the driver's own."""
    root: str
    concurrency: int


@dataclass
class Plan:
    """``calls`` by id, ``roots`` by concurrency, ``nodes`` as the services load them."""

    calls: dict[str, Call] = field(default_factory=dict)
    roots: dict[int, list[str]] = field(default_factory=dict)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)


class _Maker:
    def __init__(self, seed: int, max_depth: int, saturate: bool, secure: bool) -> None:
        self.secure = secure
        self.saturate = saturate
        self.random = random.Random(seed)
        self.max_depth = max_depth
        self.plan = Plan()

    def identifier(self) -> str:
        return f"{self.random.getrandbits(64):016x}"

    def pace(self, concurrency: int) -> int:
        """How much longer the sleeps are with more trees in flight.

        The trees overlap as much, and two cores keep time for the services and the agent:
        what is measured is who is whose parent, not how much of an overload is lost.
        """
        return 1 if self.saturate else 1 + min(concurrency, MANY) * 3 // 8

    def add(self, call: Call, depth: int, leaf: bool, held: frozenset[str]) -> None:
        """Add ``call``, then what its service calls. ``held`` are bounded pools above it."""
        chance = self.random
        self.plan.calls[call.id] = call
        if call.service == "py-pool":
            held |= {call.service}
        options = KINDS[call.service]
        kind = chance.choices(options, [option.weight for option in options])[0]
        stop = leaf or depth >= self.max_depth or (depth > 1 and chance.random() < 0.25)
        node: dict[str, Any] = {
            "service": call.service,
            "mode": kind.mode,
            "transport": kind.transport,
            "ctx": kind.ctx,
            "sleep_ms": chance.choice((0, 0, 1, 2, 5, 10)) * self.pace(call.concurrency),
            # Go 1.26 and Python differ in when they read ahead with and without a body.
            "post": call.kind is not None and chance.random() < 0.2,
            "calls": [],
        }
        self.plan.nodes[call.id] = node
        if stop:
            return
        for _ in range(chance.choice((1, 2, 2, 3))):
            # The pool only has two kinds of its own, so it is called less often.
            among = GO_SERVICES if call.concurrency > MANY else (*SERVICES[:3] * 2, "py-pool")
            service = chance.choice([s for s in among if s not in held])
            go = call.service in GO_SERVICES and service in GO_SERVICES
            way = replace(kind, secure=True) if self.secure and go else kind
            child = Call(
                self.identifier(), call.id, call.service, service, way, call.root, call.concurrency
            )
            node["calls"].append(child.id)
            self.add(child, depth + 1, leaf=kind.leaves, held=held)


def make_plan(
    seed: int,
    levels: dict[int, int],
    *,
    max_depth: int = 4,
    saturate: bool = False,
    secure: bool = False,
) -> Plan:
    """``levels`` maps a concurrency to its number of trees; depth counts requests in a row.

    ``saturate`` keeps the sleeps short at every concurrency: as many calls as go. With
    ``secure`` the Go services call each other over TLS.
    """
    maker = _Maker(seed, max_depth, saturate, secure)
    for concurrency, trees in levels.items():
        roots = maker.plan.roots.setdefault(concurrency, [])
        for _ in range(trees):
            name = maker.identifier()
            service = maker.random.choice(GO_SERVICES if concurrency > MANY else SERVICES)
            roots.append(name)
            maker.add(Call(name, "", "", service, None, name, concurrency), 1, False, frozenset())
    return maker.plan
