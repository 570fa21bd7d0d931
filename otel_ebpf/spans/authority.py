"""Hosts and ports as messages write them."""

from __future__ import annotations

import re

from otel_ebpf.spans.redaction import redact_userinfo

_AUTHORITY_END = re.compile(r"[/?#]")

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def split_authority(authority: str) -> tuple[str, int | None]:
    """Host without brackets and port (None when there is none) of a URI's authority.

    User information is dropped. What cannot be a port (not 1 to 65535) is left out;
    an address in brackets that never closes is returned as it stands.
    """
    host = authority.rpartition("@")[2].strip()
    if host.startswith("["):
        inside, closed, rest = host[1:].partition("]")
        if not closed:
            return host, None
        return inside, _port(rest[1:]) if rest.startswith(":") else None
    name, colon, digits = host.rpartition(":")
    # Two colons without brackets: a bare IPv6 address, which has no port to split off.
    if not colon or ":" in name:
        return host, None
    return name, _port(digits)


def join_authority(address: str, port: int) -> str:
    """``address:port`` for a URL, brackets around IPv6, no port when it is 0."""
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}" if port else host


def split_url(target: str) -> tuple[str, str, str] | None:
    """Scheme, authority and the rest of an absolute URL; None when it is not one."""
    scheme, separator, rest = target.partition("://")
    if not separator or not scheme.isalnum() or not scheme.isascii():
        return None
    end = _AUTHORITY_END.search(rest)
    at = end.start() if end else len(rest)
    return scheme.lower(), rest[:at], rest[at:]


def clean_url(target: str) -> str:
    """An absolute URL with its user information redacted."""
    parts = split_url(target)
    if parts is None:
        return target
    scheme, authority, rest = parts
    return f"{scheme}://{redact_userinfo(authority)}{rest}"


def _port(digits: str) -> int | None:
    if not digits.isascii() or not digits.isdigit() or len(digits) > 5:
        return None
    port = int(digits)
    return port if 0 < port < 65536 else None
