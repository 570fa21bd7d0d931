"""Spans against the truth: each edge is right, wrong, absent or has no span.

An edge is a span's claim about its parent. Three families:

- *in process*: the CLIENT span of a call must be a child of the SERVER span of the
  request it was made for;
- *client to server*: the SERVER span of a call must be a child of the CLIENT span of
  the same call, where the caller was traced;
- *root*: the SERVER span of a call from outside must have no parent and share its trace
  with no other root.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.accuracy.plan import Call

Span = Mapping[str, Any]

RIGHT, WRONG, ABSENT, MISSING = "right", "wrong", "absent", "no span"
HOST_FLOOR = 99.0
ROOT_FLOOR = 99.0


@dataclass
class Row:
    """One edge kind. ``precision`` and ``recall`` are per cent, None of nothing."""

    label: str
    family: str
    floor: float | None
    known: bool = False
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rules: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, other: Row) -> None:
        """Counts the edges of another row of this kind too."""
        for name, count in other.counts.items():
            self.counts[name] += count
        for name, count in other.rules.items():
            self.rules[name] += count

    @property
    def expected(self) -> int:
        return sum(self.counts.values())

    @property
    def precision(self) -> float | None:
        answered = self.counts[RIGHT] + self.counts[WRONG]
        return 100.0 * self.counts[RIGHT] / answered if answered else None

    @property
    def recall(self) -> float | None:
        return 100.0 * self.counts[RIGHT] / self.expected if self.expected else None

    @property
    def passes(self) -> bool:
        """No wrong edge, and recall not below the floor. A row without edges passes.

        A row of fewer than 100 edges cannot tell 99 % from 100 %: one edge may be lacking.
        """
        if self.counts[WRONG]:
            return False
        recall = self.recall
        if self.floor is None or recall is None or recall >= self.floor:
            return True
        return 2 <= self.expected < 100 and self.expected - self.counts[RIGHT] == 1


@dataclass
class Problem:
    """One edge that is not right, in words that lead to it."""

    outcome: str
    label: str
    call: Call
    detail: str

    def __str__(self) -> str:
        return (
            f"{self.outcome}: {self.label}, concurrency {self.call.concurrency}, "
            f"call {self.call.id} ({self.call.caller or 'driver'} -> {self.call.service}): "
            f"{self.detail}"
        )


@dataclass
class Score:
    """``rows`` by (label, concurrency). ``anomalies`` are counts outside of edges."""

    rows: dict[tuple[str, int], Row]
    problems: list[Problem]
    anomalies: dict[str, int]
    trees: int
    whole_trees: int

    @property
    def passes(self) -> bool:
        """Every kind of edge, all concurrencies together, keeps its floor."""
        return all(row.passes or row.known for row in self.totals()) and not self.anomalies.get(
            "two spans for one side of a call"
        )

    def totals(self) -> list[Row]:
        """One row per label, over all concurrencies, in the order they were met."""
        merged: dict[str, Row] = {}
        for (label, _), row in self.rows.items():
            into = merged.setdefault(label, Row(label, row.family, row.floor, row.known))
            into.add(row)
        return list(merged.values())

    def join(self, other: Score) -> None:
        """Adds another run's edges."""
        for key, row in other.rows.items():
            into = self.rows.setdefault(key, Row(row.label, row.family, row.floor, row.known))
            into.add(row)
        self.problems += other.problems
        self.trees += other.trees
        self.whole_trees += other.whole_trees
        for name, count in other.anomalies.items():
            self.anomalies[name] = self.anomalies.get(name, 0) + count

    def levels(self) -> list[int]:
        return sorted({concurrency for _, concurrency in self.rows})


def truth_id(span: Span) -> str:
    """The call a span belongs to, by the captured header; "" when it has none."""
    attributes = span.get("attributes", {})
    value = attributes.get("http.request.header.x-truth-id") or attributes.get(
        "rpc.request.metadata.x-truth-id", ""
    )
    if isinstance(value, (list, tuple)):
        return str(value[0]) if len(value) == 1 else ""
    return str(value)


def rule_of(span: Span) -> str:
    """The correlation rule that a span names for its parent, "" when none."""
    for name, value in span.get("attributes", {}).items():
        if name.startswith("otel_ebpf.") and name.endswith("rule"):
            return str(value)
    return ""


def score(calls: Iterable[Call], spans: Iterable[Span], pids: Mapping[str, int]) -> Score:
    """Compare ``spans`` with the ``calls`` that succeeded. ``pids`` are the services'."""
    return _Scorer(list(calls), list(spans), pids).run()


