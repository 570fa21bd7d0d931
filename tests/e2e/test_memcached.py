"""Memcached: a real server, pymemcache, and a client of sockets for what that does not speak."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.debian import debian_program
from tests.e2e.agent import Agent, Span

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

TEXT = """
import sys
from pymemcache.client.base import Client
sys.stdin.readline()
c = Client(sys.argv[1] if sys.argv[1].startswith("/") else ("127.0.0.1", int(sys.argv[1])))
c.default_noreply = False
for n in range(20):
    c.set(f"key{n}", "s3cr3t" * 50)
c.get("key1"), c.get("none")
c.get_many([f"key{n}" for n in range(200)])
c.set("big", "s3cr3t" * 50_000)
assert len(c.get("big")) == 300_000
c.set("n", "1")
c.incr("n", 5), c.delete("key3"), c.touch("key4", 100)
c.set("quiet", "x", noreply=True)
stats = c.stats()
print(stats[b"cmd_get"], stats[b"cmd_set"], stats[b"get_hits"], flush=True)
"""
META_AND_BINARY = """
import socket, sys
sys.stdin.readline()
def call(s, data, enough):
    s.sendall(data)
    got = b""
    while not enough(got):
        got += s.recv(65536)
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    call(s, b"ms meta 6\\r\\ns3cr3t\\r\\n", lambda got: got.endswith(b"\\r\\n"))
    call(s, b"mg meta v\\r\\n", lambda got: got.endswith(b"s3cr3t\\r\\n"))
    call(s, b"mg meta v q\\r\\nmg none v q\\r\\nmn\\r\\n", lambda got: got.endswith(b"MN\\r\\n"))
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    def packet(code, key=b"", value=b"", extras=b"", opaque=0):
        body = extras + key + value
        return (bytes((0x80, code)) + len(key).to_bytes(2, "big") + bytes((len(extras), 0, 0, 0))
                + len(body).to_bytes(4, "big") + opaque.to_bytes(4, "big") + bytes(8) + body)
    call(s, packet(1, b"bin", b"s3cr3t", bytes(8), 7), lambda got: len(got) == 24)
    call(s, packet(9, b"bin", opaque=8) + packet(0, b"bin", opaque=9), lambda got: len(got) == 68)
print("done", flush=True)
"""


class Server:
    """memcached on a free port, or on a Unix socket."""

    def __init__(self, socket_path: Path | None = None) -> None:
        program, env = debian_program(
            "memcached", "usr/bin/memcached", ("memcached", "libevent-2.1-7", "libsasl2-2")
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.where = str(socket_path or self.port)
        listens = ["-s", str(socket_path)] if socket_path else ["-l", "127.0.0.1", "-p", self.where]
        self.process = subprocess.Popen([program, *listens, "-u", "root", "-U", "0"], env=env)
        self.pid = self.process.pid
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.socket(socket.AF_UNIX if socket_path else socket.AF_INET) as probe:
                    probe.connect(self.where if socket_path else ("127.0.0.1", self.port))
                return
            except OSError:
                assert time.monotonic() < deadline, "memcached does not listen"
                time.sleep(0.02)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "memcached.sock" if request.param == "unix" else None) as running:
        yield running


def run(code: str, server: Server) -> tuple[str, list[Span]]:
    """What the program says, and the spans of both sides."""
    program = subprocess.Popen(
        [sys.executable, "-c", code, server.where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with Agent(pids=[program.pid, server.pid]) as agent:
        said, _ = program.communicate("\n", timeout=60)
        assert program.returncode == 0
        return said, agent.stop()


def test_every_text_command_is_a_span_on_either_side(server: Server) -> None:
    said, spans = run(TEXT, server)
    gets, sets, _ = (int(word) for word in said.split())
    assert "s3cr3t" not in str(spans)
    for kind in ("CLIENT", "SERVER"):
        mine = [s for s in spans if s["kind"] == kind]
        named = Counter(str(s["name"]) for s in mine)
        counts = {"set": sets, "get": 4, "incr": 1, "delete": 1, "touch": 1, "stats": 1}
        assert named == counts
        assert gets == 203  # of get_many each key counts
    joined = [s for s in spans if s["attributes"].get("otel_ebpf.parent.rule") == "same_host"]
    assert len(joined) == len(spans) / 2
    assert {s["attributes"]["db.system.name"] for s in spans} == {"memcached"}
    assert not [s for s in spans if "error.type" in s["attributes"]]


def test_meta_commands_and_binary_packets() -> None:
    with Server() as server:
        _, spans = run(META_AND_BINARY, server)
    assert "s3cr3t" not in str(spans)
    for kind in ("CLIENT", "SERVER"):
        told = [s["attributes"]["db.query.text"] for s in spans if s["kind"] == kind]
        assert Counter(told) == {
            "ms meta ?": 1,
            "mg meta ?": 1,
            "mg meta ? ?": 1,
            "mg none ? ?": 1,
            "set bin": 1,
            "get bin": 2,
        }
