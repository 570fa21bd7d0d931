"""uWSGI for tests: the distribution's with its Python, at a free port and a Unix socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.debian import debian_program
from tests.e2e.services import free_port, server

PACKAGES = (
    *("uwsgi-core", "uwsgi-plugin-python3", "libzmq5", "libyaml-0-2", "libyajl2", "libxml2"),
    *("libpcre3", "libsodium23", "libpgm-5.3-0", "libnorm1", "libpython3.11", "libicu72"),
    "libgssapi-krb5-2",
)


@dataclass
class Uwsgi:
    """Running. ``pids``: of the workers; ``port`` and ``path``: where they listen."""

    pids: list[int]
    port: int
    path: Path
    stats: Path

    def requests(self) -> int:
        """How many it has served, by its own count."""
        with socket.socket(socket.AF_UNIX) as connection:
            deadline = time.monotonic() + 30
            while connection.connect_ex(str(self.stats)):
                assert time.monotonic() < deadline, "uWSGI tells no statistics"
                time.sleep(0.02)
            said = b"".join(iter(lambda: connection.recv(65536), b""))
        return sum(worker["requests"] for worker in json.loads(said)["workers"])


@contextmanager
def uwsgi(home: Path, script: Path, children: int = 2) -> Iterator[Uwsgi]:
    """Serves the WSGI program ``script``. Raises RuntimeError where it cannot be had."""
    program, env = debian_program("uwsgi-core-of-tests", "usr/bin/uwsgi-core", PACKAGES)
    libraries = ":".join(str(program.parents[i] / "lib/x86_64-linux-gnu") for i in (1, 2))
    env["LD_LIBRARY_PATH"] = libraries
    plugin = program.parents[1] / "lib/uwsgi/plugins/python311_plugin.so"
    port, path, stats = free_port(), home / "uwsgi.sock", home / "stats.sock"
    command: list[str | Path] = [program, "--plugin", plugin, "--socket", f"127.0.0.1:{port}"]
    command += ["--socket", path, "--chmod-socket=666", "--stats", stats, "--wsgi-file", script]
    command += ["--master", "--die-on-term", "--need-app", "--processes", str(children)]
    with server(command, [port], home / "uwsgi-errors", env=env) as pid:
        deadline = time.monotonic() + 30
        workers = Path(f"/proc/{pid}/task/{pid}/children")
        while len(workers.read_text().split()) < children or not path.exists():
            assert time.monotonic() < deadline, (home / "uwsgi-errors").read_text()
            time.sleep(0.02)
        yield Uwsgi([int(n) for n in workers.read_text().split()], port, path, stats)
