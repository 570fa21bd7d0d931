"""What Go programs write through TLS, told by the stack and by uprobes: each Write once, whole."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_ebpf.discovery.processes import classify
from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import CALL_TLS_WRITE, CORRECTION, DATA, REQUEST, TLS_WHOLE
from otel_ebpf.kernel.loader import WRITES_UNCLEARLY
from otel_ebpf.targets import Targets
from tests.gobuild import build_go
from tests.kernel.tracer import EGRESS, Tracer, show

WRITES = Path(__file__).resolve().parents[1] / "targets" / "go" / "tlswrites"
# The same buffer again and again; one record, many small ones that grow, several large ones, and
# lengths about the largest payload of a record.
LENGTHS = [(200, 20), (4096, 20), (1186, 6), (1187, 6), (60_000, 8), (16_384, 6), (16_385, 6)]


@pytest.fixture(scope="module")
def own() -> Iterator[Tracer]:
    """With so many programs' uprobes it is too large to be kept for other tests."""
    with Tracer() as tracer:
        yield tracer


@pytest.fixture
def tracer(own: Tracer) -> Tracer:
    """Attached, with nothing recorded yet."""
    own.clear()
    return own


class Program:
    """The target, a file of its own: uprobes are the file's, and stay as long as the tracer."""

    def __init__(self, where: Path, *arguments: str, toolchain: str = "local") -> None:
        program = shutil.copy(build_go(WRITES, toolchain=toolchain), where)
        self.process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid
        assert self._line().startswith("listening")

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, line: str) -> list[int]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return [int(word) for word in self._line().split()[1:]]

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def following(tracer: Tracer, program: Program, probed: bool = False) -> Iterator[None]:
    """The tracer sees it; ``probed``: with uprobes at Write."""
    targets = Targets([])
    try:
        tracer.choose(program.pid)
        image = classify(program.pid)
        assert image is not None
        targets.start(tracer.kernel, [image])
        if probed:
            targets.writes_unclearly(program.pid)
            await_probes(targets)
        yield
    finally:
        targets.stop()


@contextmanager
def traced(
    tracer: Tracer, where: Path, *arguments: str, probed: bool = False, toolchain: str = "local"
) -> Iterator[Program]:
    """The target under the tracer from its first byte on."""
    program = Program(where, *arguments, toolchain=toolchain)
    try:
        with following(tracer, program, probed):
            yield program
    finally:
        program.stop()


