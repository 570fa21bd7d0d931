"""A real DNS server for tests, dnsmasq: a port of its own, what it was asked is in its log."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.debian import debian_program

PACKAGES = (
    *("dnsmasq-base", "libnetfilter-conntrack3", "libnfnetlink0", "libhogweed6", "libnettle8"),
    *("libidn2-0", "libnftables1", "libnftnl11", "libjansson4", "libxtables12", "libmnl0"),
    *("libdbus-1-3", "libgmp10"),
)
BIG = [f"--txt-record=big.test,{letter * 200}" for letter in "abcdef"]
"""More than 512 bytes: without EDNS the answer over UDP is cut off."""
ZONE = [
    *("--address=/a.test/10.1.2.3", "--address=/a.test/fd00::1", "--local=/nx.test/"),
    *BIG,
]


def free_port() -> int:
    """For UDP and TCP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class DnsServer:
    """Running when the constructor returns. ``*.a.test`` has addresses, ``*.nx.test`` none,
    ``big.test`` a long text; all else is refused, or asked of ``upstream``'s port.

    Args:
        through: a command that starts it, in namespaces of its own.
        synthesized: dnsmasq's ``--synth-domain``, names that say their address themselves.

    Attributes:
        port, pid.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        upstream: int = 0,
        through: Sequence[str] = (),
        synthesized: str = "",
    ) -> None:
        program, env = debian_program("dnsmasq", "usr/sbin/dnsmasq", PACKAGES)
        self.port = port or free_port()
        self._log = folder / f"dnsmasq-{self.port}.log"
        zone = [f"--server=127.0.0.1#{upstream}"] if upstream else ZONE
        if synthesized:
            zone = [*zone, f"--synth-domain={synthesized}"]
        command = [
            *(*through, str(program), "--keep-in-foreground", "--conf-file=/dev/null"),
            *("--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--log-queries"),
            *("--listen-address=127.0.0.1", "--bind-interfaces", f"--port={self.port}"),
            *("--cache-size=0", f"--log-facility={self._log}", *zone),
        ]
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self.pid = self._process.pid
        deadline = time.monotonic() + 30
        while not (self._log.exists() and "started" in self._log.read_text()):
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.close()
                raise RuntimeError(f"dnsmasq did not start on port {self.port}")
            time.sleep(0.02)

    def asked(self) -> Counter[tuple[str, str]]:
        """(name, type) -> times, by its own log."""
        found = re.findall(r"query\[(\w+)\] (\S+) from", self._log.read_text())
        return Counter((name, kind) for kind, name in found)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def __enter__(self) -> DnsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
