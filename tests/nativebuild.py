"""Compile C and Rust test programs once and keep them, keyed by all that decides the output."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.gobuild import cache_dir


def cargo_command() -> str | None:
    """The ``cargo`` command, or None where no Rust is installed."""
    found = shutil.which("cargo")
    usual = Path.home() / ".cargo" / "bin" / "cargo"
    return found or (str(usual) if usual.exists() else None)


def build_c(source: Path) -> Path:
    """Build the program of one C file. Raises RuntimeError with the compiler's words."""
    target = _place(source.stem, [source])
    command: list[str | Path] = [
        "gcc",
        "-O2",
        "-Wall",
        "-Werror",
        "-pthread",
        source,
        "-o",
        f"{target}.tmp",
    ]
    return _built(target, command, f"{target}.tmp", {})


def build_rust(source: Path) -> Path:
    """Build the crate in a directory, which has a Cargo.lock; the program has the crate's name."""
    cargo = cargo_command()
    if cargo is None:
        raise RuntimeError("no cargo command: install Rust, or put it on PATH")
    files = [p for p in source.rglob("*") if p.is_file() and "target" not in p.parts]
    target = _place(source.name, files)
    output = f"{target}.build"
    command: list[str | Path] = [cargo, "build", "--release", "--locked", "--quiet"]
    made = f"{output}/release/{source.name}"
    return _built(target, command, made, {"CARGO_TARGET_DIR": output}, source)


def _place(name: str, files: Sequence[Path]) -> Path:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    home = cache_dir().parent / "native"
    home.mkdir(parents=True, exist_ok=True)
    return home / f"{name}-{digest.hexdigest()[:16]}"


def _built(
    target: Path,
    command: Sequence[str | Path],
    made: str,
    env: Mapping[str, str],
    where: Path | None = None,
) -> Path:
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            done = subprocess.run(
                command, cwd=where, env={**os.environ, **env}, capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"{command[0]} {target.name}: {done.stderr.strip()}")
            os.replace(made, target)
            shutil.rmtree(f"{target}.build", ignore_errors=True)
    return target
