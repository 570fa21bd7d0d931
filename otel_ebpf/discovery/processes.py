"""Which program a process runs, and in which language it was written."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass

from otel_ebpf.discovery.elf import ElfError, identity
from otel_ebpf.discovery.go_binary import GoBinary, read_go_binary
from otel_ebpf.discovery.procfs import MAX_MAPS, MAX_SMALL, ProcFs, read_regular

_log = logging.getLogger(__name__)

_PYTHON = re.compile(r"^(?:python|pypy)(\d+(?:\.\d+)?)?(?:-[\w.-]+|\.\w+)?$")
_LIBPYTHON = re.compile(rb"/lib(?:python|pypy)(\d+\.\d+)[^/\n]*\.so")
_LIB_DIRECTORY = re.compile(rb"/python(\d+\.\d+)/")
_NODE = frozenset({"node", "nodejs"})
_JAVA_VERSION = re.compile(rb'^JAVA_VERSION="([\w.+-]{1,40})"', re.M)


@dataclass(frozen=True, slots=True, eq=False)
class ProcessImage:
    """The program that a process runs now.

    Attributes:
        start_ticks: field 22 of /proc/PID/stat.
        exe: path as the process sees it; "" when it may not be read.
        identity: (device, inode, mtime in ns, size) of the executable, or None.
        language: "go", "python", "nodejs", "java" or "".
        runtime_name, runtime_version: "" when unknown.
        go: what is known of a Go program.
        problem: why the executable could not be understood, or "".
    """

    pid: int
    start_ticks: int
    exe: str
    identity: tuple[int, int, int, int] | None
    language: str
    runtime_name: str = ""
    runtime_version: str = ""
    go: GoBinary | None = None
    problem: str = ""


def list_pids(proc: ProcFs | None = None) -> list[int]:
    """Processes with a program of their own (kernel threads are left out), in order."""
    proc = proc or ProcFs()
    found = []
    for pid in proc.pids():
        status = proc.stat(pid)
        if status is not None and not status.kernel_thread:
            found.append(pid)
    return found


def classify(pid: int, proc: ProcFs | None = None) -> ProcessImage | None:
    """Look at a process; None when there is none, or when it ended meanwhile.

    The executable is opened through /proc/PID/exe, so deleted and replaced files and
    other mount namespaces are no matter. A damaged executable is logged, not raised.
    """
    proc = proc or ProcFs()
    before = proc.stat(pid)
    if before is None:
        return None
    image = _look(proc, pid, before.start_ticks)
    after = proc.stat(pid)
    # The same pid may by now be another process: nothing read above can be trusted then.
    return image if after is not None and after.start_ticks == before.start_ticks else None


def _look(proc: ProcFs, pid: int, start_ticks: int) -> ProcessImage:
    exe = proc.exe(pid)
    try:
        descriptor = os.open(proc.path(pid, "exe"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # Not ours to read (no privilege), or a kernel thread: its name may still tell.
        return ProcessImage(pid, start_ticks, exe, None, *_by_name(exe))
    try:
        key = identity(descriptor)
        language, runtime, version = _by_name(exe)
        if language:
            version = _refine(proc, pid, exe, language, version)
            return ProcessImage(pid, start_ticks, exe, key, language, runtime, version)
        problem = ""
        try:
            go = read_go_binary(descriptor)
        except (ElfError, OSError) as error:
            go, problem = None, getattr(error, "what", "") or str(error)
            _log.warning("%s (pid %d): %s", exe or "executable", pid, problem)
        if go is not None:
            text = go.version_text.split(" ")[0]
            return ProcessImage(pid, start_ticks, exe, key, "go", "go", text, go)
    finally:
        os.close(descriptor)
    language, runtime, version = _by_libraries(proc, pid, exe)
    return ProcessImage(pid, start_ticks, exe, key, language, runtime, version, None, problem)


def _by_name(exe: str) -> tuple[str, str, str]:
    """Language, runtime and version as far as the executable's name tells."""
    name = exe.rpartition("/")[2]
    python = _PYTHON.match(name)
    if python is not None:
        runtime = "pypy" if name.startswith("pypy") else "cpython"
        return "python", runtime, python.group(1) or ""
    if name in _NODE:
        return "nodejs", "nodejs", ""
    if name == "java":
        return "java", "", ""
    return "", "", ""


def _refine(proc: ProcFs, pid: int, exe: str, language: str, version: str) -> str:
    if language == "python" and "." not in version:
        maps = proc.read(pid, "maps", MAX_MAPS) or b""
        match = _LIBPYTHON.search(maps) or _LIB_DIRECTORY.search(maps)
        return match.group(1).decode() if match else version
    if language == "java":
        return _java_version(proc, pid, exe)
    return version


def _java_version(proc: ProcFs, pid: int, exe: str) -> str:
    home = os.path.dirname(os.path.dirname(exe))
    # A JRE inside a JDK has its release file one level up.
    for folder in (home, os.path.dirname(home)):
        raw = read_regular(f"{proc.path(pid, 'root')}{folder}/release", MAX_SMALL) or b""
        match = _JAVA_VERSION.search(raw)
        if match is not None:
            return match.group(1).decode()
    return ""


def _by_libraries(proc: ProcFs, pid: int, exe: str) -> tuple[str, str, str]:
    """A program that embeds an interpreter (uWSGI, a Java launcher) has its library mapped."""
    maps = proc.read(pid, "maps", MAX_MAPS) or b""
    match = _LIBPYTHON.search(maps)
    if match is not None:
        return "python", "cpython", match.group(1).decode()
    if b"/libjvm.so" in maps:
        return "java", "", _java_version(proc, pid, exe)
    if b"/libnode.so" in maps:
        return "nodejs", "nodejs", ""
    return "", "", ""
