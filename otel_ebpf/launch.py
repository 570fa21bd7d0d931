"""A program that the agent starts, held back until every probe is attached."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess

from otel_ebpf.errors import UsageError


class Launched:
    """Starts ``command`` stopped; ``go`` lets it run.

    The child stops itself before it executes the program, so its pid can be chosen
    first and its very first request is traced.

    Raises:
        UsageError: there is no such program.
    """

    def __init__(self, command: list[str]) -> None:
        if shutil.which(command[0]) is None:
            raise UsageError(
                f"there is no program {command[0]!r}", where="--", mend="check its name and PATH"
            )
        self._child = subprocess.Popen(
            ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh", *command]
        )
        self.pid = self._child.pid
        os.waitpid(self.pid, os.WUNTRACED)
        with contextlib.suppress(OSError):  # the agent's own priority is not for it
            os.setpriority(os.PRIO_PROCESS, self.pid, 0)

    def go(self) -> None:
        """Lets the program run."""
        os.kill(self.pid, signal.SIGCONT)

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._child.poll() is not None

    def stop(self) -> None:
        """Ends the program if it still runs."""
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
                self._child.terminate()
            try:
                self._child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
