"""Findings about programs, probes and type information, each from an experiment."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import mounts, sysbpf, tries
from otel_ebpf.kernel.btf import VMLINUX, Btf, MemberNotFound
from otel_ebpf.kernel.findings import (
    DEGRADED,
    MISSING,
    OK,
    Finding,
    attempt,
    reason,
    tried,
    unreadable,
)
from otel_ebpf.kernel.host import Host
from otel_ebpf.kernel.offsets import ABSENT, kernel_offsets
from otel_ebpf.kernel.plan import RAW_TRACEPOINT, TRACEPOINT, probe_plan

KPROBED = {"x86_64": "__x64_sys_getppid", "aarch64": "__arm64_sys_getppid"}


def bpf_call(host: Host) -> Finding:
    """bpf(2) at all: who may create a map, and what forbids it."""
    error = attempt(tries.create_map)
    if error is None:
        return Finding("bpf", OK, True, "maps and programs may be created")
    if error.errno == errno.ENOSYS:
        return Finding(
            "bpf", MISSING, True, "the kernel has no bpf(2)", "use one with CONFIG_BPF_SYSCALL=y"
        )
    if "CAP_SYS_ADMIN" in host.capabilities and not host.seccomp:
        raised = attempt(tries.raise_memlock)
        if raised is None and attempt(tries.create_map) is None:
            return Finding("bpf", OK, True, "allowed, once the locked memory limit was lifted")
        why = "; the locked memory limit may be the reason" if raised else ""
        return Finding(
            "bpf",
            MISSING,
            True,
            f"refused to a privileged user: {reason(error)}{why}",
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity); outside of user namespaces",
        )
    hint = "; a seccomp filter is on and may be the reason" if host.seccomp else ""
    return Finding(
        "bpf",
        MISSING,
        True,
        f"no maps or programs may be created: {reason(error)}{hint}",
        host.privileged_command(),
    )


def _try_raw(target: str) -> OSError | None:
    return attempt(lambda: tries.attach_raw_tracepoint(target))


def memlock() -> Finding:
    """Whether maps count against the locked memory limit, and whether it can be lifted."""
    name = "locked memory limit"
    try:
        counts = tries.memlock_counts()
    except OSError as problem:
        return Finding(name, DEGRADED, False, f"could not be tried: {reason(problem)}")
    if not counts:
        return Finding(name, OK, False, "maps do not count against it on this kernel")
    error = attempt(tries.raise_memlock)
    if error is None:
        return Finding(name, OK, False, "lifted, for on this kernel maps count against it")
    return Finding(
        name,
        DEGRADED,
        False,
        f"maps count against it on this kernel and it cannot be lifted: {reason(error)}",
        "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity), or grant CAP_SYS_RESOURCE",
    )


def programs(host: Host) -> Iterator[Finding]:
    """The program types of the plan, and the helper that reads kernel memory."""
    error = attempt(lambda: tries.load(sysbpf.TRACEPOINT))
    yield tried("tracepoint programs", True, error, "load", host.privileged_command())
    name = "raw tracepoints"
    for target in (probe.target for probe in probe_plan() if probe.kind == RAW_TRACEPOINT):
        error = _try_raw(target)
        if error is not None:
            mend = host.privileged_command()
            if error.errno == errno.ENOENT:
                mend = "use a kernel with CONFIG_TRACEPOINTS=y"
            yield Finding(name, MISSING, True, f"{target} is refused: {reason(error)}", mend)
            break
    else:
        yield Finding(name, OK, True, "attach")
    error = attempt(tries.read_kernel_memory)
    locked = f" (lockdown={host.lockdown})" if host.lockdown not in ("", "none") else ""
    yield tried(
        "kernel memory reads",
        True,
        error,
        f"bpf_probe_read_kernel is allowed{locked}",
        "boot with lockdown=integrity or lockdown=none on the kernel command line; "
        "Secure Boot may switch lockdown on"
        if host.lockdown == "confidentiality" or (error and error.errno == errno.EINVAL)
        else host.privileged_command(),
    )


def tracepoints(mount: mounts.Mount, host: Host, usable: bool) -> Finding:
    """The plan's tracepoints; one of them is attached when bpf(2) is ``usable``."""
    name = "system call tracepoints"
    events = mount.target / "events"
    if not mount.present:
        return Finding(name, MISSING, True, "not tried, for there is no tracefs", mount.command)
    probes = [probe for probe in probe_plan() if probe.kind == TRACEPOINT]
    lacking = [p for p in probes if unreadable(events / p.target.replace(":", "/") / "id")]
    if len(lacking) == len(probes) and unreadable(events):
        mend = host.privileged_command()
        return Finding(name, MISSING, True, "not tried, for tracefs is not readable", mend)
    absent = ", ".join(probe.target for probe in lacking if not probe.optional)
    if absent:
        mend = "use a kernel with CONFIG_FTRACE_SYSCALLS=y"
        return Finding(name, MISSING, True, f"the kernel lacks {absent}", mend)
    error = attempt(lambda: tries.attach_tracepoint(mount.target)) if usable else None
    if error is not None:
        return tried(name, True, error, "", _perf_mend(host, error))
    without = ", ".join(probe.target for probe in lacking)
    return Finding(
        name,
        OK,
        True,
        f"all {len(probes)} are there"
        if not without
        else f"{len(probes) - len(lacking)} are there; this architecture never had {without}",
    )


