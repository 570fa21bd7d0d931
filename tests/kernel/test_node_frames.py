"""Frames of AsyncLocalStorage are known again when V8's collector has moved them."""

from __future__ import annotations

import urllib.request
from collections import defaultdict
from pathlib import Path

import pytest

from otel_ebpf.discovery.processes import classify
from otel_ebpf.runtimes import Runtimes
from tests.e2e.services import Service
from tests.kernel.tracer import EGRESS, Tracer
from tests.nodes import node_version

SCRIPT = Path(__file__).with_name("node_frames.js")


def frames_of(tracer: Tracer, node: Path, follow: bool) -> dict[str, list[int]]:
    """What was told as the frame of each request of each kind of work, in their order."""
    with Service("node", [node, "--expose-gc", "--compact-on-every-full-gc", SCRIPT]) as service:
        image = classify(service.pid)
        assert image is not None
        runtimes = Runtimes(tracer.kernel)
        runtimes.runs(image, 0.0)
        if follow:
            runtimes.need_frames(service.pid)
            assert runtimes.frames == 1
        tracer.choose(service.pid)
        tracer.clear()
        with urllib.request.urlopen(f"http://{service.address}/start", timeout=60) as reply:
            assert reply.read() == b"done"
        told = defaultdict(list)
        for record in tracer.of(service.pid):
            if record.direction == EGRESS and record.data.startswith(b"GET /of-"):
                told[record.data[8:9].decode()].append(record.context_uid)
        runtimes.ended(service.pid)
    return told


@pytest.mark.timeout(120)  # Node may have to be had first
def test_a_frame_keeps_its_number_wherever_it_is_moved_to(tracer: Tracer) -> None:
    node = node_version(24)
    if node is None:
        pytest.skip("there is no npm here")
    told = frames_of(tracer, node, follow=True)
    assert {name: len(frames) for name, frames in told.items()} == {"a": 8, "b": 8, "c": 8}
    numbers = {name: set(frames) for name, frames in told.items()}
    assert all(len(frames) == 1 and 0 not in frames for frames in numbers.values()), told
    assert len(set.union(*numbers.values())) == 3
    # They have been moved, or this would show nothing.
    moved = frames_of(tracer, node, follow=False)
    assert len(set(moved["a"])) > 1, moved
