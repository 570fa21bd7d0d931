"""Which processes and ports a user chose, from flags and environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from otel_ebpf.discovery.go_identity import WAYS
from otel_ebpf.errors import UsageError

_PIDS = "OTEL_EBPF_TARGET_PID"
_EXE = "OTEL_EBPF_AUTO_TARGET_EXE"
_PORT = "OTEL_EBPF_OPEN_PORT"
_IDENTITY = "OTEL_EBPF_GO_IDENTITY"
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def parse_pid(text: str, where: str = "--pid") -> int:
    """A process id. Raises UsageError."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 1 << 22:
        raise UsageError(f"{text!r} is not a process id", where=where, mend="give a number")
    return int(text)


def parse_ports(text: str, where: str = "--port") -> tuple[int, int]:
    """``80`` or ``8000-8999`` as (first, last). Raises UsageError."""
    found = _RANGE.fullmatch(text)
    first = int(found[1]) if found else 0
    last = int(found[2] or found[1]) if found else 0
    if not 0 < first <= last <= 65535:
        raise UsageError(
            f"{text!r} is not a port or a range of ports",
            where=where,
            mend="give a number from 1 to 65535, or two of them as 8000-8999",
        )
    return first, last


def _from_env(env: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in env.get(name, "").split(",") if part.strip()]


def chosen_pids(flags: Iterable[str], env: Mapping[str, str]) -> list[int]:
    """--pid, else OTEL_EBPF_TARGET_PID."""
    given = [parse_pid(text) for text in flags]
    return given or [parse_pid(text, _PIDS) for text in _from_env(env, _PIDS)]


def chosen_globs(flags: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """--exe, else OTEL_EBPF_AUTO_TARGET_EXE. Raises UsageError."""
    given = list(flags)
    if not all(given):
        raise UsageError("an empty pattern", where="--exe", mend="give a name, a path or a glob")
    return given or _from_env(env, _EXE)


def chosen_ports(flags: Iterable[str], env: Mapping[str, str]) -> list[tuple[int, int]]:
    """--port, else OTEL_EBPF_OPEN_PORT."""
    given = [parse_ports(text) for text in flags]
    return given or [parse_ports(text, _PORT) for text in _from_env(env, _PORT)]


def chosen_identity(flag: str | None, env: Mapping[str, str]) -> str:
    """--go-identity, else OTEL_EBPF_GO_IDENTITY, else ``auto``. Raises UsageError."""
    where = "--go-identity" if flag is not None else _IDENTITY
    way = (flag if flag is not None else env.get(_IDENTITY, "")).strip() or "auto"
    if way not in WAYS:
        raise UsageError(
            f"{way!r} is no way to tell goroutines apart",
            where=where,
            mend=f"use one of {', '.join(WAYS)}",
        )
    return way