class _Scorer:
    def __init__(self, calls: list[Call], spans: list[Span], pids: Mapping[str, int]) -> None:
        self.calls = calls
        self.by_id = {call.id: call for call in calls}
        self.pids = pids
        self.anomalies: dict[str, int] = defaultdict(int)
        self.rows: dict[tuple[str, int], Row] = {}
        self.problems: list[Problem] = []
        self.bad_roots: set[str] = set()
        self.server: dict[str, Span] = {}
        self.client: dict[str, Span] = {}
        self.owner: dict[tuple[str, str], str] = {}
        for span in spans:
            self._index(span)

    def _index(self, span: Span) -> None:
        name = truth_id(span)
        place = (str(span["trace_id"]), str(span["span_id"]))
        self.owner[place] = f"the {span['kind']} span of call {name or '(unknown)'}"
        call = self.by_id.get(name)
        if call is None:
            if str(span.get("attributes", {}).get("url.path", "")).startswith("/call/"):
                self.anomalies["spans of the workload without a known truth id"] += 1
            return
        sides, service = (
            (self.server, call.service) if span["kind"] == "SERVER" else (self.client, call.caller)
        )
        pid = span.get("resource", {}).get("process.pid")
        if pid is not None and int(pid) != self.pids.get(service):
            self.anomalies["spans with another process than the call's"] += 1
        if name in sides:
            self.anomalies["two spans for one side of a call"] += 1
        sides[name] = span

    def run(self) -> Score:
        traces: dict[str, set[str]] = defaultdict(set)
        for name, span in self.server.items():
            # A tree that was hung below another by one wrong edge is that edge's fault alone.
            if not span["parent_span_id"]:
                traces[str(span["trace_id"])].add(name)
        for call in self.calls:
            if call.kind is None:
                self._root(call, traces)
                continue
            label = f"{call.kind.label}"
            client = self.client.get(call.id)
            self._edge(label, "in process", call.kind.floor, call, client, self.server, call.parent)
            source = "go" if call.caller.startswith("go") else "python"
            target = "go" if call.service.startswith("go") else "python"
            self._edge(
                f"client to server, {source} to {target}", "client to server", HOST_FLOOR,
                call, self.server.get(call.id), self.client, call.id,
            )  # fmt: skip
        roots = {call.root for call in self.calls}
        return Score(
            self.rows, self.problems, dict(self.anomalies), len(roots),
            len(roots - self.bad_roots),
        )  # fmt: skip

    def _root(self, call: Call, traces: Mapping[str, set[str]]) -> None:
        span = self.server.get(call.id)
        if span is None:
            return self._count("root", "root", ROOT_FLOOR, call, MISSING, "", "no SERVER span")
        if span["parent_span_id"]:
            detail = f"its parent is {self._name(span)}"
            return self._count("root", "root", ROOT_FLOOR, call, WRONG, rule_of(span), detail)
        others = traces[str(span["trace_id"])] - {call.id}
        if others:
            detail = f"its trace also holds {len(others)} other roots"
            return self._count("root", "root", ROOT_FLOOR, call, WRONG, "", detail)
        return self._count("root", "root", ROOT_FLOOR, call, RIGHT, "", "")

    def _edge(
        self, label: str, family: str, floor: float | None, call: Call, span: Span | None,
        parents: Mapping[str, Span], parent_id: str,
    ) -> None:  # fmt: skip
        if span is None:
            side = "CLIENT" if parents is self.server else "SERVER"
            return self._count(label, family, floor, call, MISSING, "", f"no {side} span")
        rule = rule_of(span)
        if not span["parent_span_id"]:
            return self._count(label, family, floor, call, ABSENT, "", "no parent")
        parent = parents.get(parent_id)
        if (
            parent is not None
            and span["parent_span_id"] == parent["span_id"]
            and span["trace_id"] == parent["trace_id"]
        ):
            return self._count(label, family, floor, call, RIGHT, rule, "")
        if parent is None and not self._known(span):
            # Neither the claimed nor the true parent was exported: nothing to judge by.
            detail = f"rule {rule!r}: the span of its parent, call {parent_id}, is missing"
            return self._count(label, family, floor, call, MISSING, "", detail)
        detail = f"rule {rule!r}: its parent is {self._name(span)}, not that of {parent_id}"
        return self._count(label, family, floor, call, WRONG, rule, detail)

    def _known(self, span: Span) -> bool:
        return (str(span["trace_id"]), str(span["parent_span_id"])) in self.owner

    def _name(self, span: Span) -> str:
        place = (str(span["trace_id"]), str(span["parent_span_id"]))
        return self.owner.get(place, f"{place[1]}, which no span of its trace has")

    def _count(
        self, label: str, family: str, floor: float | None, call: Call, outcome: str,
        rule: str, detail: str,
    ) -> None:  # fmt: skip
        known = family == "in process" and call.kind is not None and call.kind.known
        new = Row(label, family, floor, known)
        row = self.rows.setdefault((label, call.concurrency), new)
        row.counts[outcome] += 1
        if rule and outcome in (RIGHT, WRONG):
            row.rules[rule] += 1
        if outcome != RIGHT:
            self.bad_roots.add(call.root)
            self.problems.append(Problem(outcome, label, call, detail))
