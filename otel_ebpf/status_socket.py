"""Where a running agent tells how it is doing: a Unix socket, one JSON document a connection."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

_log = logging.getLogger(__name__)

DIRECTORY = "/run/otel-ebpf"
VARIABLE = "OTEL_EBPF_RUN_DIR"
AT_ONCE = 8
"""Questions answered in one visit."""
PATIENCE = 5.0
"""Seconds that the asker may take to read the answer."""


def directory(env: Mapping[str, str]) -> str:
    """The folder in which agents of this host have their sockets."""
    return env.get(VARIABLE, "").strip() or DIRECTORY


class StatusSocket:
    """Listens. Only this user, and root, may ask.

    Where that cannot be had (a read-only /run) the agent runs without; a line says so.

    Args:
        folder: see :func:`directory`.
        pid: the agent's process number; names the socket.
    """

    def __init__(self, folder: str, pid: int) -> None:
        self.path = os.path.join(folder, f"agent-{pid}.sock")
        self._socket: socket.socket | None = None
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            os.makedirs(folder, mode=0o755, exist_ok=True)
            fresh = self.path + ".new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            listening.bind(fresh)
            os.chmod(fresh, 0o600)  # nobody can connect before listen()
            listening.listen(AT_ONCE)
            os.rename(fresh, self.path)  # one that refuses is a dead agent's
        except OSError as error:
            listening.close()
            _log.warning(
                "`otel-ebpf status` will not find this agent: %s: %s; set %s to a folder that "
                "can be written",
                self.path,
                error.strerror or error,
                VARIABLE,
            )
        else:
            self._socket = listening

    def answer(self, report: Callable[[], Any]) -> None:
        """Answers whoever has asked since the last call, with ``report`` as of now."""
        if self._socket is None:
            return
        for _ in range(AT_ONCE):
            try:
                asker, _address = self._socket.accept()
            except OSError:
                return
            data = json.dumps(report(), ensure_ascii=False).encode("utf-8", "replace")
            threading.Thread(target=_tell, args=(asker, data), daemon=True).start()

    def close(self) -> None:
        """No more answers; the socket's file goes."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def _tell(asker: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError), asker:
        asker.settimeout(PATIENCE)
        asker.sendall(data)
