"""tracefs and bpffs: mounted when they are not there and it is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from otel_ebpf.kernel import sysbpf

TRACEFS = Path("/sys/kernel/tracing")
DEBUG_TRACEFS = Path("/sys/kernel/debug/tracing")
"""Where debugfs shows tracefs. BCC looks here first."""
BPFFS = Path("/sys/fs/bpf")

_MAGIC = {"tracefs": 0x74726163, "bpf": 0xCAFE4A11}


@dataclass(frozen=True, slots=True)
class Mount:
    """What was found or done.

    Attributes:
        fstype: ``tracefs`` or ``bpf``.
        target: where it is, or where it would be.
        present: it is mounted now.
        done: it was mounted by this call.
        error: why it could not be; "" otherwise.
        command: what a person would type to do the same.
    """

    fstype: str
    target: Path
    present: bool
    done: bool
    error: str
    command: str


def ensure_tracefs(*, may_mount: bool = True) -> Mount:
    """Find tracefs, or mount it at /sys/kernel/tracing. Never raises."""
    return _ensure("tracefs", (TRACEFS, DEBUG_TRACEFS), may_mount)


def ensure_bpffs(*, may_mount: bool = True) -> Mount:
    """Find bpffs, or mount it at /sys/fs/bpf. Never raises."""
    return _ensure("bpf", (BPFFS,), may_mount)


def _ensure(fstype: str, places: tuple[Path, ...], may_mount: bool) -> Mount:
    command = f"mount -t {fstype} {fstype} {places[0]}"
    for place in places:
        if _is_mounted(fstype, place):
            return Mount(fstype, place, True, False, "", command)
    target = places[0]
    if not may_mount:
        return Mount(fstype, target, False, False, "not mounted", command)
    try:
        sysbpf.mount(fstype, target)
    except OSError as error:
        reason = error.strerror or str(error)
        if not target.is_dir():
            reason = f"this kernel offers no {target}"
        return Mount(fstype, target, False, False, reason, command)
    return Mount(fstype, target, True, True, "", command)


def _is_mounted(fstype: str, place: Path) -> bool:
    try:
        magic = sysbpf.filesystem_magic(place)
    except OSError:
        return False
    # statfs gives a signed word on some machines.
    return magic & 0xFFFFFFFF == _MAGIC[fstype]
