"""The quick version of the event loops' share of ``tests/accuracy/run``."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from tests.accuracy.loops import (
    WEB,
    Loop,
    asyncio_loop,
    asyncio_loop_314,
    haproxy_loop,
    nginx_loop,
    node_loop,
    run_loops,
    web_loop,
)
from tests.accuracy.report import level_table, total_table
from tests.nginx import nginx_program
from tests.nodes import node_version
from tests.pythons import ASYNC_PACKAGES, WEB_PACKAGES, python_with

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]


@pytest.mark.timeout(400)  # the packages may have to be had first
def test_asyncio_parents_are_true_and_complete() -> None:
    python = python_with(ASYNC_PACKAGES)
    loops = [
        asyncio_loop("aiohttp", python, pause=5, copied=85.0),
        asyncio_loop("starlette", python, uvloop=True, copied=85.0),
        asyncio_loop_314("aiohttp", pause=5, copied=85.0),
    ]
    run = run_loops(loops, {1: 60, 16: 140}, late=True)
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert run.score.passes, f"\n{total_table(run.score)}\n{level_table(run.score)}\n{worst}"


@pytest.mark.timeout(400)
def test_parents_in_web_frameworks_are_true_and_complete() -> None:
    python = python_with(WEB_PACKAGES)
    run = run_loops(
        [web_loop(*words, python, copied=85.0) for words in WEB], {1: 40, 16: 200}, late=True
    )
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert run.score.passes, f"\n{total_table(run.score)}\n{level_table(run.score)}\n{worst}"


@pytest.mark.timeout(300)
def test_parents_by_turns_are_true_in_proxies_and_node() -> None:
    nginx = nginx_program()
    loops: list[Loop] = [
        nginx_loop(nginx, dead=True),
        nginx_loop(nginx, keepalive=True, workers=2, dead=True),
        haproxy_loop(dead=True),
        haproxy_loop(keepalive=True, threads=2),
    ]
    node = shutil.which("node")
    if node:
        loops.append(node_loop(node, "pooled", "limited", pause=5))
    newest = node_version(24)
    if newest:
        options = ("--als", "--express")
        label = "node with AsyncLocalStorage"
        loops.append(node_loop(newest, pause=5, label=label, options=options))
    run = run_loops(loops, {1: 40, 16: 240}, late=True)
    worst = "\n".join(str(problem) for problem in run.score.problems[:10])
    assert run.score.passes, f"\n{total_table(run.score)}\n{level_table(run.score)}\n{worst}"
    if newest:
        rules = sum((Counter(row.rules) for row in run.score.totals()), Counter())
        assert rules["node.context"] > 50, rules
