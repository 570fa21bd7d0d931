"""Has the BPF programs compiled by a child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
_MEND = "reinstall otel-ebpf; if it stays, report it with `otel-ebpf doctor`"


class Compilation:
    """A compilation that goes on in a child process. ``result`` waits for it.

    Args:
        text: one flattened source.
        cflags: the compiler's flags.
        shim: folder that serves as BCC_KERNEL_SOURCE where the environment names none.

    Raises:
        KernelError: the child cannot be started.
    """

    def __init__(self, text: str, cflags: Sequence[str], shim: Path) -> None:
        self._request = json.dumps({"text": text, "cflags": list(cflags)}).encode()
        path = [entry or os.getcwd() for entry in sys.path]
        path += [str(_PACKAGE)] if str(_PACKAGE) not in path else []
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-S", "-c", _BOOT, json.dumps(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"BCC_KERNEL_SOURCE": str(shim), **os.environ},
            )
        except OSError as error:
            raise KernelError(
                f"the compiling process does not start: {error.strerror or error}",
                where=sys.executable,
                mend=_MEND,
            ) from None

    def result(self) -> Compiled:
        """What it made.

        Raises:
            KernelError: BCC is missing, or refused the sources; with what it said.
        """
        with self._child:
            try:
                out, err = self._child.communicate(self._request, timeout=_SECONDS)
            except BaseException as error:
                self._child.kill()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise KernelError(
                    f"the BPF programs were not compiled within {_SECONDS} s", mend=_MEND
                ) from None
        said = err.decode(errors="replace").strip()
        head, newline, body = out.partition(b"\n")
        if self._child.returncode or not newline:
            raise KernelError(
                f"the compiling process {_end(self._child.returncode)}\n{said[-2000:]}".rstrip(),
                where="bpf/main.c",
                mend=_MEND,
            )
        fields = json.loads(head)
        if fields:
            what = f"{fields['what']}\n{said[-2000:]}".rstrip()
            raise KernelError(what, where=fields["where"], mend=fields["mend"])
        return Compiled.decode(body)


def _end(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    memory = " (is there too little memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"
