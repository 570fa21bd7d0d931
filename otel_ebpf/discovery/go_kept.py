"""Whether a Go function keeps its arguments where a probe at its RET can find them.

Since Go 1.17 arguments come in registers, and the caller leaves room for them on the stack,
above the return address. A function that needs its arguments after a call puts them there at
its start. Then the stack pointer at the RET leads to them, and no probe at the entry is needed.
"""

from __future__ import annotations

import re

from otel_ebpf.discovery.go_returns import decoder, function_code

ARGUMENTS = ("rax", "rbx", "rcx", "rdi", "rsi", "r8", "r9", "r10", "r11")
"""The registers of Go's ABI for integers and pointers (x86-64), first argument first."""
START = 40
"""Instructions within which the arguments are put away."""

_STORE = re.compile(r"qword ptr \[rsp \+ (0x[0-9a-f]+|\d+)\], (\w+)$")
_FRAME = re.compile(r"rsp, (-?(?:0x[0-9a-f]+|\d+))$")
_READING = frozenset({"cmp", "test", "push", "nop"})
"""Of the instructions at a function's start, those that leave their first operand as it is."""
_HALVES = {"eax": "rax", "ebx": "rbx", "ecx": "rcx", "edi": "rdi", "esi": "rsi"}


def _whole(register: str) -> str:
    """The 64-bit register that another name is the lower half of."""
    return _HALVES.get(register, register.removesuffix("d"))


def kept(code: bytes) -> int:
    """How many arguments are kept, from the first without a gap; 0 also when it is unclear."""
    depth = 0  # of the stack pointer below the return address, in bytes
    framed = False
    places: dict[str, int] = {}
    changed: set[str] = set()
    instructions = decoder().disasm_lite(code, 0)
    for _, (_, _, mnemonic, operands) in zip(range(START), instructions, strict=False):
        if mnemonic == "call" or mnemonic.startswith("ret"):
            break
        frame = _FRAME.match(operands)
        if mnemonic == "push":
            depth += 8
        elif mnemonic in ("sub", "add") and frame:
            size = int(frame[1], 0)
            depth += size if mnemonic == "sub" else -size
            framed = True
        elif mnemonic == "mov" and (store := _STORE.match(operands)) and framed:
            place, register = int(store[1], 0), store[2]
            if register not in changed and register not in places:
                places[register] = place - depth
        elif mnemonic not in _READING:
            changed.add(_whole(operands.partition(",")[0]))
    for number, register in enumerate(ARGUMENTS):
        if places.get(register) != 8 * (number + 1):
            return number
    return len(ARGUMENTS)


def arguments_kept(descriptor: int, offset: int, size: int) -> int:
    """The same for a function of an open program: its offset in the file and its size."""
    return kept(function_code(descriptor, offset, size))
