"""Virtual environments with the packages of test services, made once and kept."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.gobuild import cache_dir

ASYNC_PACKAGES = (
    "aiohttp>=3.10,<4",
    "h11>=0.14",
    "httptools>=0.6",
    "httpx>=0.27,<1",
    "starlette>=0.41",
    "uvicorn>=0.30",
    "uvloop>=0.19",
)
WEB_PACKAGES = (
    *ASYNC_PACKAGES,
    "django>=4.2",
    "fastapi>=0.115",
    "flask>=3",
    "gunicorn>=22",
    "requests>=2.31",
)
DATABASE_PACKAGES = (
    "aiohttp>=3.10,<4",
    "aiomysql>=0.2",
    "asyncpg>=0.29",
    "psycopg[binary]>=3.1",
    "redis>=5",
)
_TRIES = 3


def python_with(packages: Sequence[str], interpreter: str = sys.executable) -> Path:
    """An interpreter that has ``packages`` (pip requirements) and nothing else.

    Safe to call from several processes at once. Raises RuntimeError with pip's words.
    """
    about = subprocess.run(
        [interpreter, "-c", "import sys; print(sys.version, sys._base_executable)"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    key = hashlib.sha256(repr((about, sorted(packages))).encode()).hexdigest()[:16]
    home = cache_dir().parent / "python" / key
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = home / "bin" / "python"
        if (home / "complete").exists():
            return python
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([interpreter, "-m", "venv", home], check=True, capture_output=True)
        for attempt in range(_TRIES):
            done = subprocess.run(
                [python, "-m", "pip", "install", "--quiet", *packages],
                capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode == 0:
                break
            if attempt == _TRIES - 1:
                raise RuntimeError(f"pip install {' '.join(packages)}: {done.stderr[-2000:]}")
        (home / "complete").touch()
        return python
