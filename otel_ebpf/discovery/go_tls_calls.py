"""Where a Go program's TLS is seen: which calls of crypto/tls get probes, and what they read.

``(*Conn).Write`` on its entry and on every RET, two uprobe hits a call; ``Read`` on every RET
alone where its arguments can be found there, one hit a call; the handshakes on entry and RETs,
once a connection. See decision 0015.
"""

from __future__ import annotations

from dataclasses import dataclass

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_kept import arguments_kept
from otel_ebpf.discovery.go_returns import return_offsets

REGISTER_ABI = (1, 17, 0)
"""The first Go that hands arguments over in registers (x86-64)."""

READ, WRITE = "crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write"
HANDSHAKES = ("crypto/tls.(*Conn).clientHandshake", "crypto/tls.(*Conn).serverHandshake")
_CALLS = (
    (READ, "go_tls_read"),
    (WRITE, "go_tls_write"),
    *((handshake, "go_tls_handshake") for handshake in HANDSHAKES),
)


def tls_members(go: GoBinary) -> dict[str, int]:
    """Members of ``struct proc_info_t`` that the TLS probes read; -1 where not known."""
    offsets = go.offsets
    return {
        "g_stack_hi": offsets.get("runtime.g.stack.hi", -1),
        "tls_complete": offsets.get(
            "crypto/tls.Conn.isHandshakeComplete",
            offsets.get("crypto/tls.Conn.handshakeStatus", -1),
        ),
        "tls_raw_input": offsets.get("crypto/tls.Conn.rawInput", -1),
        "tls_input": offsets.get("crypto/tls.Conn.input", -1),
    }


def tls_wanted(go: GoBinary) -> bool:
    """Whether the program can use TLS and its goroutines can be told apart."""
    members = tls_members(go)
    return (
        READ in go.symbols
        and WRITE in go.symbols
        and members["g_stack_hi"] >= 0
        and members["tls_complete"] >= 0
    )


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """Where the probes of one program go.

    Attributes:
        places: (offset in the file, program), ways out before ways in.
        kept: Read's arguments are found at its RETs, so that it needs no probe at its entry.
    """

    places: tuple[tuple[int, str], ...]
    kept: bool

    def hits(self) -> dict[str, int]:
        """Uprobe hits of one call of each kind."""
        return {"Read": 1 if self.kept else 2, "Write": 2}


def tls_plan(descriptor: int, go: GoBinary) -> TlsPlan | None:
    """``descriptor`` is the open program. None: its TLS cannot be seen.

    A call whose RETs cannot all be found gets no probe: its entry would leave its arguments
    behind, and without Read or Write only half of each conversation would be told.
    """
    if not tls_wanted(go):
        return None
    kept = go.version < REGISTER_ABI or (
        arguments_kept(descriptor, go.symbols[READ], go.sizes.get(READ, 0)) >= 2
    )
    out: list[tuple[int, str]] = []
    entries: list[tuple[int, str]] = []
    for symbol, program in _CALLS:
        at = go.symbols.get(symbol)
        if at is None:
            continue
        returns = return_offsets(descriptor, at, go.sizes.get(symbol, 0))
        if not returns:
            if symbol in (READ, WRITE):
                return None
            continue
        leave = f"{program}_exit"
        if symbol == READ and not kept:
            leave = f"{program}_exit_paired"
        out += [(place, leave) for place in returns]
        if symbol != READ or not kept:
            entries.append((at, f"{program}_enter"))
    return TlsPlan((*out, *entries), kept)
