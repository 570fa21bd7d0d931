"""Which TLS library a process has that this tracer does not read, by the files it has mapped."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from cachetools import LRUCache

from otel_ebpf.discovery.elf import identity
from otel_ebpf.discovery.file_bytes import FileBytes
from otel_ebpf.discovery.memory import mappings
from otel_ebpf.discovery.procfs import ProcFs

UNKNOWN_LIBRARY = "a library that is not known"
LEAST_WITH_RUSTLS, MOST_SEARCHED = 1 << 19, 256 << 20
"""Bytes: no file with rustls is smaller; so much of a process' files is searched for it."""

_LIBRARIES = (
    (re.compile(r"/libgnutls[\w.-]*\.so"), "GnuTLS"),
    (re.compile(r"/libssl3\.so|/libnss3\.so"), "NSS"),
    (re.compile(r"/libmbedtls[\w.-]*\.so"), "Mbed TLS"),
    (re.compile(r"/libwolfssl[\w.-]*\.so"), "wolfSSL"),
    (re.compile(r"/libboringssl[\w.-]*\.so"), "BoringSSL"),
    (re.compile(r"/libjvm\.so"), "Java's own (JSSE)"),
    (re.compile(r"/cygrpc[\w.-]*\.so"), "BoringSSL in gRPC"),
)
_MODULE = re.compile(r"\.(so|node)(\.[\d.]+)?$")
_VENDORED = b"/rustls/src/"
_RUSTLS = b"/rustls-"
_VERSION = re.compile(rb"(\d+\.\d+\.\d+)[\w.+-]*/src/")

_SEARCHED: LRUCache[tuple[int, ...], str] = LRUCache(1024)
"""What was found in a file: every process of a program maps the same."""


def not_readable(pid: int, proc: ProcFs) -> str:
    """Names of libraries, joined by commas; empty where none is known."""
    found = []
    paths = {mapping.path for mapping in mappings(pid, proc)}
    for pattern, name in _LIBRARIES:
        if any(pattern.search(path) for path in paths):
            found.append(name)
    rustls = next(filter(None, _searched(pid, proc)), "")
    return ", ".join([*found, rustls] if rustls else found)


def _searched(pid: int, proc: ProcFs) -> Iterator[str]:
    """What the program and its modules hold of rustls, which is part of them: paths of its
    source, in what it says when it panics."""
    files = [proc.path(pid, "exe")]
    seen = set()
    for mapping in mappings(pid, proc):
        if mapping.path not in seen and _MODULE.search(mapping.path):
            seen.add(mapping.path)
            files.append(proc.path(pid, f"map_files/{mapping.start:x}-{mapping.end:x}"))
    left = MOST_SEARCHED
    for file in files:
        try:
            key = identity(file)
            size = key[-1]
            if not LEAST_WITH_RUSTLS <= size <= left:
                continue
            left -= size
            if key not in _SEARCHED:
                _SEARCHED[key] = _rustls_in(file)
            yield _SEARCHED[key]
        except OSError:
            continue  # it has ended, or the file has changed


def _rustls_in(file: str) -> str:
    """``rustls 0.23.1``, ``rustls``, or nothing."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = FileBytes(descriptor)
    finally:
        os.close(descriptor)
    try:
        for found, at in content.find_each((_RUSTLS, _VENDORED), 0, len(content), 16):
            if found == _VENDORED:
                return "rustls"
            version = _VERSION.match(content[at + len(_RUSTLS) : at + len(_RUSTLS) + 40])
            if version:
                return f"rustls {version[1].decode()}"
    finally:
        content.close()
    return ""