def await_probes(targets: Targets) -> None:
    deadline = time.monotonic() + 60
    while not targets.stats()["programs_with_tls_writes_probed"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def written(records: list[Record], pid: int) -> list[Record]:
    """What was told of the client's Writes."""
    told = [
        r
        for r in records
        if (r.type, r.tgid, r.direction, r.syscall & ~TLS_WHOLE)
        == (DATA, pid, EGRESS, CALL_TLS_WRITE)
    ]
    return [r for r in told if not r.data.startswith(b"HTTP/1.1 204 ")]


def check(tracer: Tracer, program: Program, lengths: list[tuple[int, int]]) -> None:
    expected = []
    for length, count in lengths:
        assert program.ask(f"write {length} {count}") == [length] * count
        expected += [length] * count
    records = written(tracer.flush(), program.pid)
    assert [r.length for r in records] == expected, show(records)
    assert all(r.begins == REQUEST for r in records)
    for r in records:
        assert r.data.startswith(b"POST /%d HTTP/1.1\r\n" % r.length)
    places = {r.ref_ts for r in records}
    # Each has a place of its own, but for Unix sockets, which number nothing.
    assert len(places) == len(records) or places == {0}


CIPHERS = {"1.3": ("-tls", "1.3"), **{s: ("-tls", "1.2", "-suite", s) for s in ("gcm", "chacha")}}


@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_each_write_is_told_once(tracer: Tracer, tmp_path: Path, cipher: str, probed: bool) -> None:
    unplaced = tracer.kernel.stats()["tls_unplaced"]
    with traced(tracer, tmp_path, *CIPHERS[cipher], probed=probed) as program:
        check(tracer, program, LENGTHS)
    assert tracer.kernel.stats()["tls_unplaced"] == unplaced


@pytest.mark.parametrize(
    "toolchain", ["go1.15.15", "go1.17.13", "go1.19.13", "go1.21.13", "go1.24.13", "go1.27.4"]
)
def test_frames_of_other_versions(tracer: Tracer, tmp_path: Path, toolchain: str) -> None:
    with traced(tracer, tmp_path, toolchain=toolchain) as program:
        check(tracer, program, LENGTHS[:5])


@pytest.mark.parametrize("way", ["unix", "split", "shaken"])
def test_other_ways_to_the_socket(tracer: Tracer, tmp_path: Path, way: str) -> None:
    words = {"unix": ("-unix", str(tmp_path / "s")), "split": ("-wrap", "split")}
    with traced(tracer, tmp_path, *words.get(way, ("-shaken",))) as program:
        check(tracer, program, LENGTHS[:5])


@pytest.mark.parametrize("how", [("-tls", "1.2", "-suite", "cbc"), ("-wrap", "deep")])
def test_probes_are_asked_for_where_the_stack_is_not_certain(
    tracer: Tracer, tmp_path: Path, how: tuple[str, ...]
) -> None:
    asked: list[int] = []
    tracer.kernel.open_executions(lambda _: None, {WRITES_UNCLEARLY: asked.append})
    unplaced = tracer.kernel.stats()["tls_unplaced"]
    with traced(tracer, tmp_path, *how) as program:
        assert program.ask("write 200 2") == [200, 200]
        # Nothing wrong is told of them, and nothing is lost in silence.
        assert not written(tracer.flush(), program.pid)
        assert tracer.kernel.stats()["tls_unplaced"] >= unplaced + 2
        deadline = time.monotonic() + 60
        while not asked:
            assert time.monotonic() < deadline
            tracer.kernel.poll(20)
        assert set(asked) == {program.pid}
    with traced(tracer, tmp_path, *how, probed=True) as program:
        check(tracer, program, LENGTHS[:5])


@pytest.mark.parametrize("probed", [False, True])
def test_a_write_that_fails_half_way_is_put_right(
    tracer: Tracer, tmp_path: Path, probed: bool
) -> None:
    with traced(tracer, tmp_path, probed=probed) as program:
        assert program.ask("write 200 1") == [200]
        (moved,) = program.ask("fail 900000")
        assert 0 < moved < 900_000
        program.ask("close")
        # Applied to its record, where that had not been read yet.
        told = [r.length for r in tracer.of(program.pid, kind=CORRECTION)]
        assert moved in (told or [written(tracer.records, program.pid)[-1].length])


def test_writes_on_a_connection_that_is_older_than_the_tracer(
    tracer: Tracer, tmp_path: Path
) -> None:
    program = Program(tmp_path, "-shaken")
    try:
        assert program.ask("write 4096 8") == [4096] * 8
        with following(tracer, program):
            # They are of one record by now, and so are certainly whole.
            check(tracer, program, [(4096, 4), (200, 4), (60_000, 4)])
    finally:
        program.stop()


def test_the_middle_of_an_older_write_is_not_told(tracer: Tracer, tmp_path: Path) -> None:
    program = Program(tmp_path, "-shaken")
    unplaced = tracer.kernel.stats()["tls_unplaced"]
    try:
        with following(tracer, program):
            # Of several records: perhaps an earlier one has left before. It is counted.
            assert program.ask("write 60000 1") == [60_000]
            assert not written(tracer.flush(), program.pid)
            assert tracer.kernel.stats()["tls_unplaced"] == unplaced + 1
            assert program.ask("write 5000 3") == [5000] * 3
            assert [r.length for r in written(tracer.flush(), program.pid)] == [5000] * 3
    finally:
        program.stop()
