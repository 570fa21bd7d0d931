"""Whether a function keeps its arguments on the stack, read from its machine code."""

from __future__ import annotations

import os

import pytest

from otel_ebpf.discovery.go_binary import read_go_binary
from otel_ebpf.discovery.go_kept import arguments_kept, kept
from otel_ebpf.discovery.go_tls_calls import READ, tls_plan
from tests.e2e.truth import TRUTH
from tests.gobuild import build_go

FRAME = "4883ec58"  # sub rsp, 0x58
PUSHED = "55 4889e5" + FRAME
RAX, RBX, RCX = "4889442468", "48895c2470", "48894c2478"  # above a frame with a pushed rbp


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (PUSHED + RAX + RCX + RBX, 3),
        (PUSHED + RAX + RBX, 2),
        (PUSHED + RBX + RCX, 0),  # the receiver is what matters most
        (PUSHED + RAX + RCX, 1),
        (FRAME + "4889442460" + "48895c2468", 2),  # no frame pointer: one word less
        (FRAME + RAX + RBX, 0),  # elsewhere in the frame: something else's place
        (PUSHED + "31c0" + RAX + RBX, 0),  # xor eax, eax: it holds the argument no more
        (PUSHED + "e800000000" + RAX, 0),  # behind a call
        ("", 0),
        ("ff" * 20, 0),
    ],
)
def test_arguments_are_kept_where_the_abi_leaves_room_for_them(code: str, arguments: int) -> None:
    assert kept(bytes.fromhex(code)) == arguments


def test_the_real_read_keeps_its_arguments() -> None:
    program = build_go(TRUTH)
    go = read_go_binary(program)
    assert go is not None
    descriptor = os.open(program, os.O_RDONLY)
    try:
        assert arguments_kept(descriptor, go.symbols[READ], go.sizes[READ]) >= 2
        plan = tls_plan(descriptor, go)
    finally:
        os.close(descriptor)
    assert plan is not None and plan.kept
    # Every way out is there before any way in.
    names = [program for _, program in plan.places]
    assert names == sorted(names, key=lambda name: name.endswith("_enter"))
    assert "go_tls_read_enter" not in names
