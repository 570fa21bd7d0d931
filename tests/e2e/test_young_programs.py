"""Programs that nobody has seen before: the first request, 200 ms after they began."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from otel_ebpf.discovery.procfs import ProcFs
from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.raw import Connection
from tests.e2e.services import Service
from tests.e2e.truth import TRUTH, judge
from tests.gobuild import build_go

YOUTH = 0.2
"""Seconds after its start from which on a program's requests are promised to be traced."""
PROGRAMS = 8
ENOUGH = 4
"""A machine that is busy with something else may be late, but not with most."""


@pytest.mark.parametrize("flags", [(), ("-buildmode=pie", "-ldflags=-s -w")], ids=["plain", "pie"])
def test_the_first_request_of_a_new_program_is_traced(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    program = build_go(TRUTH, flags=flags)
    pids = []
    pattern = f"{tmp_path}/young*"
    with Service("back", [program]) as back, Agent("--exe", pattern, env=TRUTH_ENV) as agent:
        for number in range(PROGRAMS):
            # A file of its own, so that it has to be read; its calls tell whose they are.
            copy = tmp_path / f"young{number}"
            shutil.copy(program, copy)
            with Service("front", [copy, "-next", back.url]) as front:
                pids.append(front.pid)
                with Connection("127.0.0.1", front.port) as connection:
                    time.sleep(max(0.0, YOUTH - age(front.pid)))
                    connection.get(f"/call?id=seq.{number}&mode=ctx&n=1")
        spans = agent.stop()
    said = [judge(spans, pid) for pid in pids]
    assert not any(verdict.wrong for verdict in said)
    assert sum(verdict.right.total() == 1 for verdict in said) >= ENOUGH, list(map(str, said))


def age(pid: int) -> float:
    """Seconds since the process began."""
    status = ProcFs().stat(pid)
    assert status is not None
    began = status.start_ticks / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began
