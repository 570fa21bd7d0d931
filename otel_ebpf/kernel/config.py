"""What user space writes into the configuration maps before any probe runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from otel_ebpf.errors import KernelError, UsageError
from otel_ebpf.kernel import tries
from otel_ebpf.kernel.btf import Btf
from otel_ebpf.kernel.kernel_calls import marked, word_reads

CAPTURE_DEFAULT = 1024
CAPTURE_LIMIT = 4096

MEMBERS = {
    # member of struct member_fields_offset -> name in kernel_offsets()
    "task_files": "task_struct.files",
    "task_fsbase": "task_struct.thread.fsbase",
    "task_tgid": "task_struct.tgid",
    "task_pid": "task_struct.pid",
    "task_nsproxy": "task_struct.nsproxy",
    "task_stack": "task_struct.stack",
    "nsproxy_net_ns": "nsproxy.net_ns",
    "net_ns_inum": "net.ns.inum",
    "files_fdt": "files_struct.fdt",
    "fdtable_max_fds": "fdtable.max_fds",
    "fdtable_fd": "fdtable.fd",
    "file_private_data": "file.private_data",
    "socket_type": "socket.type",
    "socket_file": "socket.file",
    "socket_sk": "socket.sk",
    "sk_family": "sock_common.skc_family",
    "sk_daddr": "sock_common.skc_daddr",
    "sk_rcv_saddr": "sock_common.skc_rcv_saddr",
    "sk_dport": "sock_common.skc_dport",
    "sk_num": "sock_common.skc_num",
    "sk_state": "sock_common.skc_state",
    "sk_v6_daddr": "sock_common.skc_v6_daddr",
    "sk_v6_rcv_saddr": "sock_common.skc_v6_rcv_saddr",
    "tcp_copied_seq": "tcp_sock.copied_seq",
    "tcp_write_seq": "tcp_sock.write_seq",
    "tcp_rcv_nxt": "tcp_sock.rcv_nxt",
    "unix_peer": "unix_sock.peer",
    "task_signal": "task_struct.signal",
    "signal_live": "signal_struct.live",
}


DIRECT = {
    # definition that bpf/task.h takes, behind DIRECT_ -> member
    "TASK_FILES": "task_struct.files",
    "TASK_FSBASE": "task_struct.thread.fsbase",
    "TASK_STACK": "task_struct.stack",
    "FILES_FDT": "files_struct.fdt",
    "FDTABLE_MAX_FDS": "fdtable.max_fds",
    "FDTABLE_FD": "fdtable.fd",
}
DIRECT_CHAINS = (
    (("task_struct.files", "files_struct.fdt", "fdtable.max_fds"), 4),
    (("task_struct.files", "files_struct.fdt", "fdtable.fd"), 8),
    (("task_struct.thread.fsbase",), 8),
    (("task_struct.stack",), 8),
)
"""How the members are reached from the running task, and their sizes in bytes."""


def check_neighbours(offsets: dict[str, int]) -> None:
    """The programs read some members together; those must lie as every kernel has them.

    Raises:
        KernelError: this kernel has them otherwise.
    """
    common, file, sk = "sock_common.skc_", offsets["socket.file"], offsets["socket.sk"]
    kept = {
        "fdtable.fd": offsets["fdtable.fd"] == offsets["fdtable.max_fds"] + 8,
        "socket": max(file, sk) < 48 and file % 8 == sk % 8 == 0 and offsets["socket.type"] < 7,
        **{
            common + name: offsets[common + name] == offsets[common + "daddr"] + distance
            for name, distance in (("rcv_saddr", 4), ("dport", 12), ("num", 14), ("state", 18))
        },
    }
    for name, good in kept.items():
        if not good:
            raise KernelError(
                f"this kernel lays out {name} in a way that is not known",
                mend="please report this kernel with `uname -a`",
            )


@dataclass(slots=True)
class KernelConfig:
    """Settings of the kernel half.

    Attributes:
        capture: payload bytes kept of each run of segments in one direction.
        max_age_ns: age at which a burst leaves with the next record.
        filter_processes: trace only processes of ``target_map``.
        ports: (first, last) pairs; empty means every port.
        protocols: DeepFlow's numbers of the protocols to follow.
        max_sockets, max_traces: entries of the maps that grow with traffic.
        receives: where a receive's arguments come from: ``registers`` (saved at the
            call's entry by the kernel), ``entries`` (probes), or ``auto``: registers
            where they can be read.
        task_reads: how the kernel's memory is read: ``direct`` (the running task by typed
            pointers, the rest too where the kernel lets programs make them), ``calls``
            (bpf_probe_read_kernel), or ``auto``: direct where the kernel takes it.
        header_blocks: uprobes tell of header blocks, which takes memory.
    """

    capture: int = CAPTURE_DEFAULT
    max_age_ns: int = 40_000_000
    filter_processes: bool = False
    ports: list[tuple[int, int]] = field(default_factory=list)
    protocols: tuple[int, ...] = (
        *(20, 21, 22, 30, 31, 40, 41, 44, 60, 61, 80, 81, 82),
        *(100, 101, 102, 104, 120),
    )
    max_sockets: int = 65536
    max_traces: int = 65536
    receives: str = "auto"
    task_reads: str = "auto"
    header_blocks: bool = False

    def __post_init__(self) -> None:
        if not 64 <= self.capture <= CAPTURE_LIMIT:
            raise UsageError(
                f"a capture of {self.capture} bytes is out of range",
                mend=f"choose 64 to {CAPTURE_LIMIT}",
            )

    @property
    def filter(self) -> int:
        """enum filter of the C side."""
        return (1 if self.filter_processes else 0) | (2 if self.ports else 0)

    def cflags(self) -> list[str]:
        """Definitions for the compiler."""
        return [f"-DMAX_SOCKETS={self.max_sockets}", f"-DMAX_TRACES={self.max_traces}"]

    def task_cflags(self, offsets: dict[str, int]) -> list[str]:
        """Definitions with which bpf/task.h reads the running task directly, or none.

        Raises:
            KernelError: ``direct`` was asked for and this kernel refuses it.
        """
        members = {name: offsets[member] for name, member in DIRECT.items()}
        if self.task_reads == "calls" or min(members.values()) < 0:
            return []
        try:
            for chain, size in DIRECT_CHAINS:
                tries.read_task([offsets[member] for member in chain], size)
        except OSError as error:
            if self.task_reads == "direct":
                raise KernelError(
                    f"this kernel does not let programs read the task directly: {error}",
                    mend="leave the choice to the agent",
                ) from None
            return []
        return [f"-DDIRECT_{name}={offset}" for name, offset in members.items()]

    def memory_cflags(self, btf: Btf) -> list[str]:
        """Definitions with which bpf/task.h reads other memory of the kernel directly, or none."""
        words = None if self.task_reads == "calls" else word_reads(btf)
        if words is None:
            return []
        return [f"-DKERNEL_WORDS={marked(words[0])}", f"-DKERNEL_WORDS_TYPE={words[1]}"]
