"""Which program a process runs, and in which language it was written."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass

from cachetools import LRUCache

from otel_ebpf.discovery.elf import ElfError, identity
from otel_ebpf.discovery.file_bytes import FileBytes
from otel_ebpf.discovery.go_binary import (
    GoBinary,
    Key,
    nothing_known,
    read_go_binary,
    read_go_build,
)
from otel_ebpf.discovery.go_buildinfo import MAGIC, BuildInfo
from otel_ebpf.discovery.procfs import MAX_MAPS, MAX_SMALL, ProcFs, read_regular

_log = logging.getLogger(__name__)

_PYTHON = re.compile(r"^(?:python|pypy)(\d+(?:\.\d+)?)?(?:-[\w.-]+|\.\w+)?$")
_LIBPYTHON = re.compile(rb"/lib(?:python|pypy)(\d+\.\d+)[^/\n]*\.so")
_LIB_DIRECTORY = re.compile(rb"/python(\d+\.\d+)/")
_PACKED, _PACKED_WITHIN = b"UPX!", 1024
_SEARCHED = 256 << 20
_NODE = frozenset({"node", "nodejs"})
_JAVA_VERSION = re.compile(rb'^JAVA_VERSION="([\w.+-]{1,40})"', re.M)


_said: LRUCache[Key, bool] = LRUCache(512)


@dataclass(frozen=True, slots=True, eq=False)
class ProcessImage:
    """The program that a process runs now.

    Attributes:
        start_ticks: field 22 of /proc/PID/stat.
        exe: path as the process sees it; "" when it may not be read.
        identity: (device, inode, mtime in ns, size) of the executable, or None.
        language: "go", "python", "nodejs", "java" or "".
        runtime_name, runtime_version: "" when unknown.
        go: what is known of a Go program, where its details were asked for.
        version: of a Go program's main module, "" when unknown.
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
    version: str = ""


def list_pids(proc: ProcFs | None = None) -> list[int]:
    """Processes with a program of their own (kernel threads are left out), in order."""
    proc = proc or ProcFs()
    found = []
    for pid in proc.pids():
        status = proc.stat(pid)
        if status is not None and not status.kernel_thread:
            found.append(pid)
    return found


def classify(pid: int, proc: ProcFs | None = None, *, details: bool = True) -> ProcessImage | None:
    """Look at a process; None when there is none, or when it ended meanwhile.

    Without ``details`` ``go`` is left out: a large program's takes tenths of a second.

    The executable is opened through /proc/PID/exe, so deleted and replaced files and
    other mount namespaces are no matter. A damaged executable is logged, not raised.
    """
    proc = proc or ProcFs()
    before = proc.stat(pid)
    if before is None:
        return None
    image = _look(proc, pid, before.start_ticks, details)
    after = proc.stat(pid)
    # The same pid may by now be another process: nothing read above can be trusted then.
    return image if after is not None and after.start_ticks == before.start_ticks else None


def _look(proc: ProcFs, pid: int, start_ticks: int, details: bool) -> ProcessImage:
    exe = proc.exe(pid)
    try:
        descriptor = os.open(proc.path(pid, "exe"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # Not ours to read (no privilege), or a kernel thread: its name may still tell.
        return ProcessImage(pid, start_ticks, exe, None, *_by_name(exe))
    try:
        key = identity(descriptor)
        # Before the name: a Go program may be called node, or python.
        build, go, problem = _go(descriptor, key, details)
        if problem and details and key not in _said:
            _said[key] = True  # once a program, not once a process
            _log.warning("%s (pid %d): %s", exe or "executable", pid, problem)
        if build is not None:
            text = build.version.split(" ")[0]
            version = "" if build.main_version == "(devel)" else build.main_version
            return ProcessImage(pid, start_ticks, exe, key, "go", "go", text, go, problem, version)
    finally:
        os.close(descriptor)
    language, runtime, version = _by_name(exe)
    if language:
        version = _refine(proc, pid, exe, language, version)
    else:
        language, runtime, version = _by_libraries(proc, pid, exe)
    return ProcessImage(pid, start_ticks, exe, key, language, runtime, version, go, problem)


def _go(descriptor: int, key: Key, details: bool) -> tuple[BuildInfo | None, GoBinary | None, str]:
    """What the linker wrote, what is known of a Go program, and what is wrong with it."""
    build = None
    try:
        build = read_go_build(descriptor)
        if build is None and _PACKED in os.pread(descriptor, _PACKED_WITHIN, 0):
            # Nobody can see what it unpacks to. It may be Go, whose threads carry nothing.
            go = nothing_known(BuildInfo(""), key) if details else None
            return None, go, "it is packed (UPX): its requests get no parents"
        return build, read_go_binary(descriptor) if details and build is not None else None, ""
    except (ElfError, OSError) as error:
        go = None
        if details and (build is not None or _marked_by_go(descriptor)):
            go = nothing_known(build or BuildInfo(""), key)
        return build, go, getattr(error, "what", "") or str(error)


def _marked_by_go(descriptor: int) -> bool:
    """Whether Go's linker has left its mark in a file that cannot be read: a 32-bit program."""
    file = FileBytes(descriptor)
    try:
        return file.find(MAGIC, 0, _SEARCHED) >= 0
    except OSError:
        return False
    finally:
        file.close()


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
