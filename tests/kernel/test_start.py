"""Starting from kept programs and without; ending, of its own will and not."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import attachments, obtain, sysbpf
from otel_ebpf.kernel.compiled import Compiled, Function
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import Kernel
from otel_ebpf.kernel.obtain import Obtaining
from otel_ebpf.kernel.paths import bpf_dir
from otel_ebpf.kernel.preparation import Preparation
from otel_ebpf.kernel.programs import Programs
from tests.kernel.tracer import Tracer
from tests.kernel.traffic import Traffic

ROOT = Path(__file__).resolve().parents[2]
COMPILER = ("libbcc", "libLLVM", "libclang")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    place = tmp_path / "programs"
    monkeypatch.setattr(obtain, "folders", lambda *_: [place])
    return place


def test_a_kept_start_is_like_the_one_that_compiled(folder: Path) -> None:
    """The same maps and programs, byte for byte; and they trace."""
    config = KernelConfig(filter_processes=True)
    first = Obtaining(bpf_dir(), config.cflags())
    compiled = first.result()
    second = Obtaining(bpf_dir(), config.cflags())
    assert (first.cached, second.cached) == (False, True)
    assert second.result() == compiled
    assert len(compiled.functions) > 40
    other = Obtaining(bpf_dir(), [*config.cflags(), "-DMAX_THREADS=64"])
    assert not other.cached, "other flags, other programs"
    other.close()
    (entry,) = folder.iterdir()
    before = entry.stat().st_mtime_ns
    with Tracer(config) as tracer, Traffic() as traffic:
        tracer.choose(traffic.pid)
        traffic.exchange(traffic.pair("tcp4"))
        assert len(tracer.of(traffic.pid)) == 4
    assert entry.stat().st_mtime_ns == before, "it was compiled again"


SMALL = """
BPF_HASH(seen, u32, u64);
int on_call(void *ctx) { u32 key = 7; seen.increment(key); return 0; }
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Sources that compile quickly."""
    sources = tmp_path / "bpf"
    shutil.copytree(bpf_dir() / "shim", sources / "shim")
    (sources / "main.c").write_text(SMALL)
    return sources


def test_a_damaged_entry_is_made_anew(folder: Path, small: Path) -> None:
    compiled = Obtaining(small, []).result()
    assert [function.name for function in compiled.functions] == ["on_call"]
    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:-100])
    again = Obtaining(small, [])
    assert not again.cached
    assert again.result() == compiled
    assert Obtaining(small, []).cached


def test_a_change_of_a_header_of_the_shim_counts(folder: Path, small: Path) -> None:
    Obtaining(small, []).result()
    header = small / "shim" / "include" / "linux" / "types.h"
    header.write_text(header.read_text() + "\n/* changed */\n")
    again = Obtaining(small, [])
    assert not again.cached
    again.close()


def test_compilers_side_by_side_make_what_one_makes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same maps and the same instructions, whatever each of them had to do."""
    made = []
    for parts in (1, 3):
        monkeypatch.setattr(obtain, "MOST_PARTS", parts)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
        programs = Obtaining(bpf_dir(), KernelConfig().cflags())
        assert len(programs._compilations) == parts
        made.append(programs.result())
        shutil.rmtree(folder)
    one, three = made
    assert one.maps == three.maps
    assert {f.name: f for f in one.functions} == {f.name: f for f in three.functions}


def test_headers_of_ones_own_are_used_and_nothing_is_kept(
    folder: Path, small: Path, tmp_path: Path
) -> None:
    own = {**os.environ, "BCC_KERNEL_SOURCE": str(tmp_path / "nothing")}
    with pytest.raises(KernelError):
        Obtaining(small, [], own).result()
    assert not folder.exists()


