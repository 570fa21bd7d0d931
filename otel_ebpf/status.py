"""``otel-ebpf status``: what the running agents see, and how sure they are of the parents."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, TextIO

from otel_ebpf.discovery.tls_libraries import UNKNOWN_LIBRARY
from otel_ebpf.errors import KernelError, OtelEbpfError
from otel_ebpf.status_socket import VARIABLE, directory

PATIENCE = 10.0
"""Seconds to wait for an agent's answer; it looks for questions once a second."""
_NAME = re.compile(r"agent-[0-9]+\.sock")
_HEAD = ("service", "pid", "served", "calls", "proved", "inferred", "lacking", "own")


def run_status(stream: TextIO, env: Mapping[str, str], *, as_json: bool = False) -> int:
    """Asks every agent of this host and writes what they say to ``stream``.

    Returns:
        0.

    Raises:
        OtelEbpfError: none runs. KernelError: they may not be asked by this user.
    """
    folder = directory(env)
    answers = [answer for path in _sockets(folder) if (answer := _ask(path)) is not None]
    if not answers:
        raise OtelEbpfError(
            "no agent runs on this host",
            where=folder,
            mend=f"start one with `otel-ebpf run`; {VARIABLE} must be the same for both",
        )
    if as_json:
        stream.write(json.dumps(answers, indent=2, ensure_ascii=False) + "\n")
    else:
        stream.write("\n".join(_text(answer) for answer in answers))
    return 0


def spoken_unread(pid: int, env: Mapping[str, str]) -> str | None:
    """What running agents have seen this process speak that they cannot read: libraries, QUIC,
    or an empty text where the library is not known. None: nothing, or no agent may be asked."""
    for path in _sockets(directory(env)):
        with contextlib.suppress(OtelEbpfError):
            told = (_ask(path) or {}).get("tls_not_readable", {})
            if str(pid) in told:
                return str(told[str(pid)])
    return None


def _sockets(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    return [os.path.join(folder, name) for name in names if _NAME.fullmatch(name)]


def _ask(path: str) -> dict[str, Any] | None:
    """What the agent says; None where none listens any more."""
    parts: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(PATIENCE)
        try:
            asking.connect(path)
            while part := asking.recv(1 << 16):
                parts.append(part)
        except (ConnectionError, FileNotFoundError):
            with contextlib.suppress(OSError):
                os.unlink(path)  # an agent that was killed left it
            return None
        except PermissionError:
            raise KernelError(
                "not permitted to ask this agent", where=path, mend="run as root"
            ) from None
        except TimeoutError:
            raise OtelEbpfError(
                f"the agent gave no answer within {PATIENCE:g} s",
                where=path,
                mend="see whether its process is stopped or starved of processor time",
            ) from None
    try:
        answer = json.loads(b"".join(parts))
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else None


def _text(answer: Mapping[str, Any]) -> str:
    totals = answer["totals"]
    lines = [
        f"agent {answer['pid']} (otel-ebpf {answer['version']}), {_age(answer['seconds'])}: "
        + ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in totals.items())
    ]
    closed = [
        f"  process {pid} speaks what cannot be read: {library or UNKNOWN_LIBRARY}"
        for pid, library in answer.get("tls_not_readable", {}).items()
    ]
    processes = answer["processes"]
    if not processes:
        return "\n".join([*lines, "  nothing has been traced yet", *closed, ""])
    width = max(len(_HEAD[0]), *(len(p["service_name"]) for p in processes))
    head, *rest = _HEAD
    lines.append(f"  {head:<{width}}" + "".join(f"{name:>10}" for name in rest))
    for p in processes:
        cells = [str(p["pid"]), f"{p['served']:,}", f"{p['calls']:,}"]
        cells += [_share(p[name], p["calls"]) for name in ("proved", "inferred", "lack", "own")]
        lines.append(f"  {p['service_name']:<{width}}" + "".join(f"{cell:>10}" for cell in cells))
        for title, name in (("parents", "calls_by"), ("lacking", "absent"), ("checks", "checks")):
            if p[name]:
                told = [f"{key} {_number(value)}" for key, value in _largest(p[name])]
                lines.append(f"    {title}: {', '.join(told)}")
    return "\n".join([*lines, *closed, ""])


def _largest(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda item: item[1] if type(item[1]) is int else 0)[::-1]


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"up {hours} h {minutes} min"
    return f"up {minutes} min {rest} s" if minutes else f"up {rest} s"
