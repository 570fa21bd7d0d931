"""Calls of the kernel's own functions (kfuncs) from programs that BCC has compiled.

Compilers make such a call from an undefined symbol, which BCC does not resolve. The sources
call a helper of a number that none has instead: a function's BTF id, marked.
"""

from __future__ import annotations

import struct

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import tries
from otel_ebpf.kernel.btf import Btf, MemberNotFound

CALL = 0x85
BY_ID = 2
"""Source register of a call whose number is a function's BTF id (BPF_PSEUDO_KFUNC_CALL)."""
_LOAD_64 = 0x18
_MARK = 1 << 30
_CAST = "bpf_rdonly_cast"
_WORDS = "pt_regs"
"""A structure that begins with plain words, as `bpf/task.h` wants it."""


def marked(function_id: int) -> int:
    """The number by which the sources call that function."""
    return function_id | _MARK


def mend_calls(code: bytes) -> bytes:
    """The same instructions, with calls of the kernel's functions as the kernel wants them."""
    mended = bytearray(code)
    second_half = False
    for at in range(0, len(code), 8):
        operation, registers, _, number = struct.unpack_from("=BBhi", code, at)
        if second_half:  # a 64-bit load has two places
            second_half = False
        elif operation == _LOAD_64:
            second_half = True
        elif operation == CALL and not registers and number & _MARK and number > 0:
            struct.pack_into("=BBhi", mended, at, CALL, BY_ID << 4, 0, number ^ _MARK)
    return bytes(mended)


def word_reads(btf: Btf) -> tuple[int, int] | None:
    """Ids of the function and of the type by which programs read kernel memory as if it were
    theirs (6.2), if this kernel lets them."""
    try:
        ids = btf.function_id(_CAST), btf.struct_id(_WORDS)
        tries.read_words(*ids)
    except (MemberNotFound, KernelError, OSError):
        return None
    return ids
