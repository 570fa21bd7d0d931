"""Runs ``otel-ebpf replay`` as somebody without privileges."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.agent import TRUTH_ENV

NOBODY = 65534
_ENV = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def command() -> list[str]:
    """The command of this checkout."""
    return [sys.executable, "-m", "otel_ebpf.cli"]


@functools.cache
def _other_user() -> dict[str, Any]:
    """How to become a user who may nothing, where that user can read this checkout."""
    if os.geteuid() != 0:
        return {}
    nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    asked = subprocess.run(
        [*command(), "--version"], capture_output=True, cwd="/", env=_ENV, check=False, **nobody
    )
    return nobody if asked.returncode == 0 else {}


def can_drop() -> bool:
    """Whether ``unprivileged`` is what it says."""
    return os.geteuid() != 0 or bool(_other_user())


def unprivileged(
    *arguments: str | Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The command, run by a user who may load nothing into the kernel."""
    return subprocess.run(
        [*command(), *map(str, arguments)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd="/",
        env={**_ENV, **(env or {})},
        timeout=120,
        check=False,
        **_other_user(),
    )


def replay(capture: str | Path) -> subprocess.CompletedProcess[bytes]:
    """``replay --output json`` with the truth headers on the spans."""
    return unprivileged("replay", "--output", "json", Path(capture).resolve(), env=TRUTH_ENV)


def expected(capture: Path) -> bytes:
    """What ``replay`` prints for a good capture."""
    done = replay(capture)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
