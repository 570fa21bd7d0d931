"""CPython's contexts and running tasks are found in real interpreters, by memory alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_ebpf.discovery import python_runtime
from otel_ebpf.discovery.memory import Mapping, Memory, mappings
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.discovery.python_runtime import (
    dict_item,
    offsets_by_version,
    read_python,
    why_unknown,
)

_KNOWN = offsets_by_version()
_BUILT = [Path.home().glob(f".pyenv/versions/{version}.*/bin/python") for version in _KNOWN]
_FOUND = [sys.executable, *(str(path) for paths in _BUILT for path in sorted(paths))]
_ASYNCIO = "import asyncio, _asyncio, sys; print(id(_asyncio._current_tasks), flush=True); input()"
_PLAIN = "import contextvars; print(id(contextvars.Context), flush=True); input()"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="reads other processes' memory")


def _run(python: str, code: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [python, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("python", _FOUND)
def test_the_walk_finds_the_table_of_running_tasks(python: str) -> None:
    process, address = _run(python, _ASYNCIO)
    with process:
        members = read_python(process.pid)
        process.communicate("\n")
    assert members is not None
    assert members["tasks"] == address
    assert members["tls"] >= 0x318


def test_without_asyncio_there_are_no_tasks_yet_but_contexts() -> None:
    process, context_type = _run(sys.executable, _PLAIN)
    with process:
        members = read_python(process.pid)
        process.communicate("\n")
    assert members is not None
    assert members["tasks"] == 0
    assert members["context_type"] == context_type


def test_another_program_is_no_python() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert read_python(process.pid) is None
        finally:
            process.kill()
    assert read_python(process.pid) is None, "it has ended"


def test_a_version_that_is_not_known_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_runtime, "offsets_by_version", dict)
    assert read_python(os.getpid()) is None


def test_memory_that_is_not_there_is_no_error() -> None:
    with Memory(os.getpid()) as memory:
        for at in (0, 8, 1 << 46, 1 << 63, -8):
            assert memory.read(at, 8) == b""
            assert memory.word(at) == 0
            assert memory.words(at, 4) == ()
            assert memory.text(at) == b""
            assert dict_item(memory, at, b"x", False) == 0
    assert any(m.path.endswith(".so") or ".so." in m.path for m in mappings(os.getpid(), ProcFs()))


def test_what_keeps_a_build_from_being_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.getpid()
    read = python_runtime._read_symbols

    def builds(version: str) -> None:
        monkeypatch.setattr(python_runtime, "_FILES", {})
        told = read("/proc/self/exe")
        assert told is not None
        monkeypatch.setattr(python_runtime, "_read_symbols", lambda _: (*told[:2], version))

    builds("3.14t")
    assert read_python(me) is None
    assert "CPython 3.14 without the global lock" in why_unknown(me)
    builds("3.99")
    assert "the layout of CPython 3.99 is not known" in why_unknown(me)
    monkeypatch.undo()
    musl = [*mappings(me, ProcFs()), Mapping(4096, 8192, 0, 1, "/lib/ld-musl-x86_64.so.1")]
    monkeypatch.setattr(python_runtime, "mappings", lambda *_: musl)
    assert read_python(me) is None
    assert "with musl" in why_unknown(me)
    with subprocess.Popen(["sleep", "60"]) as process:
        monkeypatch.undo()
        assert why_unknown(process.pid) == "no CPython is found in it"
        process.kill()
