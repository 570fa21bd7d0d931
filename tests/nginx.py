"""nginx for tests: the installed one, or the distribution's package unpacked and kept."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.gobuild import cache_dir


def nginx_program() -> Path:
    """Path of an nginx that runs here. Nothing is installed.

    Raises RuntimeError with apt's words when there is none and none can be had.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found:
        return Path(found)
    home = cache_dir().parent / "nginx"
    home.mkdir(parents=True, exist_ok=True)
    program = home / "usr" / "sbin" / "nginx"
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        with tempfile.TemporaryDirectory() as folder:
            done = _download(folder)
            if done.returncode:
                subprocess.run(["apt-get", "update", "-q"], capture_output=True)
                done = _download(folder)
            packages = list(Path(folder).glob("nginx_*.deb"))
            if not packages:
                raise RuntimeError(f"apt-get download nginx: {done.stderr[-2000:]}")
            subprocess.run(["dpkg", "-x", packages[0], home], check=True)
    return program


def _download(folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "download", "nginx"], cwd=folder, capture_output=True, text=True
    )
