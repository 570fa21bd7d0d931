"""Loops as kernels before 6.4 want them: whoever goes round must jump.

Their verifier walks a program depth first and refuses one in which an instruction that is no
jump is followed by one that is on the walk's way already ("back-edge"). Compilers lay out
loops so, with the end of the body right before the head. A jump over nothing between the two
makes the same program one that they take.
"""

from __future__ import annotations

import struct

_INSTRUCTION = struct.Struct("<BBhi")
_SIZE = _INSTRUCTION.size
_LOAD_64 = 0x18
_JUMP, _JUMP_32 = 5, 6
_GOTO, _CALL, _EXIT = 0x05, 0x85, 0x95
_GOTO_NEXT = _INSTRUCTION.pack(_GOTO, 0, 0, 0)


def mend_loops(code: bytes) -> bytes:
    """The same program, with a jump wherever a loop's body runs into its head.

    Args:
        code: instructions of 8 bytes, without calls of functions within it.
    """
    while places := falls_back(code):
        for place in sorted(places, reverse=True):
            code = _insert_jump(code, place)
    return code


def falls_back(code: bytes) -> list[int]:
    """Indices of the instructions that go back without a jump; what old kernels refuse."""
    instructions = list(_INSTRUCTION.iter_unpack(code))
    seen: set[int] = set()
    done: set[int] = set()
    found: list[int] = []
    way: list[tuple[int, list[tuple[int, bool]]]] = []

    def enter(at: int) -> None:
        seen.add(at)
        way.append((at, _followers(instructions, at)))

    enter(0)
    while way:
        at, left = way[-1]
        if not left:
            done.add(at)
            way.pop()
            continue
        follower, jumps = left.pop(0)
        if follower not in seen:
            enter(follower)
        elif follower not in done and not jumps:
            found.append(at)
    return found


def _followers(instructions: list[tuple[int, ...]], at: int) -> list[tuple[int, bool]]:
    """(index, whether a jump leads there) of what may follow, in the kernel's order."""
    operation, _, distance, _ = instructions[at]
    if operation & 7 not in (_JUMP, _JUMP_32) or operation == _CALL:
        return [(at + 1, False)] if at + 1 < len(instructions) else []
    if operation == _EXIT:
        return []
    if operation == _GOTO:
        return [(at + 1 + distance, True)]
    return [(at + 1, True), (at + 1 + distance, True)]


def _insert_jump(code: bytes, place: int) -> bytes:
    """A jump over nothing behind ``place``; those that lead past it reach one further."""
    out = bytearray()
    second_half = False
    for at, (operation, registers, distance, number) in enumerate(_INSTRUCTION.iter_unpack(code)):
        if second_half:
            second_half = False
        elif operation & 7 in (_JUMP, _JUMP_32) and operation not in (_CALL, _EXIT):
            distance += (at + 1 + distance > place) - (at > place)
        second_half = operation == _LOAD_64
        out += _INSTRUCTION.pack(operation, registers, distance, number)
        if at == place:
            out += _GOTO_NEXT
    return bytes(out)
