"""A real MariaDB server for tests: a database of its own, a free port and a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymysql

from tests.debian import debian_program

PACKAGES = ("mariadb-server-core", "mariadb-server", "mariadb-client-core", "mariadb-client",
            "libmariadb3", "libaio1", "liburing2", "libnuma1")  # fmt: skip
PASSWORD = "s3cr3t-pa55word"
ED25519 = "s3cr3t-ed25519"


class MariadbServer:
    """Running when the constructor returns, with the performance schema, a database ``shop`` and
    the users ``shopper`` (``mysql_native_password``) and ``modern`` (``ed25519``).

    ``tls``: a certificate and its key.

    Attributes:
        port: on 127.0.0.1; path: of the Unix socket; pid: of the server; programs: the folder of
        the command line's clients, and env: what they need.
    """

    def __init__(self, *arguments: str, tls: Sequence[Path] = ()) -> None:
        program, self.env = debian_program("mariadbd", "usr/sbin/mariadbd", PACKAGES)
        base = program.parents[1]
        self.programs = base / "bin"
        user = pwd.getpwnam("nobody")
        self.folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        os.chown(self.folder, user.pw_uid, -1)
        self.path = self.folder / "mysqld.sock"
        self._process: subprocess.Popen[bytes] | None = None
        for word, file in zip(("cert", "key"), tls, strict=False):
            place = self.folder / file.name
            place.write_bytes(file.read_bytes())
            place.chmod(0o600)
            os.chown(place, user.pw_uid, -1)
            arguments += (f"--ssl-{word}={place}",)
        common = [
            *("--no-defaults", f"--basedir={base}", f"--datadir={self.folder / 'data'}"),
            *(f"--plugin-dir={base / 'lib/mysql/plugin'}", "--user=nobody"),
        ]
        try:
            made = subprocess.run(
                [self.programs / "mariadb-install-db", *common, "--skip-test-db", "--force",
                 "--auth-root-authentication-method=normal"],
                env=self.env, capture_output=True, text=True,
            )  # fmt: skip
            assert made.returncode == 0, made.stderr + made.stdout
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port: int = free.getsockname()[1]
            self._process = subprocess.Popen(
                [program, *common, "--bind-address=127.0.0.1", f"--port={self.port}",
                 f"--socket={self.path}", "--performance-schema", "--skip-name-resolve",
                 f"--lc-messages-dir={base / 'share/mysql'}", "--local-infile=1",
                 "--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0",
                 "--skip-log-bin", "--plugin-maturity=unknown", *arguments],
                env=self.env, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self.pid = self._process.pid
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(self.path))
                    break
                except OSError:
                    assert self._process is not None
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
            time.sleep(0.05)
        with self.connect(user="root", password="", database=None) as connection:
            cursor = connection.cursor()
            for statement in (
                "INSTALL SONAME 'auth_ed25519'",
                "CREATE DATABASE shop",
                f"CREATE USER shopper@'%' IDENTIFIED BY '{PASSWORD}'",
                f"CREATE USER modern@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{ED25519}')",
                "GRANT ALL ON *.* TO shopper@'%', modern@'%'",
            ):
                cursor.execute(statement)

    def connect(self, **how: Any) -> Any:
        """PyMySQL's connection, over the Unix socket where nothing else is said."""
        said = {"user": "shopper", "password": PASSWORD, "database": "shop", "autocommit": True}
        return pymysql.connect(**{"unix_socket": str(self.path), **said, **how})

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> MariadbServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
