"""Programs to trace: started on free loopback ports, ready when they say so."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def server(
    command: Sequence[str | Path],
    ports: Iterable[int],
    errors: Path,
    *,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Iterator[int]:
    """A server that nobody here wrote, once it listens on all ``ports``; yields its pid.

    What it prints goes to the file ``errors``. Raises ServiceError with that when it ends first.
    """
    with errors.open("w") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            user=user,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        for port in ports:
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ServiceError(f"{command[0]} does not listen: {errors.read_text()}")
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def answering() -> Iterator[int]:
    """A server of HTTP in this process that says yes to everything; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        try:
            yield running.server_address[1]
        finally:
            running.shutdown()
            thread.join()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class ServiceError(RuntimeError):
    """A program under test did not do what the test needs before anything is measured."""


class Service:
    """One process that prints ``listening HOST:PORT`` when it accepts connections.

    Attributes:
        name: how messages call it. pid: of the process itself.
        address: ``host:port`` as the program printed it. lines: what it printed on
            standard output after that, in order (``take_line`` waits for the next).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        ready_seconds: float = 30.0,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            words = self.take_line(ready_seconds).split()
            if len(words) != 2 or words[0] != "listening":
                raise ServiceError(f"{name}: expected `listening HOST:PORT`, got {words!r}")
        except BaseException:
            self.stop()
            raise
        self.address = words[1]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def errors(self) -> str:
        """What it has printed on standard error so far."""
        return "".join(self._errors)

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self._errors.append(line)

    def take_line(self, seconds: float = 10.0) -> str:
        """The next line of standard output, waiting up to ``seconds``."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise ServiceError(f"{self.name}: silent for {seconds:g} s\n{self.errors}") from None
        if line is None:
            raise ServiceError(
                f"{self.name}: ended with status {self.process.wait()}\n{self.errors}"
            )
        return line

    def get(self, path: str, *, data: bytes | None = None, seconds: float = 30.0) -> bytes:
        """The body of one request to the service (POST when there is ``data``)."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, data=data, timeout=seconds) as response:
            body: bytes = response.read()
            return body

    def stop(self, seconds: float = 5.0) -> None:
        """End the process and wait until it is gone. More calls do nothing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for reader in self._readers:
            reader.join(seconds)

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def python_command(script: Path, *arguments: str) -> list[str]:
    """How to run a Python service with the interpreter of the tests."""
    return [sys.executable, str(script), *arguments]
