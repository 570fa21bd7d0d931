"""The host's part of every resource: host.*, os.* and what time a process began.

Read once. Nothing here asks a network service (names of users and hosts come from
local files), so it cannot hang.
"""

from __future__ import annotations

import os
import platform
import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone

from otel_ebpf.discovery.procfs import MAX_SMALL, read_regular

_ARCH = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm32",
    "i686": "x86",
    "ppc64le": "ppc64",
    "s390x": "s390x",
}
_MACHINE_ID = re.compile(r"^[0-9a-f]{32}$")
_NAMESPACE = uuid.UUID("1f6f7e5c-5d0c-5f6b-9d0a-3f3c0f7d7a11")
"""Fixed for this project, so that instance ids stay the same across its versions."""


def _text(path: str) -> str:
    return (read_regular(path, MAX_SMALL) or b"").decode("utf-8", "replace").strip()


def _os_release() -> dict[str, str]:
    pairs = {}
    for line in (_text("/etc/os-release") or _text("/usr/lib/os-release")).splitlines():
        key, mark, value = line.partition("=")
        if mark:
            pairs[key.strip()] = value.strip().strip("\"'")
    return pairs


def _users() -> dict[int, str]:
    names: dict[int, str] = {}
    for line in (read_regular("/etc/passwd", 1 << 20) or b"").decode("utf-8", "replace").split():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdecimal() and len(fields[2]) < 11:
            names.setdefault(int(fields[2]), fields[0])
    return names


@dataclass(slots=True)
class Host:
    """One host. ``attributes`` go into every resource as they are.

    ``booted`` is the boot's moment in seconds since the Unix epoch; ``id`` is
    /etc/machine-id or ""; ``boot_id`` tells this boot from the others.
    """

    attributes: dict[str, str]
    id: str
    boot_id: str
    booted: float
    tick: int
    users: dict[int, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Host:
        """This host, as the agent sees it."""
        system = os.uname()
        machine_id = _text("/etc/machine-id") or _text("/var/lib/dbus/machine-id")
        if not _MACHINE_ID.match(machine_id):
            machine_id = ""
        release = _os_release()
        attributes = {
            "host.name": system.nodename,
            "host.id": machine_id,
            "host.arch": _ARCH.get(system.machine, system.machine or platform.machine()),
            "os.type": "linux",
            "os.name": release.get("NAME", ""),
            "os.version": release.get("VERSION_ID", ""),
            "os.build_id": system.release,
        }
        return cls(
            attributes={key: value for key, value in attributes.items() if value},
            id=machine_id,
            boot_id=_text("/proc/sys/kernel/random/boot_id"),
            booted=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME),
            tick=os.sysconf("SC_CLK_TCK"),
            users=_users(),
        )

    def creation_time(self, start_ticks: int) -> str:
        """A process's start in ISO 8601, UTC, to the hundredth of a second that ticks give."""
        moment = datetime.fromtimestamp(self.booted + start_ticks / self.tick, timezone.utc)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 10000:02d}Z"

    def instance_id(self, pid: int, start_ticks: int) -> str:
        """service.instance.id: the same for one process's life, different for any other.

        Start ticks count from boot, and boots repeat them, so the boot is part of it.
        """
        key = f"{self.id or self.attributes.get('host.name', '')}/{self.boot_id}"
        return str(uuid.uuid5(_NAMESPACE, f"{key}/{pid}/{start_ticks}"))
