"""A real RabbitMQ broker for tests: free ports, nothing kept, its management's statistics."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.debian import debian_program
from tests.e2e.services import free_port

_ERLANG = (
    *("asn1", "base", "crypto", "eldap", "ftp", "inets", "mnesia", "os-mon", "parsetools"),
    *("public-key", "runtime-tools", "snmp", "ssl", "syntax-tools", "tftp", "tools", "xmerl"),
)
PACKAGES = ("rabbitmq-server", "libsctp1", *(f"erlang-{name}" for name in _ERLANG))
_SERVER = "usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8/sbin/rabbitmq-server"


class RabbitmqServer:
    """Running when the constructor returns, with an epmd of its own. Needs no installed Erlang.

    Attributes:
        port: on 127.0.0.1; url: for clients; pid: of Erlang's virtual machine.
    """

    def __init__(self, folder: Path) -> None:
        # Not the installed one: that is a service, and its scripts ask for its user.
        program, env = debian_program("rabbitmq-server of the packages", _SERVER, PACKAGES)
        root = program
        for _ in Path(_SERVER).parts:
            root = root.parent
        erlang = root / "usr/lib/erlang"
        erl = erlang / "bin/erl"
        text = erl.read_text()
        if "ROOTDIR=/usr/lib/erlang" in text:
            fixed = erl.with_name(f"erl.{os.getpid()}")
            fixed.write_text(text.replace("ROOTDIR=/usr/lib/erlang", f"ROOTDIR={erlang}"))
            fixed.chmod(0o755)
            fixed.replace(erl)
        self.port, self._management, distribution = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        (folder / "rabbit.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            f"management.tcp.port = {self._management}\nmanagement.tcp.ip = 127.0.0.1\n"
            "collect_statistics_interval = 1000\n"
        )
        arguments = f"+S 2:2 -start_epmd false -erl_epmd_port {distribution}"
        env = {
            **env,
            "PATH": f"{erlang / 'bin'}:{env['PATH']}",
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_MNESIA_BASE": str(folder),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbit"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_ENABLED_PLUGINS": "rabbitmq_management",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": arguments,
        }
        # Nodes do not register there, but the broker looks whether another has its name.
        names = free_port()
        env["ERL_EPMD_PORT"] = str(names)
        epmd = next(erlang.glob("erts-*/bin/epmd"))
        self._names = subprocess.Popen([epmd, "-port", str(names), "-address", "127.0.0.1"])
        self._said = folder / "said"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                ["sh", program],
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                if self._ask("overview").get("listeners"):
                    break
            except (OSError, ValueError):
                pass
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.close()
                raise RuntimeError(f"RabbitMQ does not start: {self._said.read_text()[-2000:]}")
            time.sleep(0.2)
        self.pid = int((folder / "pid").read_text())

    def _ask(self, what: str) -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self._management}/api/{what}")
        word = base64.b64encode(b"guest:guest").decode()
        request.add_header("Authorization", f"Basic {word}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def counts(self) -> dict[str, int]:
        """What the broker has counted: ``publish``, ``confirm``, ``deliver``, ``ack``, ..."""
        told = self._ask("overview").get("message_stats", {})
        return {name: count for name, count in told.items() if isinstance(count, int)}

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._names.kill()
        self._names.wait()

    def __enter__(self) -> RabbitmqServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
