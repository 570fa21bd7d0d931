"""The quick version of ``tests/accuracy/run``: the floors, on every run of the tests."""

from __future__ import annotations

import pytest

from tests.accuracy.harness import run_accuracy
from tests.accuracy.report import summary, total_table
from tests.accuracy.streams import run_streams

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]


@pytest.mark.timeout(300)
def test_parents_are_true_and_recall_keeps_its_floors() -> None:
    run = run_accuracy({1: 40, 16: 160, 64: 160})
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert run.score.passes, f"\n{total_table(run.score)}\n{summary(run)}\n{worst}"


@pytest.mark.timeout(300)
def test_streams_have_the_parents_that_asked_for_them() -> None:
    run = run_streams({1: 24, 16: 48, 64: 96})
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert run.score.passes, f"\n{total_table(run.score)}\n{summary(run)}\n{worst}"
    # Nothing of it went by unseen.
    assert not run.ledger.get("http2_cut", 0) + run.ledger.get("http2_unseen", 0), run.ledger


@pytest.mark.timeout(300)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_of_256_streams_at_once_none_has_a_wrong_parent(secure: bool) -> None:
    run = run_streams({256: 256 if secure else 512}, secure=secure)
    rows = run.score.totals()
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert not any(row.counts["wrong"] for row in rows), worst
    right = sum(row.counts["right"] for row in rows)
    edges = sum(sum(row.counts.values()) for row in rows)
    assert right >= 0.99 * edges, f"\n{total_table(run.score)}\n{summary(run)}\n{worst}"


@pytest.mark.timeout(300)
def test_streams_over_tls_have_the_parents_that_asked_for_them() -> None:
    run = run_streams({1: 16, 16: 48, 64: 96}, secure=True)
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert run.score.passes, f"\n{total_table(run.score)}\n{summary(run)}\n{worst}"


@pytest.mark.timeout(300)
def test_connections_older_than_the_agent_never_give_a_wrong_parent() -> None:
    run = run_accuracy({16: 100}, late=True, seed=2)
    rows = [row for row in run.score.totals() if not row.known]
    wrong = [str(problem) for problem in run.score.problems if problem.outcome == "wrong"]
    assert not any(row.counts["wrong"] for row in rows), "\n".join(wrong[:10])
    between = {"root", "client to server, go to go"}
    assert all(row.passes for row in rows if row.label in between), total_table(run.score)


@pytest.mark.timeout(300)
def test_over_tls_parents_are_as_true() -> None:
    run = run_accuracy({1: 20, 16: 80, 64: 80}, secure=True, seed=3)
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert run.score.passes, f"\n{total_table(run.score)}\n{summary(run)}\n{worst}"
    assert any(row.label.endswith("TLS") for row in run.score.totals())
