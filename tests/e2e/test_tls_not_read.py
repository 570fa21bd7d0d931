"""Programs whose plaintext cannot be had are named while they run: by the log, by `status`, by
`doctor --pid`, and counted in the ledger."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agent import Agent, agent_command
from tests.pythons import python_with

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, for a certificate"),
]
QUIC = Path(__file__).resolve().parents[1] / "targets" / "openssl" / "quic.py"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for localhost, and its key."""
    home = tmp_path_factory.mktemp("certificate")
    cert, key = str(home / "cert.pem"), str(home / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-out", cert, "-keyout", key),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


class Holding:
    """An HTTPS server that answers nothing before it is told to.

    Attributes:
        asked: a request is there.
        answer: set it, and every request gets its 404.
    """

    def __init__(self, pair: tuple[str, str]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*pair)
        self.asked, self.answer = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            suppress(OSError),  # a client may look who is there, and go
            client,
            self._context.wrap_socket(client, server_side=True) as secure,
        ):
            if not secure.recv(4096):
                return
            self.asked.set()
            self.answer.wait(PATIENCE)
            secure.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        self.answer.set()
        self._listener.close()


@pytest.fixture
def server(pair: tuple[str, str]) -> Iterator[Holding]:
    holding = Holding(pair)
    try:
        yield holding
    finally:
        holding.close()


def command(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [*agent_command(), *words],
        env={**os.environ, "OTEL_EBPF_RUN_DIR": str(folder)},
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def named(folder: Path, pid: int) -> str:
    """What the running agent says that this process speaks."""
    [answer] = json.loads(command(folder, "status", "--json"))
    said: dict[str, str] = answer["tls_not_readable"]
    return said.get(str(pid), "")


def wait_named(folder: Path, pid: int) -> str:
    deadline = time.monotonic() + PATIENCE
    while not (said := named(folder, pid)):
        assert time.monotonic() < deadline
    return said


def doctor(folder: Path, pid: int) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(command(folder, "doctor", "--pid", str(pid), "--json"))
    return facts


def gnutls(_: Path) -> list[str]:
    if shutil.which("wget") is None:
        pytest.skip("needs wget, which uses GnuTLS")
    return ["wget", "-q", "--tries=1", "--no-check-certificate", "-O", "/dev/null"]


def rustls(home: Path) -> list[str]:
    program = python_with(("uv>=0.9",)).with_name("uv")
    place = ["--no-config", "--no-cache", "--target", str(home), "--python", sys.executable]
    return [
        *(str(program), "pip", "install", *place),
        *("--allow-insecure-host=localhost", "one-that-is-not-there", "--index-url"),
    ]


@contextmanager
def held_back(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that becomes the program with the first line that it reads."""
    with subprocess.Popen(
        ["sh", "-c", 'read line; exec "$@"', "sh", *words],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "no_proxy": "*", "NO_PROXY": "*"},
    ) as program:  # fmt: skip
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.parametrize(
    ("way", "name"), [(gnutls, "GnuTLS"), (rustls, "rustls ")], ids=["gnutls", "rustls"]
)
def test_a_program_with_another_library_is_named(
    way: Callable[[Path], list[str]], name: str, server: Holding, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    environment = {"OTEL_EBPF_RUN_DIR": str(folder)}
    words = [*way(tmp_path / "target"), f"{server.url}/simple"]
    with held_back(words) as program, Agent(pids=[program.pid], env=environment) as agent:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.close()
        assert server.asked.wait(PATIENCE)
        agent.wait_said("cannot be read", PATIENCE)
        said = wait_named(folder, program.pid)
        assert said.startswith(name)
        text = command(folder, "status")
        assert f"process {program.pid} speaks what cannot be read: {said}" in text
        facts = doctor(folder, program.pid)
        assert facts["spoken_unread"] == said
        assert said in facts["tls_not_readable"]
        assert f"speaks what cannot be read ({said})" in command(
            folder, "doctor", "--pid", str(program.pid)
        )
        server.answer.set()
        program.wait(PATIENCE)
        spans = agent.stop()
    assert spans == []
    assert agent.ledger["processes_with_tls_not_readable"] == 1
    assert "processes_with_quic" not in agent.ledger
    lines = [line for line in agent.errors.splitlines() if "cannot be read" in line]
    assert len(lines) == 1 and said in lines[0] and words[0] in lines[0], agent.errors


def test_both_sides_of_quic_are_named(pair: tuple[str, str], tmp_path: Path) -> None:
    python = str(python_with(("aioquic>=1.2",)))
    with (
        subprocess.Popen([python, QUIC, "serve", *pair], stdout=subprocess.PIPE, text=True) as back,
        subprocess.Popen(
            [python, QUIC, "ask", (back.stdout and back.stdout.readline().split()[1]) or "", "/x"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        ) as front,
    ):  # fmt: skip
        assert front.stdin is not None and front.stdout is not None
        try:
            assert front.stdout.readline() == "ready\n"
            pids = [back.pid, front.pid]
            with Agent(pids=pids, env={"OTEL_EBPF_RUN_DIR": str(tmp_path)}) as agent:
                for _ in range(3):
                    front.stdin.write("\n")
                    assert front.stdout.readline() == "5\n"
                for pid in pids:
                    assert wait_named(tmp_path, pid) == "QUIC"
                    assert doctor(tmp_path, pid)["spoken_unread"] == "QUIC"
                spans = agent.stop()
        finally:
            front.kill()
            back.kill()
    assert spans == []
    assert agent.ledger["processes_with_quic"] == 2
    assert "processes_with_tls_not_readable" not in agent.ledger
    assert sum("QUIC of" in line for line in agent.errors.splitlines()) == 1  # one program
