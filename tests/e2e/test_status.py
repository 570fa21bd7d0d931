"""A running agent tells, process by process, whose calls have parents and why others have not."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agent import Agent, agent_command
from tests.e2e.services import Service
from tests.gobuild import build_go

pytestmark = [pytest.mark.kernel]
HERE = Path(__file__).resolve().parent
REQUESTS = 20


def asked(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*agent_command(), "status", *words],
        env={"OTEL_EBPF_RUN_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def processes(folder: Path) -> dict[int, dict[str, Any]]:
    said = asked(folder, "--json")
    assert said.returncode == 0, said.stderr
    [answer] = json.loads(said.stdout)
    return {process["pid"]: process for process in answer["processes"]}


def test_status_counts_what_the_agent_exports(tmp_path: Path) -> None:
    with ExitStack() as stack:
        target = build_go(HERE / "target")
        back = stack.enter_context(Service("back", [target]))
        front = stack.enter_context(Service("front", [target, "-next", back.url]))
        environment = {"OTEL_EBPF_RUN_DIR": str(tmp_path)}
        agent = stack.enter_context(Agent(pids=[front.pid, back.pid], env=environment))
        for _ in range(REQUESTS):
            front.get("/hop")
        agent.wait_spans(3 * REQUESTS)
        deadline = time.monotonic() + 30
        while front.pid not in (told := processes(tmp_path)):
            assert time.monotonic() < deadline, told
        mine, theirs = told[front.pid], told[back.pid]
        assert (mine["served"], mine["calls"]) == (REQUESTS, REQUESTS)
        assert mine["proved"] == REQUESTS, mine
        assert theirs["served_by"] == {"same_host": REQUESTS}
        text = asked(tmp_path).stdout
        assert "100.0 %" in text and mine["service_name"] in text
        spans = agent.stop()
    assert mine["calls"] == sum(span["kind"] == "CLIENT" for span in spans)
    assert list(tmp_path.iterdir()) == []
    assert asked(tmp_path).returncode == 1
