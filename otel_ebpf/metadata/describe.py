"""From a pid to the resource of its spans. docs/resources.md tells the rules to users."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib import metadata

from otel_ebpf.discovery.processes import ProcessImage, classify
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.metadata.container import container_attributes
from otel_ebpf.metadata.environment import parse_resource_attributes
from otel_ebpf.metadata.host import Host
from otel_ebpf.metadata.process import Process
from otel_ebpf.metadata.service_name import name_from_command

_log = logging.getLogger(__name__)
MAX_TEXT = 4096

_FACTS = ("process.", "telemetry.", "container.id")
"""What the tracer knows better than a process's environment says."""


def _version() -> str:
    try:
        return metadata.version("otel-ebpf")
    except metadata.PackageNotFoundError:
        return "0"


DISTRO = {"telemetry.distro.name": "otel-ebpf", "telemetry.distro.version": _version()}


class Describer:
    """Describes processes of one host.

    ``env`` is the agent's own environment: OTEL_RESOURCE_ATTRIBUTES there gives
    defaults for every resource, except for what names one service.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        proc: ProcFs | None = None,
        host: Host | None = None,
    ) -> None:
        self.proc = proc or ProcFs()
        self.host = host or Host.read()
        self.refused_attributes = 0
        """Pairs of OTEL_RESOURCE_ATTRIBUTES that could not be used, over all processes."""
        self._own_mounts = self.proc.link(os.getpid(), "ns/mnt")
        given = (os.environ if env is None else env).get("OTEL_RESOURCE_ATTRIBUTES", "")
        shared = self._pairs(given, "the agent's environment")
        self._defaults = {
            key: value
            for key, value in shared.items()
            if key not in ("service.name", "service.instance.id") and not key.startswith(_FACTS)
        }

    def _pairs(self, text: str, where: str) -> dict[str, str]:
        pairs, refused = parse_resource_attributes(text)
        self.refused_attributes += len(refused)
        if refused:
            _log.warning("OTEL_RESOURCE_ATTRIBUTES of %s: %s", where, "; ".join(refused[:5]))
        return pairs

    def describe(self, pid: int) -> Process | None:
        """The process with its resource, or None when it is gone."""
        for _ in range(3):
            process = self._describe(pid)
            # An exec meanwhile keeps pid and start: two programs would be mixed.
            if process is None or self.proc.exe(pid) in (process.exe, ""):
                return process
        return process

    def _describe(self, pid: int) -> Process | None:
        image = classify(pid, self.proc, details=False)
        if image is None:
            return None
        status = self.proc.stat(pid)
        argv = self.proc.cmdline(pid)
        own = self.proc.environ(pid, b"OTEL_")
        container = container_attributes(self.proc, pid, self._own_mounts)
        cwd = self.proc.link(pid, "cwd") if image.language in ("python", "nodejs") else ""
        uid = self.proc.uid(pid)
        again = self.proc.stat(pid)
        if status is None or again is None or again.start_ticks != image.start_ticks:
            return None

        given = self._pairs(own.get("OTEL_RESOURCE_ATTRIBUTES", ""), f"pid {pid}")
        comm = status.comm
        name = (
            own.get("OTEL_SERVICE_NAME", "").strip()[:MAX_TEXT]
            or given.get("service.name", "").strip()
            or name_from_command(argv, image.exe, image.language, cwd=cwd, comm=comm)
        )
        attributes: dict[str, str | int] = {
            "service.name": name,
            "service.instance.id": self.host.instance_id(pid, image.start_ticks),
            **self.host.attributes,
            **self._defaults,
            **{key: value for key, value in given.items() if not key.startswith(_FACTS)},
            **container,
            **self._process(image, argv, comm, status.ppid),
            **DISTRO,
        }
        attributes["service.name"] = name
        owner = self.host.users.get(uid, "") if uid is not None and not container else ""
        if owner:
            attributes["process.owner"] = owner
        return Process(pid, image.start_ticks, image.exe, image.language, name, dict(attributes))

    def _process(
        self, image: ProcessImage, argv: list[str], comm: str, ppid: int
    ) -> dict[str, str | int]:
        facts: dict[str, str | int] = {
            "process.pid": image.pid,
            "process.parent_pid": ppid,
            "process.executable.name": image.exe.rpartition("/")[2] or comm,
            "process.executable.path": image.exe,
            # The first argument only: the others may hold secrets.
            "process.command": argv[0][:MAX_TEXT] if argv else "",
            "process.runtime.name": image.runtime_name,
            "process.runtime.version": image.runtime_version,
            "process.creation.time": self.host.creation_time(image.start_ticks),
        }
        if image.version:
            facts["service.version"] = image.version
        return {key: value for key, value in facts.items() if value != ""}


def describe(pid: int, env: Mapping[str, str] | None = None) -> Process | None:
    """Describe one process, once. Use ``ProcessTable`` for many.

    ``env`` is the agent's environment (default: this process's). None when it is gone.
    """
    return Describer(env).describe(pid)
