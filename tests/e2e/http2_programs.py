"""Programs that speak HTTP/2 and gRPC without TLS: Go's net/http and grpc-go, Python's grpcio,
grpc-js and grpc-java."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pytest

from tests.e2e.services import TESTS, Service
from tests.gobuild import build_go
from tests.javabuild import build_java, java_home, maven_jars
from tests.nodes import npm_packages

TARGET = Path(__file__).resolve().parent / "target"
PYTHON_GRPC = TARGET / "grpc_echo.py"
PYTHON_AIO = TARGET / "grpc_aio.py"
NODE_GRPC = TARGET / "grpc_node.js"


@functools.cache
def go_program() -> Path:
    return build_go(TESTS / "targets" / "go" / "h2app")


def go_server(kind: str) -> Service:
    """``http`` or ``grpc``."""
    return Service(f"go {kind} server", [go_program(), "-serve", kind])


def python_server() -> Service:
    return Service("python grpc server", [sys.executable, str(PYTHON_GRPC), "serve"])


def aio_server(*relay: str) -> Service:
    """grpcio's asyncio; ``relay``: it asks there in turn."""
    return Service(
        "asyncio grpc server", [sys.executable, PYTHON_AIO, "relay" if relay else "serve", *relay]
    )


def _node() -> dict[str, str]:
    modules = npm_packages(("@grpc/grpc-js@1",))
    if modules is None or shutil.which("node") is None:
        pytest.skip("needs Node and npm")
    return {**os.environ, "NODE_PATH": str(modules)}


def node_server() -> Service:
    """grpc-js."""
    return Service("node grpc server", ["node", NODE_GRPC, "serve"], env=_node())


@functools.cache
def _java() -> list[str | Path]:
    home = java_home()
    if home is None or shutil.which("mvn") is None:
        pytest.skip("needs a JDK and Maven")
    jars = maven_jars("io.grpc:grpc-netty-shaded:1.68.1", "io.grpc:grpc-stub:1.68.1")
    classes = build_java(TESTS / "targets" / "java-grpc", home, jars)
    place = os.pathsep.join(map(str, [classes, *jars]))
    return [home / "bin" / "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", place, "Main"]


def java_server() -> Service:
    """grpc-java, by Netty."""
    return Service("java grpc server", [*_java(), "serve"])


class Caller:
    """A client that makes the calls it is told to, on one connection.

    Attributes:
        pid: of the process itself.
    """

    def __init__(self, command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            env=env,
        )
        self.pid = self.process.pid
        assert self._line().startswith("listening")

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the client ended with {self.process.wait(10)}"
        return line

    def call(self, method: str, path: str, times: int = 1) -> list[str]:
        """``times`` calls at once; returns what the client said of those that failed."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{method} {path} {times}\n")
        said = []
        while (line := self._line()) != "done\n":
            said.append(line.strip())
        return said

    def stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def go_client(kind: str, address: str) -> Caller:
    """``http`` or ``grpc``."""
    return Caller([go_program(), "-call", kind, address])


def python_client(address: str) -> Caller:
    return Caller([sys.executable, PYTHON_GRPC, "call", address])


def aio_client(address: str) -> Caller:
    return Caller([sys.executable, PYTHON_AIO, "call", address])


def node_client(address: str) -> Caller:
    return Caller(["node", NODE_GRPC, "call", address], _node())


def java_client(address: str) -> Caller:
    return Caller([*_java(), "call", address])
