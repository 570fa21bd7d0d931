"""Servers from the distribution's packages: the installed one, or unpacked and kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.gobuild import cache_dir

_SEARCH = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/lib/postgresql/15/bin"


HAPROXY = ("haproxy", "usr/sbin/haproxy", ("haproxy", "liblua5.3-0",
           "libopentracing-c-wrapper0", "libopentracing1"))  # fmt: skip
"""Arguments of ``debian_program`` for HAProxy."""


def debian_program(name: str, place: str, packages: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """A program that runs here, and the environment that it needs. Nothing is installed.

    Args:
        name: of the command, where it is installed.
        place: of the file within the packages.
        packages: those that have it, and the libraries that it needs.

    Raises RuntimeError with apt's words when there is none and none can be had.
    """
    found = shutil.which(name, path=_SEARCH)
    if found:
        return Path(found).resolve() if "postgres" in found else Path(found), dict(os.environ)
    # Servers that refuse root run as somebody who cannot look into root's own cache.
    cache = Path("/var/cache/otel-ebpf-tests") if os.geteuid() == 0 else cache_dir().parent
    home = cache / f"debian-{packages[0]}"
    home.mkdir(parents=True, exist_ok=True)
    program = home / place
    libraries = home / "usr/lib/x86_64-linux-gnu"
    env = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program, env
        with tempfile.TemporaryDirectory() as folder:
            done = _download(folder, packages)
            if done.returncode:
                subprocess.run(["apt-get", "update", "-q"], capture_output=True)
                done = _download(folder, packages)
            if done.returncode:
                raise RuntimeError(f"apt-get download {packages}: {done.stderr[-2000:]}")
            for package in Path(folder).glob("*.deb"):
                subprocess.run(["dpkg", "-x", package, home], check=True)
    return program, env


def _download(folder: str, packages: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True
    )
