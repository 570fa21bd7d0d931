"""Where libuv's loop is at: one word of the stack, behind the call of what waits."""

from __future__ import annotations

import os
import random
import struct

from otel_ebpf.discovery.libuv import place, read_loop

RUN = 0x18AC720
POLL = 0x18C0120
BACK = 0x187  # behind the call in uv_run
EVENTS = 0x3000


def code(back: int = BACK, called: int = POLL) -> bytes:
    body = bytearray(b"\x90" * 0x400)
    body[back - 5 : back] = b"\xe8" + struct.pack("<i", called - (RUN + back))
    return bytes(body)


def stack(size: int, words: dict[int, int]) -> bytes:
    held = bytearray(size)
    for at, word in words.items():
        held[at : at + 8] = struct.pack("<Q", word)
    return bytes(held)


BELOW = stack(0x800, {0x40: 0x7F39F6446CAE, 0x100: POLL + 0x2A1})
ABOVE = stack(0x8000, {EVENTS + 0x38: RUN + BACK, EVENTS + 0x90: 0x400123})


def test_the_word_is_behind_the_call_of_the_function_that_waits() -> None:
    assert place(code(), RUN, BELOW, ABOVE) == (EVENTS + 0x38, BACK)


def test_what_does_not_fit_in_every_way_gives_nothing() -> None:
    other = code(called=POLL + 0x10000)  # what it calls is not on the stack below
    assert place(other, RUN, BELOW, ABOVE) is None
    assert place(b"\x90" * 0x400, RUN, BELOW, ABOVE) is None  # no call is there
    assert place(code(), RUN, stack(0x800, {}), ABOVE) is None
    assert place(code(), RUN, BELOW, stack(0x8000, {})) is None
    # One left from a loop within: which of them goes on is not told.
    twice = stack(0x8000, {0x100: RUN + BACK, EVENTS + 0x38: RUN + BACK})
    assert place(code(), RUN, BELOW, twice) is None


def test_bytes_of_any_kind_are_borne() -> None:
    chance = random.Random(1)
    for size in range(200):
        place(chance.randbytes(size), RUN, chance.randbytes(size & ~7), chance.randbytes(size))


def test_another_program_has_none() -> None:
    assert read_loop(os.getpid()) == {}
    assert read_loop(1 << 30) == {}
