"""Bounded, race-proof reading of /proc.

Everything here may vanish while it is read and may hold any bytes: an ended process is
an ordinary answer (None), text is decoded with replacement, and every read has a limit.
Source: proc(5).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

MAX_CMDLINE = 64 << 10
MAX_ENVIRON = 1 << 20
MAX_MAPS = 256 << 10
MAX_SMALL = 64 << 10


@dataclass(frozen=True, slots=True)
class ProcStat:
    """Parts of /proc/PID/stat: command name, state letter, parent, start in clock ticks.

    ``exiting``: the first thread is on its way out, or a zombie already.
    """

    comm: str
    state: str
    ppid: int
    start_ticks: int
    kernel_thread: bool
    exiting: bool


class ProcFs:
    """Reads one proc filesystem, by default the host's ``/proc``."""

    def __init__(self, root: str = "/proc") -> None:
        self.root = root

    def path(self, pid: int, name: str) -> str:
        return f"{self.root}/{pid}/{name}"

    def pids(self) -> list[int]:
        """The processes that are there now, in order."""
        return sorted(int(name) for name in os.listdir(self.root) if name.isdecimal())

    def read(self, pid: int, name: str, limit: int) -> bytes | None:
        """Up to ``limit`` bytes of /proc/PID/name; None when it cannot be read."""
        return read_regular(self.path(pid, name), limit)

    def link(self, pid: int, name: str) -> str:
        """Where /proc/PID/name points, or ""."""
        try:
            raw = os.readlink(os.fsencode(self.path(pid, name)))
        except OSError:
            return ""
        return raw.decode("utf-8", "replace")

    def exe(self, pid: int) -> str:
        """The executable's path as the process sees it, or ""; a deleted file keeps its name."""
        return self.link(pid, "exe").removesuffix(" (deleted)")

    def stat(self, pid: int) -> ProcStat | None:
        raw = self.read(pid, "stat", 4096)
        if not raw:
            return None
        # The name stands in parentheses and may itself hold spaces and parentheses.
        left, right = raw.find(b"("), raw.rfind(b")")
        fields = raw[right + 1 :].split()
        if left < 0 or right < left or len(fields) < 20:
            return None
        try:
            ppid, flags, start = int(fields[1]), int(fields[6]), int(fields[19])
        except ValueError:
            return None
        comm = raw[left + 1 : right].decode("utf-8", "replace")
        pf_exiting, pf_kthread = 0x00000004, 0x00200000
        return ProcStat(
            comm,
            fields[0].decode("latin-1"),
            ppid,
            start,
            bool(flags & pf_kthread),
            bool(flags & pf_exiting),
        )

    def cmdline(self, pid: int) -> list[str]:
        """The arguments, cut at 64 KiB; [] for kernel threads, zombies and the gone."""
        raw = self.read(pid, "cmdline", MAX_CMDLINE)
        if not raw:
            return []
        # setproctitle pads with NULs; an empty argument in the middle is real.
        return [part.decode("utf-8", "replace") for part in raw.rstrip(b"\0").split(b"\0")]

    def environ(self, pid: int, prefix: bytes) -> dict[str, str]:
        """Variables of the initial environment whose name begins with ``prefix``.

        No other variable is kept: environments hold secrets. The first MiB is read.
        """
        raw = self.read(pid, "environ", MAX_ENVIRON) or b""
        found: dict[str, str] = {}
        for part in raw.split(b"\0"):
            if part.startswith(prefix):
                name, mark, value = part.partition(b"=")
                if mark:
                    # As getenv does: the first of two wins.
                    found.setdefault(
                        name.decode("utf-8", "replace"), value.decode("utf-8", "replace")
                    )
        return found

    def uid(self, pid: int) -> int | None:
        """The effective user id, as this process's user namespace numbers it."""
        raw = self.read(pid, "status", MAX_SMALL) or b""
        for line in raw.split(b"\n"):
            if line.startswith(b"Uid:"):
                fields = line.split()
                return int(fields[2]) if len(fields) > 2 and fields[2].isdigit() else None
        return None


def read_regular(path: str, limit: int) -> bytes | None:
    """Up to ``limit`` bytes of a regular file; None for anything else or on any error.

    Never blocks: a FIFO or a device that a traced program put in place is refused.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        parts: list[bytes] = []
        left = limit
        while left > 0:
            part = os.read(descriptor, left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(descriptor)
