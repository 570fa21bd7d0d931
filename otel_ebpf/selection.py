"""Which processes and ports a user chose, from flags and environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from otel_ebpf.discovery.ways import HEADER_WAYS, IDENTITY_WAYS, PASSIVE
from otel_ebpf.errors import UsageError
from otel_ebpf.protocols.numbers import NUMBERS

_PIDS = "OTEL_EBPF_TARGET_PID"
_EXE = "OTEL_EBPF_AUTO_TARGET_EXE"
_PORT = "OTEL_EBPF_OPEN_PORT"
_IDENTITY = "OTEL_EBPF_GO_IDENTITY"
_PROTOCOLS = "OTEL_EBPF_PROTOCOLS"
_CAPTURE = "OTEL_EBPF_CAPTURE_BYTES"
_OUTPUT = "OTEL_EBPF_OUTPUT"
_GRPC = 41
"""DeepFlow's number of what rides on HTTP/2."""
OUTPUTS = ("auto", "console", "json", "otlp")
LOG_LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40}
_GO_HTTP2 = "OTEL_EBPF_GO_HTTP2"
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
    if way not in IDENTITY_WAYS:
        raise UsageError(
            f"{way!r} is no way to tell goroutines apart",
            where=where,
            mend=f"use one of {', '.join(IDENTITY_WAYS)}",
        )
    return way


def chosen_protocols(flags: Iterable[str], env: Mapping[str, str]) -> tuple[int, ...]:
    """--protocol, else OTEL_EBPF_PROTOCOLS (``none``: no protocol), else every one: as the
    kernel's numbers. Raises UsageError."""
    given = list(flags)
    where = "--protocol" if given else _PROTOCOLS
    names = given or _from_env(env, _PROTOCOLS) or list(NUMBERS)
    if names == ["none"]:
        return ()
    for name in names:
        if name not in NUMBERS:
            raise UsageError(
                f"{name!r} is no protocol that is known here",
                where=where,
                mend=f"use {', '.join(NUMBERS)}",
            )
    numbers = [NUMBERS[name] for name in dict.fromkeys(names)]
    return (*numbers, _GRPC) if "http2" in names else tuple(numbers)


def chosen_capture(flag: int | None, env: Mapping[str, str], default: int) -> int:
    """--capture-bytes, else OTEL_EBPF_CAPTURE_BYTES. Raises UsageError for what is no number."""
    if flag is not None:
        return flag
    text = env.get(_CAPTURE, "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) < 8):
        raise UsageError(
            f"{text!r} is not a number of bytes", where=_CAPTURE, mend="give a whole number"
        )
    return int(text) if text else default


def chosen_output(flag: str | None, env: Mapping[str, str]) -> str:
    """--output, else OTEL_EBPF_OUTPUT, else ``auto``. Raises UsageError."""
    output = flag or env.get(_OUTPUT, "").strip() or "auto"
    if output not in OUTPUTS:
        raise UsageError(
            f"{output!r} is no output", where=_OUTPUT, mend=f"use one of {', '.join(OUTPUTS)}"
        )
    return output


def chosen_log_level(env: Mapping[str, str]) -> int:
    """OTEL_EBPF_LOG_LEVEL as ``logging`` numbers it. Raises UsageError."""
    text = env.get("OTEL_EBPF_LOG_LEVEL", "")
    level = LOG_LEVELS.get(text.strip().lower() or "warn")
    if level is None:
        raise UsageError(
            f"{text!r} is not a level",
            where="OTEL_EBPF_LOG_LEVEL",
            mend=f"use one of {', '.join(LOG_LEVELS)}",
        )
    return level


def chosen_go_http2(flag: str | None, env: Mapping[str, str]) -> str:
    """--go-http2, else OTEL_EBPF_GO_HTTP2, else ``passive``. Raises UsageError."""
    where = "--go-http2" if flag is not None else _GO_HTTP2
    way = (flag if flag is not None else env.get(_GO_HTTP2, "")).strip() or PASSIVE
    if way not in HEADER_WAYS:
        raise UsageError(
            f"{way!r} is no way to learn HTTP/2 headers of Go programs",
            where=where,
            mend=f"use one of {', '.join(HEADER_WAYS)}",
        )
    return way


def chosen_openssl(flag: str | None, env: Mapping[str, str]) -> bool:
    """--openssl, else OTEL_EBPF_OPENSSL, else on. Raises UsageError."""
    where = "--openssl" if flag is not None else "OTEL_EBPF_OPENSSL"
    text = (flag if flag is not None else env.get("OTEL_EBPF_OPENSSL", "")).strip().lower()
    if text not in ("", "on", "off", "true", "false"):
        raise UsageError(f"{text!r} is neither on nor off", where=where, mend="use on or off")
    return text in ("", "on", "true")
