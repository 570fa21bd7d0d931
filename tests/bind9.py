"""BIND for tests: named with a zone of its own, and dig, from Debian's packages."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from pathlib import Path

from tests.debian import debian_program
from tests.dns_server import free_port

PACKAGES = (
    *("bind9", "bind9-libs", "bind9-dnsutils", "libuv1", "libjemalloc2", "libmaxminddb0"),
    *("libprotobuf-c1", "libfstrm0", "liblmdb0", "libxml2", "libjson-c5", "libnghttp2-14"),
    *("libcap2", "libedit2", "libicu72", "libbsd0", "libmd0", "libtinfo6"),
)
CONFIG = """
options {{
    directory "{folder}"; pid-file none; session-keyfile none; querylog yes;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 port {port} {{ ::1; }};
    recursion yes; dnssec-validation no; forward only; forwarders {{ 127.0.0.1 port {upstream}; }};
}};
controls {{ }};
zone "b.test" {{ type primary; file "zone"; }};
"""
ZONE = """$TTL 60
@ SOA ns hostmaster 1 60 60 60 60
@ NS ns
ns A 127.0.0.1
www A 10.3.2.1
www AAAA fd00::3
"""


class Bind:
    """Running when the constructor returns. It knows ``b.test``; of all else it asks
    ``upstream``'s port.

    Attributes:
        port, pid.
    """

    def __init__(self, folder: Path, upstream: int) -> None:
        named, self._env = debian_program("named", "usr/sbin/named", PACKAGES)
        self._dig, _ = debian_program("dig", "usr/bin/dig", PACKAGES)
        self.port = free_port()
        said = CONFIG.format(folder=folder, port=self.port, upstream=upstream)
        (folder / "named.conf").write_text(said)
        (folder / "zone").write_text(ZONE)
        self._log = folder / "log"
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [named, "-g", "-c", folder / "named.conf"],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._process.pid
        deadline = time.monotonic() + 60
        while "running" not in self._log.read_text():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.close()
                raise RuntimeError(f"named did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def dig(self, *words: str, server: str = "127.0.0.1") -> str:
        """What dig prints with ``+short``."""
        command = [str(self._dig), f"@{server}", "-p", str(self.port), "+short", "+tries=1", *words]
        done = subprocess.run(
            command, env=self._env, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def asked(self) -> Counter[tuple[str, str]]:
        """(name, type) -> times, by its own log."""
        found = re.findall(r"query: (\S+) IN (\w+)", self._log.read_text())
        return Counter(found)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def __enter__(self) -> Bind:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
