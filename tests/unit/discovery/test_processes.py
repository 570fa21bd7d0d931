"""Processes are classified by what they run, whatever became of the file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_ebpf.discovery.processes import classify, list_pids
from otel_ebpf.discovery.procfs import ProcFs, read_regular
from tests.gobuild import build_go, go_command

Start = Callable[..., "subprocess.Popen[bytes]"]
HTTPAPP = Path(__file__).resolve().parents[2] / "targets" / "go" / "httpapp"


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*command: str | Path, **options: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
        )  # type: ignore[call-overload]
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_this_python() -> None:
    image = classify(os.getpid())
    assert image is not None
    assert image.language == "python"
    assert image.runtime_name == "cpython"
    assert image.runtime_version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert image.exe == os.path.realpath(sys.executable)
    assert image.identity is not None
    assert image.identity[1] == os.stat(sys.executable).st_ino


@pytest.mark.skipif(go_command() is None, reason="no Go on this machine")
def test_a_go_program_whose_file_was_deleted(start: Start, tmp_path: Path) -> None:
    target = tmp_path / "shop"
    shutil.copy(build_go(HTTPAPP), target)
    process = start(target)
    assert process.stdout is not None
    process.stdout.readline()
    target.unlink()
    image = classify(process.pid)
    assert image is not None
    assert (image.language, image.runtime_name) == ("go", "go")
    assert image.exe == str(target)
    assert image.go is not None
    assert image.runtime_version == image.go.version_text.split()[0]
    assert image.go.symbols["net/http.(*conn).serve"]


def test_an_ordinary_program_has_no_language(start: Start) -> None:
    process = start("cat")
    image = classify(process.pid)
    assert image is not None
    assert (image.language, image.go, image.problem) == ("", None, "")


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js on this machine")
def test_node(start: Start) -> None:
    process = start("node", "-e", "console.log('up'); process.stdin.resume()")
    assert process.stdout is not None
    process.stdout.readline()
    image = classify(process.pid)
    assert image is not None
    assert (image.language, image.runtime_name) == ("nodejs", "nodejs")


def test_the_ended_are_none(start: Start) -> None:
    process = start("true")
    process.wait()
    assert classify(process.pid) is None
    assert classify(2**22 + 1) is None


def test_processes_are_listed_without_kernel_threads() -> None:
    pids = list_pids()
    assert os.getpid() in pids
    assert pids == sorted(pids)
    assert all(not status.kernel_thread for pid in pids if (status := ProcFs().stat(pid)))


def test_a_name_with_parentheses_and_spaces_does_not_shift_the_fields(
    start: Start, tmp_path: Path
) -> None:
    odd = tmp_path / "a) R 1 (b"
    shutil.copy(shutil.which("cat") or "/bin/cat", odd)
    process = start(odd)
    # The program runs once it has answered.
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x\n")
    process.stdin.flush()
    process.stdout.readline()
    status = ProcFs().stat(process.pid)
    assert status is not None
    assert status.comm == "a) R 1 (b"
    assert status.ppid == os.getpid()


def test_a_fifo_or_a_device_is_never_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "release"
    os.mkfifo(fifo)
    assert read_regular(str(fifo), 100) is None
    assert read_regular("/dev/zero", 100) is None
    assert read_regular(str(tmp_path), 100) is None
    assert read_regular("/a\0b", 100) is None
