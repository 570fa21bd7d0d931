"""Build Go test programs once and keep them, keyed by all that decides the output."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path


def go_command() -> str | None:
    """The ``go`` command, or None where no Go is installed."""
    found = shutil.which("go")
    usual = Path("/usr/local/go/bin/go")
    return found or (str(usual) if usual.exists() else None)


def cache_dir() -> Path:
    """Where built programs are kept: ``OTEL_EBPF_TEST_CACHE``, else the user's cache."""
    base = os.environ.get("OTEL_EBPF_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "otel-ebpf-tests" / "go"


def _environment(toolchain: str, env: Mapping[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "GOTOOLCHAIN": toolchain,
        "CGO_ENABLED": "0",
        **env,
    }


def _key(source: Path, version: str, flags: tuple[str, ...], env: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        body = file.read_bytes()
        digest.update(f"{file.relative_to(source)}\0{len(body)}\0".encode())
        digest.update(body)
    digest.update(repr((version, flags, sorted(env.items()))).encode())
    return digest.hexdigest()[:16]


def build_go(
    source_dir: Path,
    *,
    toolchain: str = "local",
    flags: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> Path:
    """Build the main package in ``source_dir`` and return the program's path.

    ``toolchain`` is a GOTOOLCHAIN value (``local``, ``go1.21.13``); ``flags`` go to
    ``go build``; ``env`` is laid over the environment (cgo is off unless it says
    ``CGO_ENABLED=1``). Safe to call from several processes at once. Raises
    RuntimeError with the compiler's words when the build fails.
    """
    go = go_command()
    if go is None:
        raise RuntimeError("no go command: install Go, or put it on PATH")
    extra = dict(env or {})
    environment = _environment(toolchain, extra)
    asked = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, env=environment, cwd="/"
    )
    if asked.returncode:
        raise RuntimeError(f"go toolchain {toolchain}: {asked.stderr.strip()}")
    version = asked.stdout.strip()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{source_dir.name}-{version}")
    directory = cache_dir()
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{name}-{_key(source_dir, version, flags, extra)}"
    if target.exists():
        return target
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        partial = f"{target}.{os.getpid()}.tmp"
        built = subprocess.run(
            [go, "build", *flags, "-o", partial, "."],
            cwd=source_dir,
            capture_output=True,
            text=True,
            env=environment,
        )
        if built.returncode:
            raise RuntimeError(f"go build {source_dir} ({version}): {built.stderr.strip()}")
        os.replace(partial, target)
    return target
