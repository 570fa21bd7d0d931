"""Who runs and where: capabilities, namespaces, container hints, kernel switches."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""The ones that matter here, with their bit (include/uapi/linux/capability.h)."""

# The first namespace of each kind has a fixed inode (include/uapi/linux/nsfs.h).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
_FIRST_USER_NAMESPACE = 0xEFFFFFFD


@dataclass(frozen=True, slots=True)
class Host:
    """What is known before anything is tried.

    Attributes:
        kernel: release, as ``uname -r``.
        machine: as ``uname -m``.
        uid: effective user id.
        capabilities: effective ones, of those in ``CAPABILITIES``.
        host_pids: this process is in the first PID namespace.
        host_user: this process is in the first user namespace.
        container: ``kubernetes``, ``docker``, ``podman``, ``container`` or "".
        seccomp: a system call filter is on.
        lockdown: ``none``, ``integrity``, ``confidentiality`` or "" when not shown.
        perf_paranoid: kernel.perf_event_paranoid, or None when not shown.
    """

    kernel: str = field(default_factory=platform.release)
    machine: str = field(default_factory=platform.machine)
    uid: int = field(default_factory=os.geteuid)
    capabilities: frozenset[str] = frozenset()
    host_pids: bool = True
    host_user: bool = True
    container: str = ""
    seccomp: bool = False
    lockdown: str = ""
    perf_paranoid: int | None = None

    def privileged_command(self) -> str:
        """How a person gives this program what it lacks, here."""
        if self.container == "kubernetes":
            return "set securityContext.privileged: true and hostPID: true in the pod, as user 0"
        inside = ""
        if self.container:
            engine = "podman" if self.container == "podman" else "docker"
            inside = f"; in a container, start it with `{engine} run --privileged --pid=host`"
        if self.uid != 0:
            return f"run it as root: `sudo otel-ebpf ...`{inside}"
        return (
            "give root its capabilities back: CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE "
            f"(systemd: CapabilityBoundingSet=){inside}"
        )


def look() -> Host:
    """Describe this host and process. Never raises: what cannot be read is left out."""
    status = dict(
        line.split(":", 1) for line in _read("/proc/self/status").splitlines() if ":" in line
    )
    effective = _integer(status.get("CapEff", "0"), 16) or 0
    return Host(
        capabilities=frozenset(n for n, bit in CAPABILITIES.items() if effective >> bit & 1),
        host_pids=_namespace("pid") in (None, _FIRST_PID_NAMESPACE),
        host_user=_namespace("user") in (None, _FIRST_USER_NAMESPACE),
        container=_container(),
        seccomp=status.get("Seccomp", "0").strip() not in ("", "0"),
        lockdown=_selected(_read("/sys/kernel/security/lockdown")),
        perf_paranoid=_integer(_read("/proc/sys/kernel/perf_event_paranoid"), 10),
    )


def _container() -> str:
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    # systemd-nspawn, LXC and podman set this name, in small letters.
    return "container" if os.environ.get("container") else ""  # noqa: SIM112


def _namespace(kind: str) -> int | None:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return None


def _selected(text: str) -> str:
    """The word in brackets, as in ``none [integrity] confidentiality``."""
    return next((w[1:-1] for w in text.split() if w.startswith("[") and w.endswith("]")), "")


def _integer(text: str, base: int) -> int | None:
    try:
        return int(text.strip(), base)
    except ValueError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
