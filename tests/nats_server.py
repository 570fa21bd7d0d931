"""A real NATS server for tests: free ports, JetStream in a folder, its monitoring."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.debian import debian_program

USER, PASSWORD = "me", "s3cr3t-password"


class NatsServer:
    """Running when the constructor returns.

    Attributes:
        port: on 127.0.0.1; url: for clients, without password; pid: of the server.
    """

    def __init__(self, folder: Path, max_payload: int = 1 << 20) -> None:
        program, env = debian_program("nats-server", "usr/sbin/nats-server", ("nats-server",))
        ports = []
        for _ in range(2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(int(free.getsockname()[1]))
        self.port, self._monitoring = ports
        self.url = f"nats://127.0.0.1:{self.port}"
        words = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(self._monitoring)]
        folder.mkdir(exist_ok=True)
        settings = folder / "nats.conf"
        settings.write_text(f"max_payload: {max_payload}\n")
        words += [
            "-c",
            str(settings),
            "--user",
            USER,
            "--pass",
            PASSWORD,
            "-js",
            "-sd",
            str(folder),
        ]
        self._process = subprocess.Popen([program, *words], env=env, stderr=subprocess.DEVNULL)
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

    def counts(self) -> tuple[int, int]:
        """Messages that came in and went out, by /varz."""
        url = f"http://127.0.0.1:{self._monitoring}/varz"
        with urllib.request.urlopen(url, timeout=20) as answer:
            told = json.load(answer)
        return int(told["in_msgs"]), int(told["out_msgs"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def __enter__(self) -> NatsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
