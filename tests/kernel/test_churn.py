"""What comes and goes by the ten thousand leaves nothing behind."""

from __future__ import annotations

import select
import subprocess

import pytest

from otel_ebpf.events import layout
from tests.cbuild import build_c
from tests.kernel.tracer import Tracer

CONNECTIONS = 50_000
PROCESSES = 2_000
MAPS = (
    "socket_state_map",
    "__socket_info_map",
    "__trace_map",
    "__active_write_args_map",
    "__active_read_args_map",
    "target_map",
    "proc_info_map",
)
REFUSALS = ("socket_map_full", "trace_map_full", "args_map_full")


@pytest.mark.timeout(600)
def test_short_connections_and_processes_leave_the_maps_as_they_were(tracer: Tracer) -> None:
    before = tracer.entries(*MAPS)
    refused = tracer.kernel.stats()
    lost = tracer.decoder.lost
    requests = closed = exited = 0
    with subprocess.Popen(
        [str(build_c("churn")), str(CONNECTIONS), str(PROCESSES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as churn:
        assert churn.stdin is not None and churn.stdout is not None
        pid = int(churn.stdout.readline())
        tracer.choose(pid)
        churn.stdin.write("go\n")
        churn.stdin.flush()
        done = False
        while not done:
            done = bool(select.select([churn.stdout], [], [], 0)[0])
            tracer.kernel.poll(20)
            for r in tracer.flush():
                requests += r.type == layout.DATA and r.begins == layout.REQUEST
                closed += r.type == layout.CLOSE
                exited += r.type == layout.EXIT
            tracer.records = []
        assert int(churn.stdout.readline()) == CONNECTIONS + PROCESSES
        churn.stdin.write("end\n")
        churn.stdin.flush()
        assert churn.wait(20) == 0
    for r in tracer.flush():
        closed += r.type == layout.CLOSE
        exited += r.type == layout.EXIT
    after = tracer.kernel.stats()
    assert tracer.decoder.lost == lost, "the test reads fast enough"
    assert requests == 2 * (CONNECTIONS + PROCESSES), "each seen on both ends"
    assert closed == 2 * (CONNECTIONS + PROCESSES), "each socket's end is told once"
    assert exited >= PROCESSES + 1
    assert {name: after[name] - refused[name] for name in REFUSALS} == dict.fromkeys(REFUSALS, 0)
    left = tracer.entries(*MAPS)
    # Another test's program may still be leaving; nothing grows with the number of rounds.
    assert all(left[name] <= before[name] + 8 for name in MAPS), (before, left)
    opened = after["sockets_opened"] - refused["sockets_opened"]
    assert abs(opened - (after["sockets_closed"] - refused["sockets_closed"])) <= 8
