"""Uprobes in a program's memory: there while it runs, gone half a minute after its last process."""

from __future__ import annotations

import shutil
from pathlib import Path

from otel_ebpf.discovery.processes import classify
from otel_ebpf.targets import Targets
from otel_ebpf.uprobes import LINGER, Uprobes
from tests.e2e.services import Service
from tests.e2e.traces_left import trapped, wait_for
from tests.gobuild import build_go
from tests.kernel.tracer import Tracer

TRUTH = Path(__file__).resolve().parents[1] / "targets" / "go" / "truth"
BORN = "runtime.newproc1"


def test_the_program_s_own_code_comes_back(tracer: Tracer, tmp_path: Path) -> None:
    # A file that no other agent of this host can have put a uprobe on.
    program = Path(shutil.copy(build_go(TRUTH), tmp_path / "truth"))
    with Service("one", [program]) as one, Service("other", [program]) as other:
        image = classify(one.pid)
        assert image is not None and image.go is not None
        key, place = image.go.identity, (image.go.symbols[BORN], "go_newproc1")
        uprobes = Uprobes(tracer.kernel)
        for service in (one, other):
            uprobes.runs(service.pid, key, "program")
        assert uprobes.attach(key, str(program), [place])
        # In every process that runs the program.
        assert all(trapped(service.pid, program, (BORN,)) for service in (one, other))
        uprobes.ended(other.pid, 0.0)
        uprobes.tick(2 * LINGER)
        assert trapped(one.pid, program, (BORN,))
        uprobes.ended(one.pid, 100.0)
        uprobes.tick(100.0 + LINGER)
        wait_for(lambda: not trapped(one.pid, program, (BORN,)), "the program's own code")


def test_every_program_of_a_uprobe_is_taken_by_the_kernel(tracer: Tracer) -> None:
    program = build_go(TRUTH)
    with Service("one", [program]) as one:
        image = classify(one.pid)
        assert image is not None and image.go is not None
        tracer.choose(one.pid)
        targets = Targets([], "both")
        targets.start(tracer.kernel, [image])
        try:
            stats = targets.stats()
        finally:
            targets.stop()
        assert stats["uprobes_refused"] == 0
        # net/http's two, casgstatus, newproc1 and its RETs; HTTP/2's where it is linked in.
        assert stats["uprobes"] >= 5
        assert len(trapped(one.pid, program)) == 3


def test_a_program_that_nobody_chose_is_left_as_it_is(tracer: Tracer, tmp_path: Path) -> None:
    chosen = Path(shutil.copy(build_go(TRUTH), tmp_path / "chosen"))
    other = Path(shutil.copy(chosen, tmp_path / "left-alone"))
    with Service("chosen", [chosen]) as one, Service("left alone", [other]) as two:
        images = [image for pid in (two.pid, one.pid) if (image := classify(pid)) is not None]
        tracer.choose(one.pid)
        targets = Targets([], "both")
        targets.start(tracer.kernel, images)
        try:
            assert len(trapped(one.pid, chosen)) == 3
            assert trapped(two.pid, other) == []
            # Not even read: what it is made of would cost the agent time.
            assert targets.stats()["go_processes"] == 1
        finally:
            targets.stop()
