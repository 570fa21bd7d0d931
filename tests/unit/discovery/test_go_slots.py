"""Where arguments are while a function is inside of a call, read from its machine code."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.discovery.go_binary import read_go_binary
from otel_ebpf.discovery.go_slots import arguments_at_calls, held_at_calls
from otel_ebpf.discovery.go_tls_calls import WRITE, tls_plan
from tests.e2e.truth import TRUTH
from tests.gobuild import build_go

BEGIN = "55 4889e5 4883ec40"  # push rbp; mov rbp, rsp; sub rsp, 0x40
OLD = "4883ec40 48896c2438 488d6c2438"  # before Go 1.21: rbp below the return address as well
HOME = "4889442450 48895c2458 48894c2460"  # [rsp+0x50..]: rax, rbx, rcx where the ABI has room
LOCAL = BEGIN + "4889442420 48895c2458 48894c2460"
CALL, END = "e800000000", "4883c440 5d c3"
ABI = [16, 24, 32]


def hex_code(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


@pytest.mark.parametrize(
    ("code", "places"),
    [
        (BEGIN + HOME + CALL + END, ABI),
        (OLD + "4889442448 48895c2450 48894c2458" + CALL + "488b6c2438 4883c440 c3", ABI),
        # The receiver in a local place of its own: [rsp+0x20], that is rbp-0x20.
        (LOCAL + CALL + "488b442420" + CALL + END, [-32, 24, 32]),
        # Not read again: perhaps it is the called function's, to do with as it likes.
        (LOCAL + CALL + END, []),
        # By way of another register, and around a loop that keeps it: r8 = rax; je back.
        (BEGIN + HOME + "4989c0 4c89442420" + "74f6" + CALL + END, ABI),
        # One is missing.
        (BEGIN + "4889442450 48895c2458" + CALL + END, []),
        # Behind the call only.
        (BEGIN + CALL + HOME + CALL + END, []),
        # Changed before it is stored: xor eax, eax.
        (BEGIN + "31c0" + HOME + CALL + END, []),
        # Its place is stored to again, by another value, before the second call: rdx; one byte.
        (BEGIN + HOME + CALL + "4889542450" + CALL + END, []),
        (BEGIN + HOME + CALL + "c644245701" + CALL + END, []),
        # On one path only: jne over the stores.
        (BEGIN + "750f" + HOME + CALL + END, []),
        # Its address is taken: lea rdx, [rsp+0x58].
        (BEGIN + HOME + "488d542458" + CALL + END, []),
        # rbp is no frame: mov rbp, rax.
        ("55 4889c5 4883ec40" + HOME + CALL + END, []),
        # No call; a table of jumps; a jump to nowhere; nothing.
        (BEGIN + HOME + END, []),
        (BEGIN + HOME + CALL + "ffe0", []),
        (BEGIN + HOME + CALL + "eb7f", []),
        ("", []),
    ],
)
def test_arguments_are_followed_on_every_path(code: str, places: list[int]) -> None:
    assert held_at_calls(hex_code(code), 3) == places


def test_arguments_on_the_stack_are_where_they_came() -> None:
    assert held_at_calls(hex_code(BEGIN + CALL + END), 3, in_registers=False) == ABI
    moved = BEGIN + "4889542458" + CALL + END  # [rsp+0x58] = rdx
    assert held_at_calls(hex_code(moved), 3, in_registers=False) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_gone_through(code: bytes) -> None:
    assert len(held_at_calls(code, 3)) in (0, 3)
    assert len(held_at_calls(hex_code(BEGIN + HOME) + code, 3)) in (0, 3)


def test_the_real_write_is_told_by_its_frame() -> None:
    program = build_go(TRUTH)
    go = read_go_binary(program)
    assert go is not None
    descriptor = os.open(program, os.O_RDONLY)
    try:
        places = arguments_at_calls(descriptor, go.symbols[WRITE], go.sizes[WRITE], 3)
        plan = tls_plan(descriptor, go)
    finally:
        os.close(descriptor)
    assert len(places) == 3 and places[1:] == ABI[1:]
    assert plan is not None and plan.hits() == {"Read": 1, "Write": 0}
    assert plan.hits(probed=True)["Write"] == 2
    assert not any("write" in name for _, name in plan.attached(probed=False))
    # Every way out is there before any way in.
    names = [program for _, program in plan.attached(probed=True)]
    assert names == sorted(names, key=lambda name: name.endswith("_enter"))
    assert {"go_tls_write_enter", "go_tls_write_exit"} <= set(names)
    start = go.addresses[WRITE]
    assert plan.members(probed=False, load_bias=0x1000)["tls_write_start"] == start + 0x1000
    assert "tls_write_end" not in plan.members(probed=True, load_bias=0)
