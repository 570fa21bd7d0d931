"""Where goroutines of a kind are started: from the memory of goroutines, proved by the code."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.discovery.go_proof import Memory
from otel_ebpf.discovery.go_statements import MAX_STATEMENTS, statement_places, statements
from tests.unit.discovery.test_go_callers import program

ALLGS, ARRAY, G = 0x1000, 0x2000, 0x100000
OFFSETS = {"runtime.g.startpc": 312, "runtime.g.gopc": 296, "runtime.g.parentGoid": 288}
BIAS = 0x70000


def memory(goroutines: list[tuple[int, int]]) -> dict[int, bytes]:
    """A process's memory in pieces; a goroutine is (startpc, gopc)."""
    pieces = {
        ALLGS + BIAS: struct.pack("<QQQ", ARRAY, len(goroutines), len(goroutines)),
        ARRAY: b"".join(struct.pack("<Q", G + 512 * n) for n in range(len(goroutines))),
    }
    for number, (start, pc) in enumerate(goroutines):
        g = bytearray(512)
        struct.pack_into("<Q", g, 312, start)
        struct.pack_into("<Q", g, 296, pc)
        pieces[G + 512 * number] = bytes(g)
    return pieces


def reader(pieces: dict[int, bytes]) -> Memory:
    def read(address: int, size: int) -> bytes:
        for start, piece in pieces.items():
            if start <= address < start + len(piece):
                return piece[address - start : address - start + size]
        return b""

    return read


GO = program(OFFSETS, addresses={"runtime.allgs": ALLGS})


def test_statements_that_start_a_function_the_most_frequent_first() -> None:
    pieces = memory([(7, BIAS + 10), (8, BIAS + 99), (7, BIAS + 20), (7, BIAS + 20)])
    assert statements(GO, reader(pieces), BIAS, 7) == [20, 10]
    many = memory([(7, BIAS + n) for n in range(1000)])
    assert len(statements(GO, reader(many), BIAS, 7)) == MAX_STATEMENTS


def test_goroutines_that_vanish_and_fields_that_are_not_known_give_nothing() -> None:
    pieces = memory([(7, BIAS + 10)] * 3)
    del pieces[G + 512]
    assert statements(GO, reader(pieces), BIAS, 7) == [10]
    del pieces[ARRAY]
    assert statements(GO, reader(pieces), BIAS, 7) == []
    old = program({k: v for k, v in OFFSETS.items() if "parent" not in k}, addresses=GO.addresses)
    assert statements(old, reader(memory([(7, 10)])), BIAS, 7) == []


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_nonsense_in_memory_raises_nothing(header: bytes, array: bytes) -> None:
    def read(address: int, size: int) -> bytes:
        return (header if address == ALLGS else array)[:size]

    statements(GO, read, 0, 7)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (b"\xe8" + struct.pack("<i", 0x100 - 0x25), True),  # CALL runtime.newproc
        (b"\xe8" + struct.pack("<i", 0x100 - 0x24), False),  # somewhere else
        (b"\xe9" + struct.pack("<i", 0x100 - 0x25), False),  # a jump
    ],
)
def test_only_behind_a_call_of_newproc(tmp_path: Path, code: bytes, found: bool) -> None:
    """The code is at 0x400000, the file's byte 0; the call at 0x20; newproc at 0x100."""
    go = program({}, addresses={"runtime.newproc": 0x400100}, places={"runtime.newproc": 0x100})
    file = tmp_path / "program"
    file.write_bytes(bytes(0x20) + code + bytes(0x200))
    descriptor = os.open(file, os.O_RDONLY)
    try:
        places = statement_places(descriptor, go, [0x400025, 0x3, 1 << 63, 0x500000])
    finally:
        os.close(descriptor)
    assert places == ([(0x25, "go_statement")] if found else [])
