"""The quick version of the thread pools' share of ``tests/accuracy/run``."""

from __future__ import annotations

import pytest

from tests.accuracy.loops import run_loops
from tests.accuracy.pools import c_pool, java_pool, python_pool, rust_pool
from tests.accuracy.report import level_table, total_table
from tests.javabuild import java_home, java_home_with_virtual_threads
from tests.nativebuild import cargo_command

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]


@pytest.mark.timeout(300)
def test_parents_of_calls_from_pools_of_threads_are_true() -> None:
    # What is not seen while it is learnt that a process needs this weighs more in so few.
    loops = [python_pool(server, floor=85.0) for server in ("threading", "handed")]
    home = java_home()
    if home is not None:
        loops += [java_pool(home, "url", floor=85.0), java_pool(home, "client", floor=20.0)]
    newer = java_home_with_virtual_threads()
    if newer is not None:
        loops.append(java_pool(newer, "url", virtual=True))
    loops.append(c_pool(floor=None))
    if cargo_command():
        loops.append(rust_pool())
    run = run_loops(loops, {1: 60, 16: 300}, late=True)
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert run.score.passes, f"\n{total_table(run.score)}\n{level_table(run.score)}\n{worst}"
