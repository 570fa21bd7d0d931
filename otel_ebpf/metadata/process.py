"""What is known of one traced process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Process:
    """One process, from exec to exit. Compared by identity; hashable.

    Attributes:
        pid: as the host's PID namespace numbers it.
        start_ticks: field 22 of /proc/PID/stat, which tells reused pids apart.
        exe: path of the executable as the process sees it, or "".
        language: "go", "python", "nodejs", "java" or "" when unknown.
        service_name: chosen as docs/resources.md tells.
        attributes: the resource's attributes (service.*, process.*, host.*...).
    """

    pid: int
    start_ticks: int
    exe: str
    language: str
    service_name: str
    attributes: dict[str, Any] = field(default_factory=dict)
