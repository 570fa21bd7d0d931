"""Read another process's memory, and where files are mapped in it.

Everything may vanish while it is read: None, "" and [] are ordinary answers.
Source: proc(5), /proc/PID/mem, maps and map_files.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from types import TracebackType

from otel_ebpf.discovery.procfs import MAX_MAPS, ProcFs

MAX_STRING = 256


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of /proc/PID/maps: addresses, offset in the file, and the file's path."""

    start: int
    end: int
    offset: int
    inode: int
    path: str


def mappings(pid: int, proc: ProcFs) -> list[Mapping]:
    """The mapped files, in order of address; at most what 256 KiB of maps tell."""
    found = []
    for line in (proc.read(pid, "maps", MAX_MAPS) or b"").splitlines():
        parts = line.split(None, 5)
        if len(parts) < 6 or not parts[5].startswith(b"/"):
            continue
        try:
            start, _, end = parts[0].partition(b"-")
            found.append(
                Mapping(
                    int(start, 16), int(end, 16), int(parts[2], 16), int(parts[4]),
                    parts[5].decode("utf-8", "replace"),
                )
            )  # fmt: skip
        except ValueError:
            continue
    return found


class Memory:
    """A process's memory, to read. Use it as a context manager.

    Raises OSError when it may not be opened.
    """

    def __init__(self, pid: int, proc: ProcFs | None = None) -> None:
        proc = proc or ProcFs()
        self._fd = os.open(proc.path(pid, "mem"), os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def read(self, at: int, size: int) -> bytes:
        """``size`` bytes, or b"" when not all of them are there."""
        if not 0 < at < 1 << 47 or size <= 0:
            return b""
        try:
            data = os.pread(self._fd, size, at)
        except (OSError, OverflowError):
            return b""
        return data if len(data) == size else b""

    def word(self, at: int) -> int:
        """The 8-byte word at ``at``, 0 when it is not there."""
        data = self.read(at, 8)
        return int.from_bytes(data, "little") if data else 0

    def words(self, at: int, count: int) -> tuple[int, ...]:
        """``count`` 8-byte words, or () when not all of them are there."""
        data = self.read(at, 8 * count)
        return struct.unpack(f"<{count}Q", data) if data else ()

    def int32(self, at: int) -> int:
        """The signed 4-byte number at ``at``, -1 when it is not there."""
        data = self.read(at, 4)
        return int.from_bytes(data, "little", signed=True) if data else -1

    def text(self, at: int) -> bytes:
        """The bytes up to the first NUL, at most 256."""
        data = self.read(at, MAX_STRING) or self.read(at, 16)
        return data.split(b"\0", 1)[0]
