"""A process's end is told once, however many of its threads end at that moment."""

from __future__ import annotations

import select
import subprocess
from collections import Counter

import pytest

from otel_ebpf.events import layout
from tests.cbuild import build_c
from tests.kernel.tracer import Tracer

ROUNDS = 300


@pytest.mark.parametrize("threads", [1, 16])
def test_threads_that_end_together_end_their_process_once(tracer: Tracer, threads: int) -> None:
    """Besides the first: with two in all, most rounds have both find that none is left."""
    children: set[int] = set()
    exits: Counter[int] = Counter()
    with subprocess.Popen(
        [str(build_c("threads")), str(ROUNDS), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None and program.stdout is not None
        pid = int(program.stdout.readline())
        tracer.choose(pid)
        program.stdin.write("\n")
        program.stdin.flush()
        done = False
        while not done:
            done = bool(select.select([program.stdout], [], [], 0)[0])
            tracer.kernel.poll(20)
            for r in tracer.flush():
                if r.type == layout.FORK and r.uid == pid:
                    children.add(r.tgid)
                elif r.type == layout.EXIT:
                    exits[r.tgid] += 1
            tracer.records = []
        assert int(program.stdout.readline()) == ROUNDS
    assert len(children) == ROUNDS
    assert {child: exits[child] for child in children if exits[child] != 1} == {}
