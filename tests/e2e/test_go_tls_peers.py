"""HTTPS of Go programs with other peers, on other sockets, and when the agent is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_ebpf.discovery.go_binary import read_go_binary
from otel_ebpf.discovery.go_tls_calls import tls_plan
from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.query import select
from tests.e2e.services import Service
from tests.e2e.test_go_tls import ask, connect, joined, services
from tests.e2e.truth import TRUTH, judge
from tests.gobuild import build_go

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@needs_curl
def test_a_client_that_is_no_go_program_and_every_version_of_http_and_tls() -> None:
    ways = {
        "1.1": [["--http1.1"], ["--http1.1", "--tls-max", "1.2"], ["--http1.1", "-d", "x" * 50000]],
        "2": [["--http2"], ["--http2", "--tls-max", "1.2"]],
    }
    with (
        Service("server", [build_go(TRUTH), "-tls", "1.3", "-h2"]) as server,
        Agent(pids=[server.pid]) as agent,
    ):
        for flags in [flag for some in ways.values() for flag in some]:
            # Two requests on one connection.
            urls = [f"https://{server.address}/leaf", f"https://{server.address}/pid"]
            subprocess.run(["curl", "-skf", *flags, *urls], check=True, stdout=subprocess.PIPE)
        spans = agent.stop()
    told = Counter(s["attributes"]["network.protocol.version"] for s in spans)
    assert told == {version: 2 * len(some) for version, some in ways.items()}
    assert all(s["attributes"]["http.response.status_code"] == 200 for s in spans)
    assert all(s["attributes"]["url.scheme"] == "https" for s in spans)
    # A self-signed certificate's connections have nobody else's client behind them here.
    assert all(s["kind"] == "SERVER" and not s["parent_span_id"] for s in spans)


def test_http2_over_tls_is_joined_and_has_parents() -> None:
    program = build_go(TRUTH)
    with (
        Service("back", [program, "-tls", "1.3", "-h2"]) as back,
        Service(
            "front", [program, "-tls", "1.3", "-h2", "-next", f"https://{back.address}"]
        ) as front,
        connect(front) as connection,
        Agent(pids=[front.pid, back.pid], env=TRUTH_ENV) as agent,
    ):
        for number in range(10):
            for mode in ("ctx", "parctx", "pool"):
                ask(connection, f"/call?id={mode}.{number}&mode={mode}&n=3")
        spans = agent.stop()
    said = judge(spans, front.pid)
    assert not said.wrong, said
    assert said.right == dict.fromkeys(("ctx", "parctx", "pool"), 30), (said, agent.errors)
    assert joined(spans, back.pid) == {True: 90}
    calls = [s for s in spans if s["kind"] == "CLIENT"]
    assert {s["attributes"]["network.protocol.version"] for s in calls} == {"2"}


def test_streams_that_are_older_than_the_agent_are_joined() -> None:
    """Where both ends were joined midway, and by then count their plaintext differently."""
    program = build_go(TRUTH)
    with (
        Service("back", [program, "-tls", "1.3", "-h2"]) as back,
        Service(
            "front", [program, "-tls", "1.3", "-h2", "-next", f"https://{back.address}"]
        ) as front,
        connect(front) as connection,
    ):
        # The client's connection is there before the agent is.
        ask(connection, "/call?id=ctx.before&mode=ctx&n=1")
        with Agent(pids=[front.pid, back.pid]) as agent:
            for number in range(20):
                ask(connection, f"/call?id=ctx.{number}&mode=ctx&n=2")
            spans = agent.stop()
    calls = {(s["trace_id"], s["span_id"]): s for s in spans if s["kind"] == "CLIENT"}
    served = [
        s for s in spans if s["kind"] == "SERVER" and s["resource"]["process.pid"] == back.pid
    ]
    assert len(calls) == len(served) == 40
    parents = [(s["trace_id"], s["parent_span_id"]) for s in served]
    # Each has a parent of its own that began before it and ended after it.
    assert len(set(parents)) == 40 and set(parents) == set(calls)
    for span, parent in zip(served, parents, strict=True):
        call = calls[parent]
        assert call["start_time_unix_nano"] <= span["start_time_unix_nano"]
        assert span["end_time_unix_nano"] <= call["end_time_unix_nano"]


def test_tls_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        Service("server", [build_go(TRUTH), "-tls", "1.3", "-listen", str(path)]) as server,
        Agent(pids=[server.pid]) as agent,
    ):
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(30)
            plain.connect(str(path))
            with context.wrap_socket(plain) as secure:
                for _ in range(3):
                    secure.sendall(b"GET /leaf HTTP/1.1\r\nHost: unix\r\n\r\n")
                    assert secure.recv(4096).startswith(b"HTTP/1.1 200 ")
        spans = agent.stop()
    assert [s["attributes"]["url.path"] for s in spans] == ["/leaf"] * 3
    assert all(s["attributes"]["http.response.status_code"] == 200 for s in spans)


_PYTHON_SERVER = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"leaf")
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("listening 127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_server_that_is_no_go_program(tmp_path: Path) -> None:
    pair = tmp_path / "pair.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=here"]
    subprocess.run([*command, "-keyout", pair, "-out", pair], check=True, capture_output=True)
    with (
        Service("back", [sys.executable, "-c", _PYTHON_SERVER, str(pair)]) as back,
        Service(
            "front", [build_go(TRUTH), "-tls", "1.3", "-next", f"https://{back.address}"]
        ) as front,
        connect(front) as connection,
        Agent(pids=[front.pid, back.pid], env=TRUTH_ENV) as agent,
    ):
        for number in range(10):
            for mode in ("seq", "ctx", "pool"):
                ask(connection, f"/call?id={mode}.{number}&mode={mode}&n=2")
        spans = agent.stop()
    said = judge(spans, front.pid)
    assert not said.wrong, said
    assert sum(said.right.values()) >= 56, (said, agent.errors)
    assert sum(said.right.values()) + sum(said.absent.values()) == 60
    # Go and OpenSSL name the place of a byte alike.
    assert joined(spans, back.pid)[True] >= 59
    assert len(select(spans, "SERVER", pid=back.pid)) == 60


@contextmanager
def connect_proxy() -> Iterator[str]:
    """A proxy that knows CONNECT; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets = [listener]

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass

    def serve(client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        host, _, port = head.split()[1].decode().rpartition(":")
        server = socket.create_connection((host, int(port)))
        open_sockets.append(server)
        client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        threading.Thread(target=copy, args=(server, client), daemon=True).start()
        copy(client, server)

    def accept() -> None:
        try:
            while True:
                client, _ = listener.accept()
                open_sockets.append(client)
                threading.Thread(target=serve, args=(client,), daemon=True).start()
        except OSError:
            pass

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for one in open_sockets:
            one.close()


def test_a_connection_that_turns_to_tls_behind_a_proxys_connect() -> None:
    program = build_go(TRUTH)
    with (
        connect_proxy() as proxy,
        Service("back", [program, "-tls", "1.3"]) as back,
        Service(
            "front",
            # Go never asks a proxy for loopback by its usual rules; this one is named.
            [program, "-tls", "1.3", "-next", f"https://{back.address}", "-proxy", proxy],
        ) as front,
        connect(front) as connection,
        Agent(pids=[front.pid, back.pid], env=TRUTH_ENV) as agent,
    ):
        for number in range(6):
            ask(connection, f"/call?id=ctx.{number}&mode=ctx&n=2")
        spans = agent.stop()
    asked = select(spans, "SERVER", "/call", front.pid)
    assert len(asked) == 6
    calls = [s for s in spans if s["kind"] == "CLIENT"]
    tunnels = [s for s in calls if s["attributes"]["http.request.method"] == "CONNECT"]
    assert len(tunnels) == 1
    said = judge([s for s in spans if s not in tunnels], front.pid)
    assert (said.right, said.wrong) == ({"ctx": 12}, {}), said
    # What the server saw came from the proxy's own socket: no link, and none made up.
    leaves = select(spans, "SERVER", "/leaf", back.pid)
    assert len(leaves) == 12
    assert all(not s["parent_span_id"] for s in leaves)


def _code(pid: int, program: Path, places: list[int]) -> bytes:
    """The first byte of each place of the program's file, as the process has it."""
    found = {}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split()
        if len(words) > 5 and words[5] == str(program) and "x" in words[1]:
            start, end = (int(word, 16) for word in words[0].split("-"))
            offset = int(words[2], 16)
            with open(f"/proc/{pid}/mem", "rb") as memory:
                for place in places:
                    if offset <= place < offset + end - start:
                        memory.seek(start + place - offset)
                        found[place] = memory.read(1)
    return b"".join(found[place] for place in places)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_program_never_notices_that_the_agent_comes_and_goes(
    number: int, tmp_path: Path
) -> None:
    # A file of its own: uprobes are the file's, and other agents may trace the cached one.
    program = Path(shutil.copy(build_go(TRUTH), tmp_path))
    go = read_go_binary(program)
    assert go is not None
    descriptor = os.open(program, os.O_RDONLY)
    try:
        plan = tls_plan(descriptor, go)
        assert plan is not None and plan.kept and plan.hits() == {"Read": 1, "Write": 0}
        places = [offset for offset, _ in plan.places]
        pristine = b"".join(os.pread(descriptor, 1, place) for place in places)
    finally:
        os.close(descriptor)
    stop = threading.Event()
    answered: list[int] = []

    with services(program, "1.3") as (front, _back):

        def load() -> None:
            with connect(front) as connection:
                count = 0
                while not stop.is_set():
                    ask(connection, f"/call?id=x.{count}&mode=parctx&n=2")
                    count += 1
                answered.append(count)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            agent = Agent(pids=[front.pid], keep_output=False)
            assert _code(front.pid, program, places) != pristine
            agent.process.send_signal(number)
            agent.process.wait(30)
            agent.kill()
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        # Every request of every thread was answered well, or its thread would be missing.
        assert len(answered) == 4 and all(answered)
        assert front.process.poll() is None
        # The kernel takes uprobes away some time after their owner's end.
        deadline = time.monotonic() + 20
        while _code(front.pid, program, places) != pristine and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _code(front.pid, program, places) == pristine


_PAIRED = """
import sys
from otel_ebpf.discovery import go_tls_calls
go_tls_calls.arguments_kept = lambda *_: 0
from otel_ebpf.cli import main
sys.exit(main())
"""


def test_reads_paired_with_their_entries_tell_the_same() -> None:
    """The way for programs whose code does not show that arguments are kept."""
    with (
        services(build_go(TRUTH), "1.3") as (front, back),
        connect(front) as old,
        connect(front) as new,
    ):
        ask(old, "/call?id=ctx.before&mode=ctx&n=1")
        command = [sys.executable, "-c", _PAIRED]
        with Agent(pids=[front.pid, back.pid], env=TRUTH_ENV, command=command) as agent:
            for number in range(10):
                for name, connection in (("new", new), ("old", old)):
                    ask(connection, f"/call?id=ctx.{name}.{number}&mode=ctx&n=2")
            spans = agent.stop()
    said = judge(spans, front.pid)
    assert not said.wrong, said
    # An older connection is told of from its first whole read on.
    assert said.right["ctx"] >= 36, (said, agent.errors)
    assert joined(spans, back.pid)[True] >= 36
    asked = select(spans, "SERVER", "/call", front.pid)
    assert 19 <= len(asked) <= 20
