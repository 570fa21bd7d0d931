"""Where a Go program's TLS is seen: which calls of crypto/tls get probes, and what they read.

``Read`` on every RET alone where its arguments can be found there, one hit a call;
``(*Conn).Write`` not at all where its frame tells, else on its entry and on every RET, two hits;
the handshakes on entry and RETs, once a connection. See decisions 0015 and 0051.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_kept import arguments_kept
from otel_ebpf.discovery.go_returns import return_offsets
from otel_ebpf.discovery.go_slots import arguments_at_calls

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
        "tls_out_seq": offsets.get("crypto/tls.Conn.out.seq", -1),
        "tls_vers": offsets.get("crypto/tls.Conn.vers", -1),
        "tls_suite": offsets.get("crypto/tls.Conn.cipherSuite", -1),
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
        places: (offset in the file, program), ways out before ways in; not Write's.
        write_places: those at Write, which are needed where its frame does not tell.
        kept: Read's arguments are found at its RETs, so that it needs no probe at its entry.
        frame: members of ``struct proc_info_t`` by which a Write is found on the stack, with
            addresses as linked. Empty: its frame does not tell.
    """

    places: tuple[tuple[int, str], ...]
    write_places: tuple[tuple[int, str], ...]
    kept: bool
    frame: Mapping[str, int]

    def attached(self, probed: bool) -> tuple[tuple[int, str], ...]:
        """All probes; ``probed``: Write has some although its frame tells."""
        if self.frame and not probed:
            return self.places
        # Ways out before ways in.
        every = (*self.places, *self.write_places)
        return tuple(sorted(every, key=lambda place: place[1].endswith("_enter")))

    def hits(self, probed: bool = False) -> dict[str, int]:
        """Uprobe hits of one call of each kind."""
        return {
            "Read": 1 if self.kept else 2,
            "Write": 0 if self.frame and not probed else 2,
        }

    def members(self, probed: bool, load_bias: int) -> dict[str, int]:
        """Members of ``struct proc_info_t`` for a process that is loaded there and has all its
        probes."""
        members = {"tls_kept": int(self.kept), "tls_armed": 1}
        if self.frame and not probed:
            members.update(self.frame)
            for end in ("tls_write_start", "tls_write_end"):
                members[end] += load_bias
        return members


def _write_frame(descriptor: int, go: GoBinary) -> dict[str, int]:
    """Members by which a Write is found on the stack; empty where that is not certain."""
    members = tls_members(go)
    start, size = go.addresses.get(WRITE), go.sizes.get(WRITE, 0)
    known = all(members[name] >= 0 for name in ("tls_out_seq", "tls_vers", "tls_suite"))
    if start is None or not size or not known or members["g_stack_hi"] < 8:
        return {}
    places = arguments_at_calls(
        descriptor, go.symbols[WRITE], size, 3, in_registers=go.version >= REGISTER_ABI
    )
    if not places:
        return {}
    names = ("tls_write_conn", "tls_write_buf", "tls_write_len")
    return {
        "tls_write_start": start,
        "tls_write_end": start + size,
        **dict(zip(names, places, strict=True)),
    }


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
    handshakes: list[bool] = []
    for symbol, program in _CALLS:
        at = go.symbols.get(symbol)
        if at is None:
            continue
        returns = return_offsets(descriptor, at, go.sizes.get(symbol, 0))
        if symbol in HANDSHAKES:
            handshakes.append(bool(returns))
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
    every = (*out, *entries)
    # Only who sees a connection shake hands knows that its first Write is the first.
    frame = _write_frame(descriptor, go) if kept and handshakes and all(handshakes) else {}
    return TlsPlan(
        tuple(place for place in every if not place[1].startswith("go_tls_write")),
        tuple(place for place in every if place[1].startswith("go_tls_write")),
        kept,
        frame,
    )
