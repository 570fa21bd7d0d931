"""Where a process keeps OpenSSL: a shared library, or the program itself (Node)."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator

from cachetools import LRUCache

from otel_ebpf.discovery.elf import ElfError, ElfImage, identity
from otel_ebpf.discovery.memory import mappings
from otel_ebpf.discovery.procfs import ProcFs

Key = tuple[int, int, int, int]
Place = tuple[int, str, bool]
"""(offset in the file, program of the kernel half, at the function's return)."""

_LIBRARY = re.compile(r"/libssl[\w.-]*\.so[\w.]*(?: \(deleted\))?$")
_USUAL = (
    "/usr/lib/*-linux-gnu/libssl.so.*",
    "/lib/*-linux-gnu/libssl.so.*",
    "/usr/lib64/libssl.so.*",
    "/usr/lib/libssl.so.*",
)
PROBES = {
    "SSL_write": ("ssl_write_enter", "ssl_write_exit"),
    "SSL_write_ex": ("ssl_write_ex_enter", "ssl_write_exit"),
    "SSL_read": ("ssl_read_enter", "ssl_read_exit"),
    "SSL_read_ex": ("ssl_read_ex_enter", "ssl_read_exit"),
    "SSL_do_handshake": ("ssl_handshake_enter", "ssl_handshake_exit"),
}
"""Function -> programs at its entry and at its return. Tried with OpenSSL 1.1.1 and 3.

In the order in which they are put there, after the returns: who sees a handshake begin sees all
that follows it, and who sees a read begin sees what is written then."""
_NEEDED = ("SSL_read", "SSL_write")

_PLACES: LRUCache[Key, tuple[Place, ...]] = LRUCache(1024)
"""What was read of a file: every process of a program maps the same."""


def mapped(pid: int, proc: ProcFs) -> list[tuple[Key, str, str]]:
    """(identity, path through /proc, path as the process sees it) of the files of a process that
    hold OpenSSL."""
    firsts: dict[str, str] = {}
    for mapping in mappings(pid, proc):
        if _LIBRARY.search(mapping.path):
            name = f"map_files/{mapping.start:x}-{mapping.end:x}"
            firsts.setdefault(mapping.path, proc.path(pid, name))
    exe = proc.exe(pid)
    if exe:
        firsts[exe] = proc.path(pid, "exe")
    return list(_with_openssl((path, name) for name, path in firsts.items()))


def usual() -> list[tuple[Key, str, str]]:
    """The same of the host's own copies, where distributions put them."""
    paths = {os.path.realpath(path) for pattern in _USUAL for path in glob.glob(pattern)}
    return list(_with_openssl((path, path) for path in sorted(paths)))


def _with_openssl(paths: Iterable[tuple[str, str]]) -> Iterator[tuple[Key, str, str]]:
    for path, name in paths:
        try:
            key = identity(path)
            if places_of(key, path):
                yield key, path, name
        except (ElfError, OSError):
            continue  # it has ended, or is damaged: then it is traced without


def places_of(key: Key, path: str) -> tuple[Place, ...]:
    """Where the functions are in this file, in the order in which they are to be probed; nothing
    where they are not.

    Raises:
        ElfError, OSError: it cannot be read.
    """
    known = _PLACES.get(key)
    if known is not None:
        return known
    places: list[Place] = []
    with ElfImage(path) as image:
        found = image.symbols(PROBES, ".dynsym", ".dynstr")
        if not all(name in found for name in _NEEDED):
            found = image.symbols(PROBES)
        if all(name in found for name in _NEEDED):
            for name, (enter, leave) in PROBES.items():
                offset = image.file_offset(found[name].value) if name in found else None
                if offset is not None:
                    places += [(offset, enter, False), (offset, leave, True)]
    # What ends a call comes first: an end without its beginning does nothing.
    places.sort(key=lambda place: not place[2])
    _PLACES[key] = result = tuple(places)
    return result