def perf_buffers(host: Host) -> Finding:
    """The buffers that carry records to user space."""
    error = attempt(tries.open_perf_output)
    level = "" if host.perf_paranoid is None else f"perf_event_paranoid is {host.perf_paranoid}"
    mend = _perf_mend(host, error) if error else ""
    return tried("perf buffers", True, error, f"open; {level}".rstrip("; "), mend)


def type_information(host: Host) -> Iterator[Finding]:
    """BTF, the offsets from it, and fentry, which needs it."""
    try:
        btf = Btf.load()
        offsets = kernel_offsets(btf, host.machine)
    except KernelError as problem:
        yield Finding("BTF", MISSING, True, f"{problem.where}: {problem.what}", problem.mend)
        return
    absent = [name for name, offset in offsets.items() if offset == ABSENT]
    detail = f"; this kernel lacks {', '.join(absent)}" if absent else ""
    if btf.where != str(VMLINUX):
        means = f"{VMLINUX} is hidden; the kernel gave it by object id{detail}"
        mend = f"umount {VMLINUX} (something is mounted over it)"
        yield Finding("BTF", DEGRADED, True, means, mend)
    else:
        yield Finding("BTF", OK, True, f"{len(offsets) - len(absent)} offsets{detail}")
    try:
        function = btf.function_id("__sys_sendmsg")
        error = attempt(lambda: tries.attach_fentry(function))
        means = "" if error is None else reason(error)
    except MemberNotFound as absence:
        means = str(absence)
    yield _spare("fentry", means)


def optional_probes(host: Host) -> Iterator[Finding]:
    """kprobes, which tracepoints replace, and uprobes, which nothing replaces."""
    probed = KPROBED.get(host.machine, "")
    error = attempt(lambda: tries.attach_kprobe(probed))
    yield _spare("kprobes", "" if error is None else reason(error))
    error = attempt(tries.attach_uprobe)
    if error is None:
        yield Finding("uprobes", OK, False, "attach")
        return
    yield Finding(
        "uprobes",
        DEGRADED,
        False,
        f"do not attach ({reason(error)}): reused client connections of Go programs get no "
        "parent, for their goroutines cannot be followed",
        "use a kernel with CONFIG_UPROBE_EVENTS=y"
        if error.errno == errno.ENOENT
        else _perf_mend(host, error),
    )


def _spare(name: str, problem: str) -> Finding:
    if not problem:
        return Finding(name, OK, False, "attach")
    return Finding(name, DEGRADED, False, f"not used ({problem}): tracepoints do the same work")


def _perf_mend(host: Host, error: OSError) -> str:
    if error.errno == errno.EACCES and (host.perf_paranoid or 0) > 2:
        return f"sysctl kernel.perf_event_paranoid=2; or {host.privileged_command()}"
    return host.privileged_command()
