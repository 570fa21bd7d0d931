"""Has the BPF programs compiled by a child process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel.compiled import Compiled

_PACKAGE = Path(__file__).resolve().parents[2]
# The path of this process, so that the child finds the same modules without site's work.
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from otel_ebpf.kernel.compile import main
main()
"""
_SECONDS = 300
"""A compilation takes one or two; ten on a slow machine that does other things."""
_SAID = 2000
"""Characters shown of what the compiler says."""
_MEND = "reinstall otel-ebpf; if it stays, report it with `otel-ebpf doctor`"


class _Child:
    """A request that a child process serves. ``answer`` waits for it.

    Request, answer and complaints are files in memory: the child never waits for a reader.
    """

    def __init__(self, asked: Mapping[str, Any], env: Mapping[str, str]) -> None:
        path = [entry or os.getcwd() for entry in sys.path]
        path += [str(_PACKAGE)] if str(_PACKAGE) not in path else []
        self._files = [_in_memory("request"), _in_memory("answer"), _in_memory("complaints")]
        request, answer, complaints = self._files
        request.write(json.dumps(asked).encode())
        request.seek(0)
        try:
            self._child: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-S", "-c", _BOOT, json.dumps(path)],
                stdin=request,
                stdout=answer,
                stderr=complaints,
                env=env,
            )
        except OSError as error:
            self._close_files()
            raise KernelError(
                f"the compiling process does not start: {error.strerror or error}",
                where=sys.executable,
                mend=_MEND,
            ) from None

    def answer(self) -> bytes:
        """What it made. May be asked once.

        Raises:
            KernelError: what the child raised, with what else it said; or its own end.
        """
        try:
            status = self._wait()
            _, answer, complaints = self._files
            answer.seek(0)
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()[-_SAID:]
            return _answer(status, answer.read(), said)
        finally:
            self.close()

    def cancel(self) -> None:
        """Ends the child; who waits for the answer, in another thread, gets an error."""
        self._child.kill()

    def close(self) -> None:
        """Ends the child, if it has not ended. May be called again."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._close_files()

    def _wait(self) -> int:
        # Popen's own wait with a limit looks now and then, and so comes late.
        with open(os.pidfd_open(self._child.pid), "rb") as ended:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            if not poll.poll(_SECONDS * 1000):
                raise KernelError(
                    f"the BPF programs were not compiled within {_SECONDS} s", mend=_MEND
                )
        return self._child.wait()

    def _close_files(self) -> None:
        for file in self._files:
            file.close()


class Compilation(_Child):
    """A compilation that goes on in a child process.

    Args:
        text: one flattened source.
        cflags: the compiler's flags.
        env: the child's environment; BCC_KERNEL_SOURCE names the headers.

    Raises:
        KernelError: the child cannot be started.
    """

    def __init__(self, text: str, cflags: Sequence[str], env: Mapping[str, str]) -> None:
        super().__init__({"text": text, "cflags": list(cflags)}, env)

    def result(self) -> Compiled:
        """What it made, when it is made. May be asked once.

        Raises:
            KernelError: BCC is missing, or refused the sources; with what it said.
        """
        return Compiled.decode(self.answer())


def bcc_version() -> str:
    """Of the BCC that a compilation would use; it is loaded, in a child process.

    Raises:
        KernelError: it is missing, or does not load.
    """
    return _Child({}, os.environ).answer().decode()


def _answer(status: int, answer: bytes, said: str) -> bytes:
    head, newline, body = answer.partition(b"\n")
    if status or not newline:
        raise KernelError(
            f"the compiling process {_end(status)}\n{said}".rstrip(),
            where="bpf/main.c",
            mend=_MEND,
        )
    error: dict[str, Any] = json.loads(head)
    if error:
        what = f"{error['what']}\n{said}".rstrip()
        raise KernelError(what, where=error["where"], mend=error["mend"])
    return body


def _in_memory(name: str) -> IO[bytes]:
    return open(os.memfd_create(f"otel-ebpf-{name}", os.MFD_CLOEXEC), "w+b")


def _end(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    memory = " (is there too little memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"
