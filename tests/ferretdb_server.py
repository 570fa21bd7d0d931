"""A real server of MongoDB's protocol for tests: FerretDB over SQLite, nothing kept."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

from tests.e2e.services import free_port
from tests.gobuild import cache_dir, go_command

VERSION = "v1.24.2"
_MODULE = "github.com/FerretDB/FerretDB"
_COUNTED = re.compile(
    r'^ferretdb_client_requests_total\{command="(\w+)",opcode="(\w+)"\} (\d+)$', re.MULTILINE
)


def ferretdb_program() -> Path:
    """Built once and kept. Raises RuntimeError where it cannot be."""
    go = go_command()
    if go is None:
        raise RuntimeError("no go command: install Go, or put it on PATH")
    directory = cache_dir()
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / f"ferretdb-{VERSION}"
    env = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}
    with open(f"{program}.lock", "w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        told = subprocess.run(
            [go, "mod", "download", "-json", f"{_MODULE}@{VERSION}"],
            cwd=folder, env=env, capture_output=True, text=True,
        )  # fmt: skip
        if told.returncode:
            raise RuntimeError(f"{_MODULE}: {told.stdout}{told.stderr}")
        source = Path(folder) / "source"
        shutil.copytree(json.loads(told.stdout)["Dir"], source)
        subprocess.run(["chmod", "-R", "u+w", source], check=True)
        # Its own way of building writes this; without it the program does not start.
        (source / "build/version/version.txt").write_text(f"{VERSION}\n")
        built = subprocess.run(
            [go, "build", "-o", f"{program}.tmp", "./cmd/ferretdb"],
            cwd=source, env=env, capture_output=True, text=True,
        )  # fmt: skip
        if built.returncode:
            raise RuntimeError(f"{_MODULE}: {built.stderr[-2000:]}")
        os.replace(f"{program}.tmp", program)
    return program


class FerretdbServer:
    """Answers when the constructor returns.

    Attributes:
        port: on 127.0.0.1; uri: for clients; pid: of the server.
    """

    def __init__(self, *arguments: str) -> None:
        program = ferretdb_program()
        self.port, self._debug = free_port(), free_port()
        self.uri = f"mongodb://127.0.0.1:{self.port}/shop"
        self._folder = tempfile.TemporaryDirectory(prefix="ferretdb-")
        folder = self._folder.name
        self._process = subprocess.Popen(
            [
                program, f"--listen-addr=127.0.0.1:{self.port}", "--handler=sqlite",
                f"--debug-addr=127.0.0.1:{self._debug}", f"--sqlite-url=file:{folder}/",
                f"--state-dir={folder}", "--telemetry=disable", "--log-level=error", *arguments,
            ],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.pid = self._process.pid
        deadline = time.monotonic() + 60
        while True:
            try:
                self.counts()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.05)

    def counts(self) -> Counter[str]:
        """Requests that the server has had so far, by command, as it counts them itself."""
        url = f"http://127.0.0.1:{self._debug}/debug/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        found: Counter[str] = Counter()
        for command, _, number in _COUNTED.findall(text):
            found[command] += int(number)
        return found

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._folder.cleanup()

    def __enter__(self) -> FerretdbServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
