"""How it is told which goroutine a thread runs, and who bore it, for one Go program.

Memory tells for nothing: g in thread-local storage and, since Go 1.21, g.parentGoid.
Where it does not, the scheduler is watched: uprobes on runtime.casgstatus (a hit each time
a goroutine is scheduled) and on runtime.newproc1 and its RETs (two hits for each goroutine
that is started).
"""

from __future__ import annotations

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_returns import return_offsets

CASGSTATUS = "runtime.casgstatus"
NEWPROC1 = "runtime.newproc1"
TLS, UPROBE, BOTH = 0, 1, 2
"""enum go_identity of the C side."""
_REGISTERS = (1, 17, 0)
"""The version since which arguments travel in registers on amd64."""
_THREE_ARGUMENTS = (1, 18, 0)
_RESULT = (1, 15, 0)
"""Since then newproc1 returns the new goroutine; before, it cannot be told who was born."""


def stack_abi(go: GoBinary) -> bool:
    """Whether arguments and results are on the stack."""
    return go.version < _REGISTERS


def _scheduler_seen(go: GoBinary) -> bool:
    known = "runtime.g.goid" in go.offsets and go.version >= _RESULT
    # With that experiment 1.17 and 1.18 pass arguments in another way.
    return known and "noregabi" not in go.version_text


def chosen_way(go: GoBinary, asked: str) -> int | None:
    """``TLS``, ``UPROBE`` or ``BOTH``; None when goroutines cannot be told apart.

    ``asked`` is one of ``ways.IDENTITY_WAYS``.
    """
    tls = go.g_tls_offset is not None and "runtime.g.goid" in go.offsets
    watched = _scheduler_seen(go) and CASGSTATUS in go.symbols
    if asked == "both" and tls and watched:
        return BOTH
    if asked == "uprobe":
        return UPROBE if watched else None
    if tls:
        return TLS
    return UPROBE if watched and asked != "tls" else None


def births_seen(go: GoBinary) -> bool:
    """Whether newproc1 can tell who bears whom."""
    return _scheduler_seen(go) and NEWPROC1 in go.symbols and go.sizes.get(NEWPROC1, 0) > 0


def births_needed(go: GoBinary, way: int | None) -> bool:
    """Whether nothing but newproc1 tells who bore a goroutine, or when."""
    if way is None:
        return False
    # Numbers that are still to be dealt prove the time; only symbols lead to them.
    dated = {"runtime.sched", "runtime.allp"} <= go.addresses.keys()
    return way == UPROBE or not dated or "runtime.g.parentGoid" not in go.offsets


def identity_members(go: GoBinary, way: int | None, births: bool) -> dict[str, int]:
    """Members of ``struct proc_info_t`` for who is running."""
    return {
        "identity": TLS if way is None else way,
        "newproc": int(births),
        "stack_abi": int(stack_abi(go)),
        "newproc_caller": 2 if go.version >= _THREE_ARGUMENTS else 4,
    }


def identity_places(
    descriptor: int, go: GoBinary, way: int | None, births: bool
) -> list[tuple[int, str]]:
    """(offset in the file, program) of the uprobes that this takes; none for TLS alone.

    ``descriptor`` is the open program, in which newproc1's RETs are looked for.
    """
    places = []
    if way in (UPROBE, BOTH):
        places.append((go.symbols[CASGSTATUS], "go_casgstatus"))
    if births:
        offset = go.symbols[NEWPROC1]
        leaves = return_offsets(descriptor, offset, go.sizes[NEWPROC1])
        if leaves:
            # The ways out first: a way in without them would leave its caller behind.
            places += [(at, "go_newproc1_return") for at in leaves]
            places.append((offset, "go_newproc1"))
    return places
