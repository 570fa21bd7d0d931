"""Guessed offsets against running programs: the right ones are proved, others never."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.discovery.go_binary import GoBinary, read_go_binary
from otel_ebpf.discovery.go_proof import LEAST, goroutines, memory_of, prove, proved
from otel_ebpf.discovery.load_address import load_bias
from tests.gobuild import go_command
from tests.unit.discovery.test_go_versions import PIE, STRIP, TOOLCHAINS, build

PROVABLE = (
    "runtime.g.goid",
    "runtime.g.startpc",
    "runtime.g.stack.lo",
    "runtime.g.stack.hi",
    "runtime.g.parentGoid",
)


@pytest.fixture(params=[(t, k) for t in TOOLCHAINS for k in ((STRIP,), (PIE, STRIP))], ids=str)
def running(request: pytest.FixtureRequest) -> Iterator[tuple[int, GoBinary]]:
    """A process of a stripped program, and what the table knows of it."""
    if go_command() is None:
        pytest.skip("no Go on this machine")
    toolchain, flags = request.param
    program = build(toolchain, *flags)
    go = read_go_binary(program)
    assert go is not None
    with subprocess.Popen([program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it listens
        yield process.pid, go
        process.kill()


def test_right_guesses_are_proved_and_shifted_ones_are_not(running: tuple[int, GoBinary]) -> None:
    pid, go = running
    bias = load_bias(pid, go.entry) if go.pie else 0
    assert bias is not None
    memory = memory_of(pid)
    unknown = replace(go, offsets={}, guesses=go.offsets)
    known = prove(unknown, memory, bias)
    assert known is not None
    right = {name: go.offsets[name] for name in PROVABLE if name in go.offsets}
    assert len(right) >= 4
    assert known.offsets == right
    assert set(known.guesses) == set(go.offsets) - set(right)
    for name in right:
        for shift in (-16, -8, 8, 16):
            moved = replace(unknown, guesses={**go.offsets, name: go.offsets[name] + shift})
            told = prove(moved, memory, bias)
            assert told is not None
            assert name not in told.offsets, f"{name} {shift:+d}"


def test_a_process_that_cannot_be_read_proves_nothing() -> None:
    assert memory_of(2**22 + 1)(0x1000, 8) == b""
    assert goroutines(lambda *_: b"", 0x1000) == []


@given(
    st.lists(st.binary(min_size=0, max_size=64), max_size=6),
    st.dictionaries(st.sampled_from(PROVABLE), st.integers(-8, 600)),
)
def test_any_bytes_give_guesses_or_nothing(gs: list[bytes], guesses: dict[str, int]) -> None:
    assert proved(gs, guesses, 0x1000).items() <= guesses.items()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=700))
def test_lying_memory_is_bounded(first: int, count: int, body: bytes) -> None:
    asked = 0

    def memory(address: int, size: int) -> bytes:
        nonlocal asked
        asked += size
        header = struct.pack("<QQ", first, count)
        return (header if address == 8 else body)[:size]

    assert isinstance(goroutines(memory, 8), list)
    assert asked < 1 << 20
    assert LEAST > 1
