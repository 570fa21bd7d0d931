"""Node for tests: other versions, and packages, from npm; made once and kept."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.gobuild import cache_dir


def node_version(major: int) -> Path | None:
    """A Node of this major version; None where there is no npm.

    Raises RuntimeError with npm's words.
    """
    found = npm_packages((f"node@{major}",))
    return found and found / "node" / "bin" / "node"


def npm_packages(packages: Sequence[str]) -> Path | None:
    """The folder ``node_modules`` with these packages; None where there is no npm.

    Raises RuntimeError with npm's words.
    """
    npm = shutil.which("npm")
    if npm is None:
        return None
    name = "+".join(sorted(packages)).replace("/", "_")
    home = cache_dir().parent / "npm" / name
    home.mkdir(parents=True, exist_ok=True)
    with open(home.with_name(f"{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = home / "complete"
        if not done.exists():
            command: list[str | Path] = [
                npm,
                "install",
                "--silent",
                "--no-audit",
                "--prefix",
                home,
                *packages,
            ]
            said = subprocess.run(command, capture_output=True, text=True)
            if said.returncode:
                raise RuntimeError(f"npm install {packages}: {said.stderr[-2000:]}")
            done.touch()
    return home / "node_modules"
