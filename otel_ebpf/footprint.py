"""What the agent takes of the host: turns of the processors, and memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

PRIORITY = -10
"""Nice value of the agent's threads."""


def prefer() -> None:
    """This process before the traced ones: it needs little, and late it loses records.

    All of its threads, for one that holds the interpreter's lock and is not let run
    keeps the others waiting.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        # Sessions share the processors as equals whatever their threads' priorities; where
        # the agent has one to itself (a service), that has a priority too.
        if os.getsid(0) == os.getpid():
            Path("/proc/self/autogroup").write_text(str(PRIORITY))


def give_back() -> None:
    """Memory that looking at the running programs took goes back to the system."""
    with contextlib.suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def ring_pages() -> int:
    """Pages of perf buffer for each CPU: 8 MiB in all, at least 1 MiB each."""
    share = (8 << 20) // (os.cpu_count() or 1) // ctypes.c_size_t(4096).value
    pages = 256
    while pages * 2 <= share:
        pages *= 2
    return pages
