"""CPython 3.14, which the distribution of the tests lacks: a root of its own, made once and kept.

The interpreter is Debian unstable's, with the C library that it needs, so programs run below
``chroot``: as in a container, their files are not where the agent sees their names.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.gobuild import cache_dir

_DEBIAN = [
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.14-minimal",
    "libpython3.14-stdlib",
    "libreadline8t64",
    "libsqlite3-0",
    "libssl3t64",
    "libstdc++6",
    "libuuid1",
    "libzstd1",
    "python3.14",
    "python3.14-minimal",
    "zlib1g",
]
_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
_SOURCE = "deb [signed-by={}] http://deb.debian.org/debian sid main\n"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def python314_root(packages: Sequence[str]) -> Path:
    """A root directory in which /usr/bin/python3.14 has ``packages`` (pip requirements).

    Raises RuntimeError with the words of apt or pip when it cannot be had.
    """
    root = cache_dir().parent / "python314"
    root.mkdir(parents=True, exist_ok=True)
    with open(root.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = root / "complete"
        wanted = "\n".join(sorted(packages))
        if done.exists() and done.read_text() == wanted:
            return root
        shutil.rmtree(root)
        debs = root / "debs"
        debs.mkdir(parents=True)
        _download(debs)
        for package in debs.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True)
        for name in ("bin", "lib", "lib64", "sbin"):
            if not (root / name).exists():
                os.symlink(f"usr/{name}", root / name)
        platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
        _run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:",
             "--target", root / "usr/local/lib/python3.14/dist-packages",
             "--python-version", "3.14", "--implementation", "cp", "--abi", "cp314",
             *platforms, *packages]
        )  # fmt: skip
        shutil.rmtree(debs)
        done.write_text(wanted)
    return root


def _download(folder: Path) -> None:
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(_SOURCE.format(_KEYRING))
    options = {
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Sandbox::User": "root",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    chosen = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    _run(["apt-get", *chosen, "update", "-q"])
    _run(["apt-get", *chosen, "download", *_DEBIAN], folder)


def _run(command: Sequence[str | Path], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr[-2000:]}")
