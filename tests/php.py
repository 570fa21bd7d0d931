"""php-fpm for tests: the distribution's, on a free port and a Unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.debian import debian_program
from tests.e2e.services import free_port, server

PACKAGES = (
    *("php8.2-fpm", "libargon2-1", "libsodium23", "libapparmor1", "libxml2", "libmagic1"),
    *("libsystemd0", "libpcre2-8-0", "libicu72"),
)
CONFIGURATION = """
[global]
error_log = {home}/fpm.log
daemonize = no
"""
POOL = """
[{name}]
listen = {listen}
listen.mode = 0666
user = nobody
group = nogroup
pm = static
pm.max_children = {children}
pm.status_path = /status
catch_workers_output = yes
"""


@dataclass
class PhpFpm:
    """Running. ``pids``: of the workers; ``port`` and ``path``: where two pools listen."""

    pid: int
    pids: list[int]
    port: int
    path: Path


@contextmanager
def php_fpm(home: Path, children: int = 2) -> Iterator[PhpFpm]:
    """Two pools, one at a port and one at a socket. Raises RuntimeError where it cannot be had."""
    program, env = debian_program("php-fpm8.2", "usr/sbin/php-fpm8.2", PACKAGES)
    port, path = free_port(), home / "fpm.sock"
    pools = [("tcp", f"127.0.0.1:{port}"), ("unix", str(path))]
    configuration = home / "fpm.conf"
    configuration.write_text(
        CONFIGURATION.format(home=home)
        + "".join(POOL.format(name=n, listen=at, children=children) for n, at in pools)
    )
    command: list[str | Path] = [program, "-n", "-F", "-R", "-y", configuration]
    with server(command, [port], home / "fpm-errors", env=env) as pid:
        workers = Path(f"/proc/{pid}/task/{pid}/children")
        while len(workers.read_text().split()) < 2 * children:
            pass
        yield PhpFpm(pid, [int(n) for n in workers.read_text().split()], port, path)
