"""Which TLS library a process has that this tracer does not read, by the files it has mapped."""

from __future__ import annotations

import re

from otel_ebpf.discovery.memory import mappings
from otel_ebpf.discovery.procfs import ProcFs

_LIBRARIES = (
    (re.compile(r"/libgnutls[\w.-]*\.so"), "GnuTLS"),
    (re.compile(r"/libssl3\.so|/libnss3\.so"), "NSS"),
    (re.compile(r"/libmbedtls[\w.-]*\.so"), "Mbed TLS"),
    (re.compile(r"/libwolfssl[\w.-]*\.so"), "wolfSSL"),
    (re.compile(r"/libboringssl[\w.-]*\.so"), "BoringSSL"),
    (re.compile(r"/libjvm\.so"), "Java's own (JSSE)"),
    (re.compile(r"/cygrpc[\w.-]*\.so"), "BoringSSL in gRPC"),
)


def not_readable(pid: int, proc: ProcFs) -> str:
    """Names of libraries, joined by commas; empty where none is known (Rust's rustls, which is
    part of the program, leaves no such file)."""
    found = []
    paths = {mapping.path for mapping in mappings(pid, proc)}
    for pattern, name in _LIBRARIES:
        if any(pattern.search(path) for path in paths):
            found.append(name)
    return ", ".join(found)
