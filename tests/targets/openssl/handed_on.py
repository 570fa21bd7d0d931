"""An HTTPS client that encrypts in memory and sends by itself or lets another process send.

``handed_on.py PORT SOCKET`` obeys lines of its input: ``own /path``, ``other /path``; it prints
the status of the answer. ``other`` hands the connection and the ciphertext to whoever listens at
SOCKET.
"""

from __future__ import annotations

import array
import socket
import ssl
import sys

HOST = "127.0.0.1"


def main() -> None:
    tcp = socket.create_connection((HOST, int(sys.argv[1])))
    other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.connect(sys.argv[2])
    arrives, leaves = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl._create_unverified_context()
    tls = context.wrap_bio(arrives, leaves, server_hostname=HOST)

    def until(act, *arguments):  # type: ignore[no-untyped-def]
        while True:
            try:
                return act(*arguments)
            except ssl.SSLWantReadError:
                if leaves.pending:
                    tcp.sendall(leaves.read())
                arrives.write(tcp.recv(65536))

    until(tls.do_handshake)
    if leaves.pending:
        tcp.sendall(leaves.read())
    written = []  # a buffer that is given back may be used again
    print("ready", flush=True)
    for line in sys.stdin:
        how, path = line.split()
        head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Long: {'x' * 200}\r\n\r\n"
        written.append(head.encode())
        tls.write(written[-1])
        if how == "own":
            tcp.sendall(leaves.read())
        else:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tcp.fileno()]))]
            other.sendmsg([leaves.read()], rights)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += until(tls.read, 65536)
        print(answer.split()[1].decode(), flush=True)


main()
