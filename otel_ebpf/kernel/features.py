"""What this kernel and this user can do, found by trying it.

``survey`` gives one ``Finding`` for each thing that tracing uses. It raises nothing: a
thing that cannot be tried is a finding too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import binding, mounts, sysbpf
from otel_ebpf.kernel.cache import ProgramCache, folders
from otel_ebpf.kernel.compiler import bcc_version
from otel_ebpf.kernel.findings import DEGRADED, MISSING, OK, Finding, reason
from otel_ebpf.kernel.host import Host, look
from otel_ebpf.kernel.obtain import HEADERS
from otel_ebpf.kernel.probing import (
    KPROBED,
    bpf_call,
    memlock,
    optional_probes,
    perf_buffers,
    programs,
    tracepoints,
    type_information,
)


def survey(*, may_mount: bool = True, host: Host | None = None) -> list[Finding]:
    """Look at everything, in the order in which a person would mend it.

    Args:
        may_mount: mount tracefs and bpffs when they are missing and it is allowed.
        host: what ``look()`` gave, when the caller has it already.
    """
    host = host or look()
    tracefs = mounts.ensure_tracefs(may_mount=may_mount)
    bpffs = mounts.ensure_bpffs(may_mount=may_mount)
    findings = [*_identity(host), bpf_call(host)]
    usable = findings[-1].state == OK
    if usable:
        findings += [memlock(), *programs(host)]
    findings += [
        _tracefs(tracefs, host),
        tracepoints(tracefs, host, usable),
        perf_buffers(host),
        *type_information(host),
        *optional_probes(host),
        _bpffs(bpffs),
        bcc_finding(),
        cache_finding(os.environ),
    ]
    return findings


def blocking(findings: list[Finding]) -> KernelError | None:
    """The error that says what keeps this host from being traced; None when nothing does."""
    worst = [f for f in findings if f.needed and f.state == MISSING]
    if not worst:
        return None
    return KernelError(
        "this host cannot be traced: " + "; ".join(f"{f.name}: {f.means}" for f in worst),
        mend="; ".join(dict.fromkeys(f.mend for f in worst if f.mend))
        + " (`otel-ebpf doctor` shows everything)",
    )


def bcc_finding() -> Finding:
    """Whether BCC's binding loads, and whether another program stands before it."""
    found = binding.locate()
    try:
        version = bcc_version()
    except KernelError as error:
        where = f" ({error.where})" if error.where else ""
        return Finding("bcc", MISSING, True, error.what + where, error.mend)
    if found.impostor:
        return Finding(
            "bcc",
            DEGRADED,
            True,
            f"{found.impostor} is another program called bcc; the distribution's "
            f"{version} in {found.package} is used instead",
            "pip uninstall bcc",
        )
    return Finding("bcc", OK, True, f"{version} from {found.package}")


def cache_finding(env: Mapping[str, str]) -> Finding:
    """Whether compiled programs can be kept from one start to the next."""
    name = "compiled programs"
    if HEADERS in env:
        means = f"are not kept while {HEADERS} is set: each start compiles, a second or two"
        return Finding(name, DEGRADED, False, means, f"unset {HEADERS}: no headers are needed")
    places = folders(env, os.geteuid())
    new = [place for place in places if not os.path.exists(place)]
    cache, why = ProgramCache.open(places)
    if cache is None:
        means = f"cannot be kept ({why or 'no folder'}): each start compiles, a second or two"
        mend = f"install -d -m 0700 {places[0]}" if places else "set XDG_CACHE_HOME"
        return Finding(name, DEGRADED, False, means, mend)
    kept = len(cache.entries())
    cache.close()
    if cache.folder in new:
        with contextlib.suppress(OSError):
            cache.folder.rmdir()
    return Finding(name, OK, False, f"are kept in {cache.folder} ({kept} now)")


def _identity(host: Host) -> Iterator[Finding]:
    supported = host.machine in KPROBED and sysbpf.supported_machine()
    yield Finding(
        "architecture",
        OK if supported else MISSING,
        True,
        f"{host.machine} is {'supported' if supported else 'not supported'}",
        "" if supported else f"run on one of: {', '.join(KPROBED)}",
    )
    wanted = ("CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE")
    lacking = [name for name in wanted if name not in host.capabilities]
    who = "root" if host.uid == 0 else f"user {host.uid}, not root"
    yield Finding(
        "privileges",
        DEGRADED if lacking else OK,
        False,
        f"{who}; lacks {', '.join(lacking)}" if lacking else f"{who}, with what tracing needs",
        host.privileged_command() if lacking else "",
    )
    if not host.host_user:
        yield Finding(
            "user namespace",
            DEGRADED,
            False,
            "not the host's: capabilities held here count for nothing with bpf(2)",
            "run outside of rootless containers and `unshare --user`",
        )
    yield Finding(
        "PID namespace",
        OK if host.host_pids else DEGRADED,
        False,
        "the host's"
        if host.host_pids
        else "not the host's: probes report host pids, which /proc here does not know, so "
        "services cannot be named and --pid selects nothing",
        "" if host.host_pids else "start the container with --pid=host (Kubernetes: hostPID: true)",
    )


def _tracefs(mount: mounts.Mount, host: Host) -> Finding:
    if not mount.present:
        mend = mount.command
        if host.uid != 0 or "CAP_SYS_ADMIN" not in host.capabilities:
            mend = f"sudo {mount.command}; {host.privileged_command()}"
        return Finding("tracefs", MISSING, True, f"not mounted, and {mount.error}", mend)
    try:
        next((mount.target / "events").iterdir(), None)
    except OSError as error:
        return Finding(
            "tracefs",
            MISSING,
            True,
            f"mounted at {mount.target} but not readable: {reason(error)}",
            host.privileged_command(),
        )
    how = "mounted just now at" if mount.done else "readable at"
    return Finding("tracefs", OK, True, f"{how} {mount.target}")


def _bpffs(mount: mounts.Mount) -> Finding:
    if mount.present:
        how = "mounted just now at" if mount.done else "mounted at"
        return Finding("bpffs", OK, False, f"{how} {mount.target}")
    means = f"not mounted ({mount.error}): maps cannot be pinned for other tools to see"
    return Finding("bpffs", DEGRADED, False, means, mount.command)
