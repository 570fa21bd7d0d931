"""What the kernel half keeps of a call of OpenSSL that never returns."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys

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