def test_without_a_place_to_keep_them_they_are_compiled(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(obtain, "folders", lambda *_: [tmp_path / "file" / "programs"])
    programs = Obtaining(small, [])
    assert not programs.cached
    assert programs.result().functions


def test_a_compiler_that_dies_is_an_error_with_its_reason(folder: Path, small: Path) -> None:
    programs = Obtaining(small, [])
    programs._compilations[0]._child.kill()
    with pytest.raises(KernelError, match="was ended by SIGKILL"):
        programs.result()
    assert list(folder.iterdir()) == []


def _children() -> set[str]:
    """This process's, by every thread of it."""
    found: set[str] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= set(file.read_text().split())
    return found


def test_a_preparation_that_is_not_wanted_ends_at_once(folder: Path) -> None:
    """And leaves neither a process nor a descriptor."""
    before, children = set(os.listdir("/proc/self/fd")), _children()
    preparation = Preparation(KernelConfig(max_traces=512))
    preparation.close()
    assert set(os.listdir("/proc/self/fd")) == before
    assert _children() <= children
    assert not folder.exists() or not list(folder.glob("*.programs"))


def test_a_prepared_kernel_half_traces(folder: Path) -> None:
    kernel = Preparation(KernelConfig(filter_processes=True)).finish()
    try:
        loaded = {program.name for program in kernel.programs}
        assert {"prog_output", "exit_read", "on_exit"} <= loaded
        kernel.open_bursts(lambda _cpu, _data: None, lambda _lost: None, 16)
        kernel.attach()
        assert len(kernel.attached) > 30
    finally:
        kernel.close()


AGENT = """
import sys, time
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import Kernel
kernel = Kernel(KernelConfig(filter_processes=True))
kernel.open_bursts(lambda cpu, data: None, lambda lost: None, 16)
kernel.attach()
kernel.attach_uprobe(sys.executable, int(sys.argv[1], 0), "go_conn_serve")
print(*[line.split(":")[1].strip() for program in kernel.programs
        for line in open(f"/proc/self/fdinfo/{program.fd}") if line.startswith("prog_id")])
sys.stdout.flush()
sys.stdin.readline()
start = time.monotonic()
kernel.close()
print(time.monotonic() - start, flush=True)
"""


@contextlib.contextmanager
def _agent() -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A process that holds the attached kernel half, and its programs' ids."""
    entry = _entry_offset(Path(sys.executable).resolve())
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(entry)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, {int(word) for word in process.stdout.readline().split()}
        finally:
            process.kill()


def _entry_offset(path: Path) -> int:
    """File offset of a program's first instruction."""
    with open(path, "rb") as file:
        elf = ELFFile(file)
        entry = elf["e_entry"]
        for segment in elf.iter_segments("PT_LOAD"):
            if segment["p_vaddr"] <= entry < segment["p_vaddr"] + segment["p_filesz"]:
                return int(entry - segment["p_vaddr"] + segment["p_offset"])
    raise AssertionError(f"{path} has no entry")


def _loaded() -> set[int]:
    """Ids of all programs in the kernel."""
    found: set[int] = set()
    last = 0
    while True:
        try:
            _, attr = sysbpf.bpf(11, struct.pack("=II", last, 0))  # BPF_PROG_GET_NEXT_ID
        except FileNotFoundError:
            return found
        last = struct.unpack_from("=I", attr, 4)[0]
        found.add(last)


def _gone(ids: set[int]) -> None:
    deadline = time.monotonic() + 30
    while ids & _loaded():
        assert time.monotonic() < deadline, f"still there: {ids & _loaded()}"
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["close", "kill"])
def test_nothing_stays_in_the_kernel(how: str) -> None:
    uprobes = Path("/sys/kernel/tracing/uprobe_events")
    before = uprobes.read_text() if uprobes.exists() else ""
    with _agent() as (process, ids):
        assert len(ids) > 40 and ids <= _loaded()
        if how == "kill":
            process.send_signal(signal.SIGKILL)
        else:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            # A wait for each of some fifty tracepoints would be two seconds at the least.
            assert float(process.stdout.readline()) < 1.5
        process.wait(30)
    _gone(ids)
    assert (uprobes.read_text() if uprobes.exists() else "") == before


def test_the_compiler_is_not_in_the_memory_of_who_asked(folder: Path) -> None:
    with Tracer():
        mapped = Path("/proc/self/maps").read_text()
    if "bcc" not in sys.modules:  # another test of this run may have imported it
        assert not [name for name in COMPILER if name in mapped]


def _unknown(_event: int, _program: int) -> int:
    raise OSError(errno.EINVAL, "Invalid argument")


@pytest.mark.parametrize("links", [True, False])
def test_a_uprobe_fires_until_it_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Seen by the number of runs that the kernel counts; on old kernels without links too."""
    if not links:
        monkeypatch.setattr(attachments, "_has_uprobe_links", lambda: False)
        monkeypatch.setattr(sysbpf, "link_perf", _unknown)
    program = Path("/bin/true").resolve()
    copy = tmp_path / "true"
    copy.write_bytes(program.read_bytes())
    copy.chmod(0o755)
    statistics = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = statistics.read_text()
    kernel = Kernel(KernelConfig(filter_processes=True))

    def runs() -> int:
        (fd,) = [p.fd for p in kernel.programs if p.name == "go_conn_serve"]
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("run_cnt"))

    try:
        statistics.write_text("1")
        handle = kernel.attach_uprobe(str(copy), _entry_offset(copy), "go_conn_serve")
        for _ in range(3):
            subprocess.run([copy], check=True)
        assert runs() == 3
        kernel.detach_uprobe(handle)
        subprocess.run([copy], check=True)
        assert runs() == 3
        with pytest.raises(KeyError):
            kernel.detach_uprobe(handle)
        with pytest.raises(KernelError, match="go_conn_serve refused"):
            kernel.attach_uprobe(str(tmp_path / "none"), 64, "go_conn_serve")
        with pytest.raises(KernelError, match="no program nonsense"):
            kernel.attach_uprobe(str(copy), 64, "nonsense")
    finally:
        statistics.write_text(before)
        kernel.close()


def test_a_program_that_the_verifier_refuses_is_named_with_its_words() -> None:
    endless = bytes.fromhex("0500ffff00000000") + sysbpf.RETURN_ZERO
    programs = Programs(Compiled((), (Function("spinning", endless, ()),)), {})
    with pytest.raises(KernelError, match="refused the program spinning") as caught:
        programs.load("spinning", sysbpf.TRACEPOINT)
    assert "insn" in str(caught.value)
