"""Which program goes to which attach point."""

from __future__ import annotations

from dataclasses import dataclass

TRACEPOINT = "tracepoint"
RAW_TRACEPOINT = "raw_tracepoint"


@dataclass(frozen=True, slots=True)
class Probe:
    """One program at one attach point.

    Attributes:
        kind: ``TRACEPOINT`` or ``RAW_TRACEPOINT``.
        target: ``category:event`` of a tracepoint, or a raw tracepoint's name.
        program: the C function.
        optional: kernels may lack it (a call that this architecture never had).
    """

    kind: str
    target: str
    program: str
    optional: bool = False


_PAIRS = ("write", "sendto", "sendmsg", "sendmmsg", "writev", "connect")
"""Calls whose entry and exit have programs named after them."""

_RECEIVES = ("read", "recvfrom", "recvmsg", "recvmmsg", "readv")
"""The same; but their entries can be done without, see :func:`receive_entries`."""

_SHARED = (
    # call, entry program, exit program
    ("accept", None, "exit_accept", True),
    ("accept4", None, "exit_accept", False),
    ("dup", "enter_dup", "exit_dup", False),
    ("dup2", "enter_dup2", "exit_dup", True),
    ("dup3", "enter_dup2", "exit_dup", False),
    ("fcntl", "enter_fcntl", "exit_dup", False),
    ("setsockopt", "enter_setsockopt", "exit_setsockopt", False),
    ("sendfile64", "enter_sendfile", "exit_sendfile", True),
    ("splice", "enter_splice", "exit_splice", True),
    ("close", "enter_close", None, False),
    ("shutdown", "enter_shutdown", None, False),
    ("getppid", "enter_getppid", "exit_getppid", False),
    ("socket", None, "exit_socket", False),
)

TAIL_PROGRAMS = (
    "prog_data",
    "prog_go",
    "prog_output",
    "prog_enter_send",
    "prog_exit_send",
    "prog_exit_receive",
    "prog_sweep",
    "prog_tail",
    "prog_go_stack",
    "prog_http2",
    "prog_go_streams",
    "prog_go_asked",
    "prog_go_server",
    "prog_go_tell",
    "prog_go_proof",
    "prog_go_lineage",
    "prog_tls",
    "prog_python",
    "prog_turn",
    "prog_pool",
    "prog_go_older",
    "prog_messages",
    "prog_slice",
    "prog_go_ends",
    "prog_message_first",
    "prog_message",
    "prog_datagram_send",
    "prog_datagram_receive",
    "prog_datagram",
    "prog_datagram_who",
    "prog_py_work",
    "prog_py_wait",
)
"""Programs of ``__progs_jmp_tp_map``, by index."""


_GO = "what Go's memory tells of who asked"
_GO_STREAMS = "who asked for streams of Go's HTTP/2 and gRPC"
_TLS = "Go's TLS"
_HEADERS = "header blocks of HTTP/2 told by Go programs"
SPARED_PROGRAMS = {
    "prog_go": _GO,
    "prog_go_stack": "Go connections that are older than the agent",
    "prog_go_older": "HTTP/2 and gRPC connections of Go that are older than the agent",
    "prog_go_lineage": "ancestry of Go's goroutines over several generations",
    "prog_http2": "HTTP/2 and gRPC",
    **dict.fromkeys(
        (
            "prog_go_streams",
            "prog_go_asked",
            "prog_go_ends",
            "prog_go_server",
            "prog_go_tell",
            "prog_go_proof",
        ),
        _GO_STREAMS,
    ),
    **dict.fromkeys(("kp_messages", "kp_message"), "databases over TLS"),
    **dict.fromkeys(("prog_tls", "kp_data", "kp_go", "kp_output", "kp_go_stack", "kp_http2"), _TLS),
    **dict.fromkeys(
        ("prog_pool", "prog_py_work", "prog_py_wait"), "for whom threads of pools work"
    ),
    **dict.fromkeys(("kp_headers", "kp_header_map", "kp_header_rest"), _HEADERS),
    "kp_frames": "Node's frames of AsyncLocalStorage when they move",
    "prog_python": "whose task of CPython's asyncio asked",
    **dict.fromkeys(
        ("prog_messages", "prog_message_first", "prog_message"),
        "protocols of databases and the like",
    ),
    **dict.fromkeys(
        ("prog_datagram_send", "prog_datagram_receive", "prog_datagram", "prog_datagram_who"),
        "DNS over UDP",
    ),
    "prog_slice": "databases' messages behind the first 4 KiB of a segment",
}
"""Programs that an older kernel's verifier may refuse, and what is not seen without them.
Everything else goes on: a jump to a program that is not there leads nowhere."""

UPROBE_TAIL_PROGRAMS: tuple[str, ...] = (
    "kp_data",
    "kp_go",
    "kp_output",
    "kp_go_stack",
    "kp_http2",
    "kp_headers",
    "kp_header_map",
    "kp_header_rest",
    "kp_messages",
    "kp_frames",
    "kp_message",
)
"""Programs of ``__progs_jmp_kp_map``, by index; those that uprobes' programs go on with."""


def probe_plan() -> list[Probe]:
    """Every probe of the socket half, in the order of attachment.

    Exits come before entries: an exit without its entry does nothing, while an entry
    without its exit would leave its arguments behind.
    """
    probes = [
        Probe(TRACEPOINT, f"syscalls:sys_exit_{name}", f"exit_{name}")
        for name in (*_PAIRS, *_RECEIVES)
    ]
    probes += [
        Probe(TRACEPOINT, f"syscalls:sys_exit_{call}", leave, optional)
        for call, _, leave, optional in _SHARED
        if leave
    ]
    probes += [Probe(TRACEPOINT, f"syscalls:sys_enter_{name}", f"enter_{name}") for name in _PAIRS]
    probes += [
        Probe(TRACEPOINT, f"syscalls:sys_enter_{call}", enter, optional)
        for call, enter, _, optional in _SHARED
        if enter
    ]
    probes += [
        Probe(RAW_TRACEPOINT, "sched_process_fork", "on_fork"),
        Probe(TRACEPOINT, "sched:sched_process_exec", "on_exec"),
        Probe(TRACEPOINT, "sched:sched_process_exit", "on_exit"),
    ]
    return probes


def turn_probes() -> list[Probe]:
    """Where turns of event loops begin; attached when the first such process is seen."""
    return [
        Probe(TRACEPOINT, f"syscalls:sys_{way}_{call}", f"{way}_epoll", call == "epoll_wait")
        for way in ("exit", "enter")
        for call in ("epoll_wait", "epoll_pwait")
    ]


def pool_probes() -> list[Probe]:
    """Who wakes whom; attached when the first process has shown that it needs this."""
    return [Probe(TRACEPOINT, f"syscalls:sys_{way}_futex", f"{way}_futex")
            for way in ("exit", "enter")]  # fmt: skip


def receive_entries() -> list[Probe]:
    """Entries of the receiving calls, for kernels where their exits cannot read the
    registers of the entry. Without them a receive costs one probe and no map."""
    return [Probe(TRACEPOINT, f"syscalls:sys_enter_{name}", f"enter_{name}") for name in _RECEIVES]
