"""Container and pod identity from a process's control group.

Docker, containerd, CRI-O and Podman all put the 64 hex digits of the container's id
into the group's path, with systemd (``docker-ID.scope``) or without (``/docker/ID``),
in version 1 and 2 of control groups. Amazon ECS on Fargate has 32 digits and a number.
"""

from __future__ import annotations

import re

from otel_ebpf.discovery.procfs import MAX_MAPS, MAX_SMALL, ProcFs

_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_FARGATE = re.compile(r"/([0-9a-f]{32}-\d{1,20})$")
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")
_MOUNT = re.compile(r"/(?:containers|overlay-containers|sandboxes)/([0-9a-f]{64})/")
_CONMON = "conmon"


def from_cgroup(text: str) -> dict[str, str]:
    """``container.id`` and ``k8s.pod.uid`` from the text of /proc/PID/cgroup."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        path = line.partition(":")[2].partition(":")[2]
        # Nested engines: the innermost container is the process's own.
        for part in reversed(path.split("/")):
            match = _ID.search(part)
            if match is not None and _CONMON not in part:
                found.setdefault("container.id", match.group(1))
                break
        fargate = _FARGATE.search(path)
        if fargate is not None:
            found.setdefault("container.id", fargate.group(1))
        pod = _POD.search(path)
        if pod is not None:
            found.setdefault("k8s.pod.uid", pod.group(1).replace("_", "-"))
    return found


def from_mountinfo(text: str) -> dict[str, str]:
    """``container.id`` from the engine's files mounted over /etc/hostname and the like."""
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] in ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf"):
            match = _MOUNT.search(fields[3])
            if match is not None:
                return {"container.id": match.group(1)}
    return {}


def container_attributes(proc: ProcFs, pid: int, own_mounts: str) -> dict[str, str]:
    """The container attributes of a process; {} outside containers.

    ``own_mounts`` is the agent's mount namespace (the text of its ns/mnt link): only a
    process in another one can be in a container whose group path is hidden.
    """
    text = (proc.read(pid, "cgroup", MAX_SMALL) or b"").decode("utf-8", "replace")
    found = from_cgroup(text)
    if "container.id" not in found:
        mounts = proc.link(pid, "ns/mnt")
        if mounts and mounts != own_mounts:
            raw = proc.read(pid, "mountinfo", MAX_MAPS) or b""
            found.update(from_mountinfo(raw.decode("utf-8", "replace")))
    return found
