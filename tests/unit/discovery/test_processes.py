"""Processes are classified by what they run, whatever became of the file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_ebpf.discovery.elf import ElfImage
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


@pytest.mark.skipif(go_command() is None, reason="no Go on this machine")
def test_a_go_program_may_have_another_languages_name(start: Start, tmp_path: Path) -> None:
    target = tmp_path / "node"
    shutil.copy(build_go(HTTPAPP), target)
    process = start(target)
    assert process.stdout is not None
    process.stdout.readline()
    image, brief = classify(process.pid), classify(process.pid, details=False)
    assert image is not None and brief is not None
    assert (image.language, brief.language) == ("go", "go")
    assert image.go is not None
    assert brief.go is None, "details take time, and were not asked for"
    assert brief.runtime_version == image.runtime_version


@pytest.mark.skipif(go_command() is None, reason="no Go on this machine")
def test_a_go_program_whose_debugging_data_is_damaged_is_read_without_it(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = bytearray(build_go(HTTPAPP).read_bytes())
    with ElfImage(build_go(HTTPAPP)) as image:
        debug, debug_end = image.span(image.sections[".debug_info"])
    body[debug + 40 : debug_end] = b"\xff" * (debug_end - debug - 40)  # it does not inflate
    target = tmp_path / "shop"
    target.write_bytes(body)
    target.chmod(0o755)
    process = start(target)
    assert process.stdout is not None
    process.stdout.readline()
    found = classify(process.pid)
    assert found is not None and found.go is not None
    assert found.go.offsets_source == "table", "the debugging data is not needed"
    assert "inflate" in caplog.text


def test_a_packed_program_is_told_and_carries_nothing(start: Start, tmp_path: Path) -> None:
    """UPX leaves its mark, and no section and no symbol of what it packed."""
    body = bytearray(Path(shutil.which("cat") or "/bin/cat").read_bytes())
    body[9:13] = b"UPX!"  # padding that the kernel does not look at
    target = tmp_path / "packed"
    target.write_bytes(body)
    target.chmod(0o755)
    process = start(target)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"x\n")
    process.stdin.flush()
    process.stdout.readline()
    image = classify(process.pid)
    assert image is not None and image.go is not None
    assert "packed" in image.problem
    assert image.go.g_tls_offset is None and not image.go.offsets


@pytest.mark.skipif(go_command() is None, reason="no Go on this machine")
def test_a_go_program_that_cannot_be_read_carries_nothing(tmp_path: Path) -> None:
    """As one of 32 bits. Its threads must not pass for requests'."""
    body = bytearray(build_go(HTTPAPP).read_bytes())
    body[4] = 1  # it says that it has 32 bits
    target = tmp_path / "shop"
    target.write_bytes(body)
    fake = ProcFs(str(tmp_path / "proc"))
    folder = tmp_path / "proc" / "7"
    folder.mkdir(parents=True)
    (folder / "stat").write_bytes(b"7 (shop) S 1 " + b"0 " * 40)
    (folder / "exe").symlink_to(target)
    image = classify(7, fake)
    assert image is not None and image.go is not None
    assert "64-bit" in image.problem
    assert image.go.g_tls_offset is None and not image.go.offsets


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a mount namespace")
@pytest.mark.skipif(go_command() is None, reason="no Go on this machine")
def test_a_program_that_only_its_own_mount_namespace_has(start: Start, tmp_path: Path) -> None:
    script = 'mount -t tmpfs none "$1" && cp "$2" "$1/shop" && exec "$1/shop"'
    words = ("unshare", "--mount", "sh", "-c", script, "sh", tmp_path, build_go(HTTPAPP))
    process = start(*words)
    assert process.stdout is not None
    process.stdout.readline()
    assert not (tmp_path / "shop").exists(), "it is not to be seen from here"
    image = classify(process.pid)
    assert image is not None and image.go is not None
    assert image.exe == str(tmp_path / "shop")
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
