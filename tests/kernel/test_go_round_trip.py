"""Who asked, by one hit a request, for a program whose connections cannot be read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from otel_ebpf.discovery.processes import classify
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import FLAG_CALLER, FLAG_GO_POOLED, REQUEST, RESPONSE
from otel_ebpf.targets import Targets
from tests.e2e.services import Service
from tests.gobuild import build_go
from tests.kernel.tracer import INGRESS, Tracer

TRUTH = Path(__file__).resolve().parents[1] / "targets" / "go" / "truth"
CALLS = 12
# A client that is no connection of the tracer's own process.
DRIVER = """
import http.client, sys
host, port = sys.argv[1].split(":")
connection = http.client.HTTPConnection(host, int(port), timeout=30)
for number in range(int(sys.argv[2])):
    connection.request("GET", f"/call?id=seq.{number}&mode=seq&n=1")
    assert connection.getresponse().read() == b"1\\n"
"""


@pytest.mark.parametrize("toolchain", ["local", "go1.15.15"])
def test_round_trip_tells_the_caller_where_its_connection_does_not(
    tracer: Tracer, toolchain: str
) -> None:
    program = build_go(TRUTH, toolchain=toolchain)
    with (
        Service("back", [program]) as back,
        Service("front", [program, "-next", back.url]) as front,
    ):
        tracer.choose(front.pid)
        image = classify(front.pid)
        assert image is not None and image.go is not None
        known = {
            name: offset
            for name, offset in image.go.offsets.items()
            if not name.startswith("net/http.requestAndChan.")
        }
        targets = Targets([])
        targets.start(tracer.kernel, [replace(image, go=replace(image.go, offsets=known))])
        try:
            assert targets.stats()["programs_probed_for_each_request"] == 1
            run_driver(front, CALLS)
        finally:
            targets.stop()
        records = tracer.wait(
            lambda found: len([r for r in found if is_answer(r, front.pid)]) == CALLS
        )
    answers = [r for r in records if is_answer(r, front.pid)]
    requests = {
        r.uid for r in records if (r.tgid, r.direction, r.begins) == (front.pid, INGRESS, REQUEST)
    }
    assert all(r.flags & FLAG_GO_POOLED for r in answers)
    named = [r.caller_uid for r in answers if r.flags & FLAG_CALLER]
    # Each call is the one of another request.
    assert len(named) == CALLS
    assert set(named) == requests and len(requests) == CALLS


def is_answer(record: Record, pid: int) -> bool:
    """A response that the process read."""
    return record.tgid == pid and record.direction == INGRESS and record.begins == RESPONSE


def run_driver(front: Service, calls: int) -> None:
    """The calls, one after the other, from another process."""
    subprocess.run([sys.executable, "-c", DRIVER, front.address, str(calls)], check=True)
