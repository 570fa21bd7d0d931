"""The scoring itself: a harness that cannot find a fault proves nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.accuracy.plan import KINDS, SERVICES, Call, make_plan
from tests.accuracy.report import level_table, rule_table, total_table
from tests.accuracy.score import Score, score

PIDS = {name: 100 + number for number, name in enumerate(SERVICES)}


def perfect(calls: list[Call]) -> list[dict[str, Any]]:
    """The spans that a faultless tracer would give for ``calls``."""
    spans = []
    for call in calls:
        trace = f"{int(call.root, 16):032x}"
        server, client = f"5{call.id[1:]}", f"c{call.id[1:]}"
        attributes = {"http.request.header.x-truth-id": [call.id], "url.path": "/call/" + call.id}
        above = "" if call.kind is None else client
        rule = {} if call.kind is None else {"otel_ebpf.parent.rule": "R"}
        spans.append(
            {
                "trace_id": trace,
                "span_id": server,
                "parent_span_id": above,
                "kind": "SERVER",
                "attributes": {**attributes, **rule},
                "resource": {"process.pid": PIDS[call.service]},
            }
        )
        if call.kind is not None:
            spans.append(
                {
                    "trace_id": trace,
                    "span_id": client,
                    "parent_span_id": f"5{call.parent[1:]}",
                    "kind": "CLIENT",
                    "attributes": {**attributes, **rule},
                    "resource": {"process.pid": PIDS[call.caller]},
                }
            )
    return spans


@pytest.fixture
def calls() -> list[Call]:
    return list(make_plan(7, {1: 20, 16: 60}).calls.values())


def sums(result: Score) -> dict[str, int]:
    totals: dict[str, int] = {}
    for row in result.totals():
        for name, count in row.counts.items():
            totals[name] = totals.get(name, 0) + count
    return totals


def client(spans: list[dict[str, Any]], calls: list[Call], floor: bool = True) -> dict[str, Any]:
    """A CLIENT span whose kind has (or has no) floor of recall."""
    kinds = {c.id: c.kind for c in calls if c.kind and (c.kind.floor is not None) == floor}
    return next(
        span
        for span in spans
        if span["kind"] == "CLIENT"
        and span["attributes"]["http.request.header.x-truth-id"][0] in kinds
    )


def test_faultless_spans_pass_and_every_edge_is_counted_once(calls: list[Call]) -> None:
    result = score(calls, perfect(calls), PIDS)
    roots = sum(call.kind is None for call in calls)
    assert sums(result) == {"right": roots + 2 * (len(calls) - roots)}
    assert result.passes
    assert (result.trees, result.whole_trees) == (80, 80)
    assert result.anomalies == {}


def test_no_spans_at_all_fail(calls: list[Call]) -> None:
    result = score(calls, [], PIDS)
    assert set(sums(result)) == {"no span"}
    assert not result.passes
    assert result.whole_trees == 0


def test_one_wrong_edge_fails_even_where_abstaining_is_allowed(calls: list[Call]) -> None:
    spans = perfect(calls)
    span = client(spans, calls, floor=False)
    stranger = next(s for s in spans if s["trace_id"] != span["trace_id"])
    span["parent_span_id"], span["trace_id"] = stranger["span_id"], stranger["trace_id"]
    result = score(calls, spans, PIDS)
    assert sums(result)["wrong"] >= 1
    assert not result.passes
    wrong = [str(problem) for problem in result.problems if problem.outcome == "wrong"]
    assert any(stranger["attributes"]["http.request.header.x-truth-id"][0] in w for w in wrong)


def test_the_right_span_id_in_another_trace_is_wrong(calls: list[Call]) -> None:
    spans = perfect(calls)
    client(spans, calls)["trace_id"] = "f" * 32
    assert sums(score(calls, spans, PIDS))["wrong"] == 2  # its own edge, and its server's


def test_a_parent_that_no_span_has_is_wrong(calls: list[Call]) -> None:
    spans = perfect(calls)
    client(spans, calls)["parent_span_id"] = "e" * 16
    result = score(calls, spans, PIDS)
    assert sums(result)["wrong"] == 1
    assert "no span of its trace has" in str(result.problems[0])


def test_children_of_a_missing_span_lower_recall_and_are_not_called_wrong(
    calls: list[Call],
) -> None:
    spans = perfect(calls)
    parent = next(s for s in spans if any(s["span_id"] == t["parent_span_id"] for t in spans))
    children = [s for s in spans if s["parent_span_id"] == parent["span_id"]]
    spans.remove(parent)
    result = score(calls, spans, PIDS)
    assert sums(result).get("wrong", 0) == 0
    assert sums(result)["no span"] == len(children) + 1
    children[0]["parent_span_id"] = next(
        s["span_id"] for s in spans if s["trace_id"] == children[0]["trace_id"]
    )
    assert sums(score(calls, spans, PIDS))["wrong"] == 1


def test_an_absent_parent_lowers_recall_but_not_precision(calls: list[Call]) -> None:
    spans = perfect(calls)
    span = client(spans, calls)
    span["parent_span_id"] = ""
    result = score(calls, spans, PIDS)
    assert sums(result)["absent"] == 1
    row = next(row for row in result.totals() if row.counts["absent"])
    assert row.precision == 100.0
    assert row.recall == pytest.approx(100 * (row.expected - 1) / row.expected)
    assert result.passes
    assert result.whole_trees == 79
    while row.passes:
        row.counts["right"] -= 1
        row.counts["absent"] += 1
    assert row.counts["absent"] == 2 or row.expected >= 100


def test_abstaining_passes_where_it_is_expected_but_a_missing_span_is_named(
    calls: list[Call],
) -> None:
    spans = perfect(calls)
    for span in spans:
        name = span["attributes"]["http.request.header.x-truth-id"][0]
        kind = next(call.kind for call in calls if call.id == name)
        if span["kind"] == "CLIENT" and kind is not None and kind.floor is None:
            span["parent_span_id"] = ""
    assert score(calls, spans, PIDS).passes
    lost = client(spans, calls)
    spans.remove(lost)
    problems = score(calls, spans, PIDS).problems
    assert any(p.detail == "no CLIENT span" for p in problems)


def test_a_root_with_a_parent_and_two_trees_in_one_trace_are_wrong(calls: list[Call]) -> None:
    spans = perfect(calls)
    roots = [s for s in spans if s["kind"] == "SERVER" and not s["parent_span_id"]]
    roots[0]["parent_span_id"] = roots[1]["span_id"]
    row = next(r for r in score(calls, spans, PIDS).totals() if r.family == "root")
    assert row.counts["wrong"] == 1
    spans = perfect(calls)
    roots = [s for s in spans if s["kind"] == "SERVER" and not s["parent_span_id"]]
    roots[0]["trace_id"] = roots[1]["trace_id"]
    row = next(r for r in score(calls, spans, PIDS).totals() if r.family == "root")
    assert row.counts["wrong"] == 2


def test_a_span_reported_twice_fails_the_run(calls: list[Call]) -> None:
    spans = perfect(calls)
    result = score(calls, [*spans, dict(spans[3])], PIDS)
    assert result.anomalies == {"two spans for one side of a call": 1}
    assert not result.passes


def test_a_wrong_edge_stays_when_another_run_has_edges_of_its_kind(calls: list[Call]) -> None:
    spans = perfect(calls)
    span = client(spans, calls)
    span["parent_span_id"] = next(
        s["span_id"] for s in spans if s["span_id"] != span["parent_span_id"]
    )
    result, other = score(calls, spans, PIDS), score(calls, perfect(calls), PIDS)
    edges = sum(sums(result).values())
    result.join(other)
    assert sums(result)["wrong"] == 1
    assert sum(sums(result).values()) == 2 * edges
    assert not result.passes


def test_spans_without_truth_and_of_other_processes_are_counted(calls: list[Call]) -> None:
    spans = perfect(calls)
    del spans[0]["attributes"]["http.request.header.x-truth-id"]
    spans[1]["resource"] = {"process.pid": 1}
    result = score(calls, spans, PIDS)
    assert result.anomalies == {
        "spans of the workload without a known truth id": 1,
        "spans with another process than the call's": 1,
    }


def test_a_known_limit_is_shown_and_fails_no_run(calls: list[Call]) -> None:
    spans = perfect(calls)
    known = {call.id for call in calls if call.kind and call.kind.known}
    span = next(
        s
        for s in spans
        if s["kind"] == "CLIENT" and s["attributes"]["http.request.header.x-truth-id"][0] in known
    )
    span["parent_span_id"] = next(
        s["span_id"]
        for s in spans
        if s["trace_id"] == span["trace_id"] and s["span_id"] != span["parent_span_id"]
    )
    result = score(calls, spans, PIDS)
    assert sums(result)["wrong"] == 1
    assert result.passes
    assert "| known |" in total_table(result)


def test_a_plan_is_the_same_for_the_same_seed_and_keeps_its_depth() -> None:
    plan = make_plan(5, {1: 200}, max_depth=4)
    assert plan.nodes == make_plan(5, {1: 200}, max_depth=4).nodes
    assert plan.nodes != make_plan(6, {1: 200}, max_depth=4).nodes
    depth: dict[str, int] = {}
    for call in plan.calls.values():
        depth[call.id] = depth.get(call.parent, 0) + 1
    assert max(depth.values()) == 4
    used = {call.kind.label for call in plan.calls.values() if call.kind}
    assert used == {kind.label for kinds in KINDS.values() for kind in kinds}


def test_bounded_pools_are_never_called_again_from_below_themselves() -> None:
    plan = make_plan(5, {1: 300})
    for call in plan.calls.values():
        above = []
        name = call.parent
        while name:
            above.append(plan.calls[name].service)
            name = plan.calls[name].parent
        assert call.service != "py-pool" or "py-pool" not in above
        if call.kind and call.kind.leaves:
            assert plan.nodes[call.id]["calls"] == []


def test_tables_show_each_kind_and_do_not_round_up_to_100(calls: list[Call]) -> None:
    result = score(calls, perfect(calls), PIDS)
    for row in result.totals():
        assert f"| {row.label} | {row.expected} | {row.expected} | 0 | 0 | 0 | 100 | 100 |" in (
            total_table(result)
        )
        assert f"| {row.label} | " in level_table(result)
    assert "R " in rule_table(result)
    row = result.totals()[0]
    row.counts["right"], row.counts["wrong"] = 99_999, 1
    assert row.precision is not None
    assert row.precision < 100
    assert not row.passes
