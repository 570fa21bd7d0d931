"""Where a Go function returns: a uprobe on each RET instead of a uretprobe.

A uretprobe writes a return address of its own onto the stack; Go's runtime, which unwinds
and moves stacks, does not survive that. The function's machine code is decoded with
capstone, from its first byte to its last, so that a byte that merely looks like a RET
within another instruction is never taken for one.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

MAX_CODE = 1 << 18
"""Bytes of a function that is decoded; the largest that are probed have a few thousand."""
_RETURNS = frozenset({"ret", "retq", "retf", "retfq"})


@lru_cache(maxsize=1)
def decoder() -> Any:
    """Of x86-64 machine code."""
    import capstone  # costs memory: only programs that need it pay

    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


def returns(code: bytes) -> list[int]:
    """Offsets in bytes of the RETs in a function's machine code (x86-64).

    Empty when any byte of it cannot be decoded: then no instruction's start is certain.
    """
    found = []
    end = 0
    for address, size, mnemonic, _ in decoder().disasm_lite(code, 0):
        if mnemonic.rpartition(" ")[2] in _RETURNS:  # "bnd ret" is one too
            found.append(address)
        end = address + size
    return found if end == len(code) else []


def return_offsets(descriptor: int, offset: int, size: int) -> list[int]:
    """File offsets of a function's RETs.

    Args:
        descriptor: the open program. offset, size: of the function in it, in bytes.

    Empty when the function cannot be read or decoded whole.
    """
    return [offset + at for at in returns(function_code(descriptor, offset, size))]


def function_code(descriptor: int, offset: int, size: int) -> bytes:
    """A function's code, or nothing where it cannot be read whole.

    Args:
        descriptor: the open program. offset, size: of the function in it, in bytes.
    """
    if not 0 < size <= MAX_CODE:
        return b""
    try:
        code = os.pread(descriptor, size, offset)
    except OSError:
        return b""
    return code if len(code) == size else b""
