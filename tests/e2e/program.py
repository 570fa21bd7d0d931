"""A script of the tests as a child process that waits for the word, and answers in lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class Program:
    """``script`` with ``words``, running; it begins its work when told to ``go``."""

    def __init__(self, script: Path, *words: object, python: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [python or sys.executable, str(script), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
