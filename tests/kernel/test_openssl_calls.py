"""What the kernel half keeps of a call of OpenSSL that never returns."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys

from otel_ebpf.kernel.loader import SPEAKS_TLS
from otel_ebpf.openssl import OpenSsl
from tests.e2e.traces_left import wait_for
from tests.kernel.tracer import Tracer

# The socket's other end never says anything, so the read waits for ever.
_READS = """
import socket, ssl, sys
plain = socket.socket(fileno=int(sys.argv[1]))
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
sys.stdin.readline()
context.wrap_socket(plain)
"""


# As a TLS connection begins, once for every line of its input.
_SPEAKS = """
import socket, sys
for line in sys.stdin:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
        plain.sendall(bytes.fromhex("160301002e") + bytes(46))
    print(flush=True)
"""


def test_a_program_that_nobody_can_read_is_asked_about_once_in_a_while() -> None:
    asked: list[int] = []
    with (
        Tracer() as tracer,
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(
            [sys.executable, "-c", _SPEAKS, str(server.getsockname()[1])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as program,
    ):  # fmt: skip
        tracer.kernel.open_executions(lambda _: None, {SPEAKS_TLS: asked.append})
        known = tracer.kernel.table("ssl_process_map")
        tracer.choose(program.pid)
        assert program.stdin is not None and program.stdout is not None
        for number, expected in enumerate((1, 1, 2)):
            if number == 2:  # the question was a minute ago
                known[program.pid] = known[program.pid].value - 100
            program.stdin.write("\n")
            program.stdin.flush()
            program.stdout.readline()
            tracer.kernel.drain()
            assert asked == [program.pid] * expected
        program.stdin.close()


def test_a_thread_that_ends_inside_of_a_call_leaves_nothing(tracer: Tracer) -> None:
    assert ssl.OPENSSL_VERSION_INFO >= (1, 1)
    here, there = socket.socketpair()
    calls = tracer.kernel.table("tls_conn_map")
    with here, there, subprocess.Popen(
        [sys.executable, "-c", _READS, str(there.fileno())],
        pass_fds=[there.fileno()], stdin=subprocess.PIPE,
    ) as program:  # fmt: skip
        # Its own library is the one that this process uses.
        tracer.choose(program.pid)
        follower = OpenSsl(tracer.kernel)
        follower.runs(os.getpid(), 0.0)
        assert follower.uprobes and program.stdin is not None
        program.stdin.write(b"\n")
        program.stdin.flush()
        wait_for(lambda: len(calls) == 1, "a call under way")
        program.kill()
        program.wait()
        wait_for(lambda: not len(calls), "no call under way")
