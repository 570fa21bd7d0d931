"""A real Mosquitto broker for tests: a free port, nothing kept, statistics every second."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from tests.debian import debian_program

PACKAGES = (
    *("mosquitto", "libcjson1", "libev4", "libdlt2", "libmosquitto1", "libsystemd0"),
    *("libwebsockets17", "libwrap0", "libssl3"),
)


class MosquittoServer:
    """Running when the constructor returns.

    Attributes:
        port: on 127.0.0.1; pid: of the broker.
    """

    def __init__(self, folder: Path, *lines: str) -> None:
        program, env = debian_program("mosquitto", "usr/sbin/mosquitto", PACKAGES)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        config = folder / "mosquitto.conf"
        allowed = () if any(line.startswith("password_file") for line in lines) else ("true",)
        said = [f"listener {self.port} 127.0.0.1", "sys_interval 1", "user root", *lines]
        said += [f"allow_anonymous {word}" for word in allowed]
        config.write_text("\n".join(said) + "\n")
        self._process = subprocess.Popen(
            [program, "-c", str(config)], env=env, stderr=subprocess.DEVNULL
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

    def __enter__(self) -> MosquittoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
