"""Build the C test programs once and keep them, keyed by their text and the compiler's flags."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "targets" / "c"
_FLAGS = ("-O1", "-Wall", "-Wextra", "-Werror", "-pthread")


def build_c(name: str, *more: str) -> Path:
    """The program of ``tests/targets/c/NAME.c``.

    Args:
        more: words for the compiler behind the source: where headers are, and archives.

    Raises:
        RuntimeError: there is no gcc, or it refused; with its own words.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the kernel tests' programs need gcc (run `make setup`)")
    source = SOURCES / f"{name}.c"
    key = hashlib.sha256(source.read_bytes() + " ".join([*_FLAGS, *more]).encode()).hexdigest()[:16]
    base = os.environ.get("OTEL_EBPF_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "otel-ebpf-tests" / "c"
    program = folder / f"{name}-{key}"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    building = folder / f"{name}-{key}.{os.getpid()}"
    done = subprocess.run(
        [compiler, *_FLAGS, "-o", str(building), str(source), *more], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{source} does not compile:\n{done.stderr}")
    building.replace(program)  # whole or not at all, whoever else builds it now
    return program
