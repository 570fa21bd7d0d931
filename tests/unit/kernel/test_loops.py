"""Loops that old kernels take."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.kernel.loops import falls_back, mend_loops

EXIT = (0x95, 0, 0, 0)
ADD = (0x07, 0, 0, 1)  # r0 += 1
LOAD_64 = ((0x18, 1, 0, 7), (0, 0, 0, 0))


def goto(distance: int) -> tuple[int, int, int, int]:
    return (0x05, 0, distance, 0)


def unless(distance: int, number: int = 3) -> tuple[int, int, int, int]:
    """if r0 > number: goto distance"""
    return (0x25, 0, distance, number)


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<BBhi", *i) for i in instructions)


def run(code: bytes, steps: int = 200) -> list[tuple[int, int]]:
    """What a program of the instructions above does: (operation, number) of each but jumps."""
    instructions = list(struct.iter_unpack("<BBhi", code))
    at = r0 = 0
    done: list[tuple[int, int]] = []
    while len(done) < steps:
        operation, _, distance, number = instructions[at]
        at += 1
        if operation == 0x05:
            at += distance
            continue
        if operation == 0x25:
            at += distance if r0 > number else 0
            continue
        done.append((operation, number))
        if operation == 0x95:
            break
        if operation == 0x07:
            r0 += number
        if operation == 0x18:
            at += 1
    return done


# goto head; body: r0 += 1; head: if r0 > 3 goto out; goto body; out: exit
BODY_BEFORE_HEAD = program(goto(1), ADD, unless(1), goto(-3), EXIT)


def test_a_body_that_runs_into_its_head_gets_a_jump() -> None:
    assert falls_back(BODY_BEFORE_HEAD) == [1]
    mended = mend_loops(BODY_BEFORE_HEAD)
    assert falls_back(mended) == []
    assert len(mended) == len(BODY_BEFORE_HEAD) + 8
    assert run(mended) == run(BODY_BEFORE_HEAD)


def test_a_wide_load_at_the_end_of_the_body() -> None:
    code = program(goto(3), ADD, *LOAD_64, unless(1), goto(-5), EXIT)
    assert falls_back(code) == [3]
    mended = mend_loops(code)
    assert falls_back(mended) == []
    assert run(mended) == run(code)


def test_a_program_without_such_a_loop_stays_as_it_is() -> None:
    code = program(ADD, unless(1), goto(-3), EXIT)
    assert mend_loops(code) == code


@given(st.data())
def test_what_a_program_does_is_the_same(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 12))
    instructions = [ADD]
    for at in range(1, size):
        distance = data.draw(st.integers(-at - 1, size - at - 1))
        instructions.append(data.draw(st.sampled_from((ADD, goto(distance), unless(distance)))))
    code = program(*instructions, EXIT)
    if _endless(code):
        return
    mended = mend_loops(code)
    assert falls_back(mended) == []
    assert run(mended) == run(code)


def _endless(code: bytes) -> bool:
    """It goes round without doing anything, which the model above cannot end."""
    instructions = list(struct.iter_unpack("<BBhi", code))
    at = r0 = 0
    for _ in range(2000):
        operation, _, distance, number = instructions[at]
        if operation == 0x95:
            return False
        at += 1
        if operation == 0x07:
            r0 += number
        elif operation == 0x05 or r0 > number:
            at += distance
    return True
