"""The kernel structure offsets that the BPF programs read from ``__members_offset``."""

from __future__ import annotations

import platform

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel.btf import MEND, Btf, MemberNotFound

ABSENT = -1

_REQUIRED: dict[str, tuple[str, ...]] = {
    "task_struct.files": (),
    "task_struct.tgid": (),
    "task_struct.pid": (),
    "task_struct.group_leader": (),
    "task_struct.real_parent": (),
    "task_struct.nsproxy": (),
    "task_struct.signal": (),
    "signal_struct.live": (),
    "nsproxy.net_ns": (),
    "net.ns.inum": (),
    "files_struct.fdt": (),
    "fdtable.max_fds": (),
    "fdtable.fd": (),
    "file.private_data": (),
    "file.f_op": (),
    "file.f_inode": (),
    "inode.i_mode": (),
    "socket.file": (),
    "socket.sk": (),
    "socket.type": (),
    "socket.ops": (),
    "sock_common.skc_family": (),
    "sock_common.skc_daddr": (),
    "sock_common.skc_rcv_saddr": (),
    "sock_common.skc_dport": (),
    "sock_common.skc_num": (),
    "sock_common.skc_state": (),
    "tcp_sock.copied_seq": (),
    "tcp_sock.write_seq": (),
    "tcp_sock.rcv_nxt": (),
    "tcp_sock.snd_nxt": (),
    "msghdr.msg_iter": (),
    "iov_iter.iov": ("iov_iter.__iov",),
    "iov_iter.count": (),
}
"""Our name -> what other kernels call it. A kernel without one of these cannot be traced."""

_OPTIONAL: dict[str, tuple[str, ...]] = {
    "task_struct.stack": (),
    # CLOCK_MONOTONIC; start_boottime is what /proc/PID/stat counts (5.5 renamed it).
    "task_struct.start_time": (),
    "task_struct.start_boottime": ("task_struct.real_start_time",),
    "sock_common.skc_net": (),  # CONFIG_NET_NS
    "sock_common.skc_v6_daddr": (),  # CONFIG_IPV6
    "sock_common.skc_v6_rcv_saddr": (),
    "sock.sk_type": (),  # a bitfield before 5.6
    "sock.sk_protocol": (),
    "unix_sock.peer": (),  # CONFIG_UNIX may be a module with BTF of its own
}

_THREAD_POINTER = {
    "x86_64": "task_struct.thread.fsbase",
    "aarch64": "task_struct.thread.uw.tp_value",
}


def kernel_offsets(btf: Btf, machine: str = "") -> dict[str, int]:
    """Byte offsets of the members that the programs read, by ``struct.member``.

    ``task_struct.thread.fsbase`` stands for the user thread pointer on every machine
    (``uw.tp_value`` on aarch64); ``iov_iter.iov`` for ``__iov`` where it is called so.
    Optional members that this kernel lacks, or keeps in a bitfield, are ``ABSENT`` (-1).

    Args:
        btf: the kernel's type information.
        machine: as ``uname -m`` says; this machine when empty.

    Raises:
        KernelError: the machine is not supported, or a required member is missing.
    """
    machine = machine or platform.machine()
    thread_pointer = _THREAD_POINTER.get(machine)
    if thread_pointer is None:
        raise KernelError(
            f"the processor architecture {machine} is not supported",
            mend=f"run on one of: {', '.join(_THREAD_POINTER)}",
        )
    wanted = {**_REQUIRED, "task_struct.thread.fsbase": (thread_pointer,)}
    btf.find({name.split(".")[0] for name in (*wanted, *_OPTIONAL)})
    offsets: dict[str, int] = {}
    missing: list[str] = []
    for name, others in {**wanted, **_OPTIONAL}.items():
        # The thread pointer's x86 name could never stand for another machine's.
        names = others if name == "task_struct.thread.fsbase" else (name, *others)
        offsets[name] = _first(btf, names)
        if offsets[name] == ABSENT and name in wanted:
            missing.append(name)
    if missing:
        raise KernelError(
            f"this kernel's type information lacks {', '.join(missing)}",
            where=btf.where,
            mend=MEND + "; if it is one, please report this kernel with `uname -a`",
        )
    return offsets


def _first(btf: Btf, names: tuple[str, ...]) -> int:
    for name in names:
        try:
            return btf.offset(name)
        except MemberNotFound:
            continue
    return ABSENT
