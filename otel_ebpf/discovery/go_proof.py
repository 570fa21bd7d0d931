"""Proving guessed offsets of a goroutine's fields on the running process.

A version of Go newer than the table, without debugging data, has guesses only: where the
fields were before. Whether they are still there shows in the goroutines themselves: ids
are unique and dealt in order, the first is 1 and runs ``runtime.main``, stacks have two
ends, parents are older than their children. What does not show is not used.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.procfs import ProcFs

ALLGS = "runtime.allgs"
MAIN = "runtime.main"
MAX_GOROUTINES = 256
LEAST = 3
"""Goroutines that must bear witness. Every program has more once its runtime is up."""
_SIZE = 512
"""Bytes of a ``g`` that are looked at."""
MAX_GOID = 1 << 40

Memory = Callable[[int, int], bytes]
"""Address and size -> bytes of the process; fewer where it has none."""


def _word(raw: bytes, offset: int | None) -> int:
    if offset is None or not 0 <= offset <= len(raw) - 8:
        return -1
    return int(struct.unpack_from("<Q", raw, offset)[0])


def goroutines(memory: Memory, allgs: int) -> list[bytes]:
    """The first bytes of each ``g`` in ``runtime.allgs``, oldest first."""
    header = memory(allgs, 16)
    first, count = _word(header, 0), _word(header, 8)
    if first <= 0 or not 0 < count < 1 << 24:
        return []
    count = min(count, MAX_GOROUTINES)
    pointers = memory(first, 8 * count)
    found = []
    for (at,) in struct.iter_unpack("<Q", pointers[: len(pointers) // 8 * 8]):
        raw = memory(at, _SIZE)
        if len(raw) < _SIZE:
            return []
        found.append(raw)
    return found


def proved(gs: list[bytes], guesses: Mapping[str, int], main: int | None) -> dict[str, int]:
    """Those of the guesses that the goroutines bear out.

    Args:
        gs: as :func:`goroutines` gives them.
        guesses: offsets in bytes by the names of ``go_fields.FIELDS``.
        main: address of ``runtime.main`` in the process.
    """
    found: dict[str, int] = {}
    if len(gs) < LEAST:
        return found
    low, high = guesses.get("runtime.g.stack.lo"), guesses.get("runtime.g.stack.hi")
    stacks = [(_word(g, low), _word(g, high)) for g in gs]
    used = [(lo, hi) for lo, hi in stacks if lo or hi]  # a dead one may have none
    ends = all(0 < lo < hi and 2048 <= hi - lo <= 1 << 30 for lo, hi in used)
    if low is not None and high is not None and len(used) >= LEAST and ends:
        found |= {"runtime.g.stack.lo": low, "runtime.g.stack.hi": high}
    goid = guesses.get("runtime.g.goid")
    ids = [_word(g, goid) for g in gs]
    if goid is None or ids[0] != 1 or len(set(ids)) != len(ids):
        return found
    if not all(0 < number < MAX_GOID for number in ids):
        return found
    found["runtime.g.goid"] = goid
    start = guesses.get("runtime.g.startpc")
    if start is not None and main is not None and _word(gs[0], start) == main:
        found["runtime.g.startpc"] = start
    parent = guesses.get("runtime.g.parentGoid")
    # Main was born by nobody; some others by main, and none by one that came after it.
    bearers = [_word(g, parent) for g in gs]
    older = all(0 <= by < number for by, number in zip(bearers, ids, strict=True))
    if parent is not None and bearers[0] == 0 and older and bearers.count(1) >= LEAST - 1:
        found["runtime.g.parentGoid"] = parent
    return found


def memory_of(pid: int, proc: ProcFs | None = None) -> Memory:
    """Reads a process's memory through /proc/PID/mem; b"" where that is refused."""
    path = (proc or ProcFs()).path(pid, "mem")

    def read(address: int, size: int) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, size, address)
        except (OSError, OverflowError):
            return b""
        finally:
            os.close(descriptor)

    return read


def prove(go: GoBinary, memory: Memory, load_bias: int) -> GoBinary | None:
    """The program with those guesses that its process bears out; None when it cannot tell yet.

    ``load_bias`` is what is added to addresses as linked.
    """
    allgs = go.addresses.get(ALLGS)
    if allgs is None or not go.guesses:
        return go
    gs = goroutines(memory, allgs + load_bias)
    if len(gs) < LEAST:
        return None
    main = go.addresses.get(MAIN)
    guesses = {**go.guesses, **go.offsets}
    found = proved(gs, guesses, None if main is None else main + load_bias)
    rest = {name: at for name, at in go.guesses.items() if name not in found}
    return replace(go, offsets={**go.offsets, **found}, guesses=rest)
