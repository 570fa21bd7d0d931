"""A real Redis server for tests: a free port and a Unix socket, nothing kept."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from tests.debian import debian_program

PACKAGES = (
    *("redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1", "lua-cjson", "lua-bitop"),
    "libatomic1",
)


class RedisServer:
    """Running when the constructor returns.

    Attributes:
        port: on 127.0.0.1; path: of the Unix socket; pid: of the server.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        program, env = debian_program("redis-server", "usr/bin/redis-check-rdb", PACKAGES)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.path = folder / "redis.sock"
        listens = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.path)]
        self._process = subprocess.Popen(
            ["redis-server", *listens, "--save", "", "--dir", str(folder), *arguments],
            executable=program,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self.pid = self._process.pid
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
