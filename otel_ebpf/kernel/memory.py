"""Memory that is not needed once the programs are loaded."""

from __future__ import annotations

import contextlib
import ctypes
import re
from pathlib import Path

_DONTNEED = 4
_PAGEOUT = 21
_LIBRARIES = ("libLLVM", "libclang", "libbcc.so")
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s+(.*)")


def release_compiler() -> int:
    """Lets go of the compiler's pages. Returns bytes released or offered.

    Pages that are the file's own are dropped and come back from the page cache when they
    are touched again. Read-only pages that the dynamic linker has written to (relocations)
    would be lost that way: they are offered for swapping out, which older kernels refuse
    and machines without swap cannot do; that costs only memory.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):  # not glibc
        libc.malloc_trim(0)  # memory that LLVM freed goes back first
    released = 0
    for start, end, own in _read_only_mappings():
        advice = _DONTNEED if own else _PAGEOUT
        if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice) == 0:
            released += end - start
    return released


def _read_only_mappings() -> list[tuple[int, int, bool]]:
    """(start, end, whether no page differs from the file) of the libraries' mappings."""
    found: list[tuple[int, int, bool]] = []
    wanted = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        header = _HEADER.match(line)
        if header is not None:
            wanted = "w" not in header[3] and any(name in header[4] for name in _LIBRARIES)
            if wanted:
                found.append((int(header[1], 16), int(header[2], 16), False))
        elif wanted and line.startswith("Anonymous:"):
            start, end, _ = found[-1]
            found[-1] = (start, end, line.split()[1] == "0")
    return found
