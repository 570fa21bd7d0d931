"""A real PostgreSQL server for tests: a database of its own, a free port and a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.debian import debian_program

PACKAGES = ("postgresql-15", "postgresql-client-15", "libpq5", "libxml2", "libxslt1.1", "libicu72")
PASSWORD = "s3cr3t-pa55word"


class PostgresqlServer:
    """Running when the constructor returns, with ``pg_stat_statements`` and user ``postgres``.

    Attributes:
        port: on 127.0.0.1, where a password is asked for; folder: of the Unix socket, where none
            is; pid: of the postmaster.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        program, env = debian_program("postgres", "usr/lib/postgresql/15/bin/postgres", PACKAGES)
        self._user = pwd.getpwnam("nobody").pw_uid
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        os.chown(self.folder, self._user, -1)
        data, secret = self.folder / "data", self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            kinds = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"]
            about = ["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", *kinds]
            made = subprocess.run(
                [program.parent / "initdb", "-D", data, *about],
                user=self._user,
                env=env,
                cwd="/",
                capture_output=True,
                text=True,
            )
            assert made.returncode == 0, made.stderr
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port: int = free.getsockname()[1]
            said = {
                "listen_addresses": "127.0.0.1",
                "port": str(self.port),
                "unix_socket_directories": str(self.folder),
                "fsync": "off",
                "shared_preload_libraries": "pg_stat_statements",
                "shared_buffers": "16MB",
                "autovacuum": "off",
                "jit": "off",
                **(settings or {}),
            }
            flags = [word for name, value in said.items() for word in ("-c", f"{name}={value}")]
            self._process = subprocess.Popen(
                [program, "-D", data, *flags],
                user=self._user,
                env=env,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self.pid = self._process.pid
            self._await()
        except BaseException:
            self.close()
            raise

    def _await(self) -> None:
        import psycopg

        deadline = time.monotonic() + 60
        while True:
            try:
                with psycopg.connect(self.local, autocommit=True) as connection:
                    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
                return
            except psycopg.OperationalError:
                assert self._process is not None
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    @property
    def local(self) -> str:
        """How to connect over the Unix socket."""
        return f"host={self.folder} port={self.port} user=postgres dbname=postgres"

    @property
    def remote(self) -> str:
        """How to connect over TCP, with a password."""
        return (
            f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres password={PASSWORD} "
            "sslmode=prefer gssencmode=disable"
        )

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> PostgresqlServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
