"""Where at the beginning of a Go function a uprobe costs least.

The kernel puts a breakpoint where a uprobe is. What was there before it must execute elsewhere,
in one step, which is a second trap; only a few instructions are done by the kernel itself
(x86-64: jumps, calls, and pushes of registers). A function of Go begins by comparing the stack
pointer with the stack's end, and jumps if the stack has to grow; then it pushes the frame pointer.
Up to there nothing that a probe reads has changed: not its arguments, wherever they are, nor the
stack pointer. Behind the jump a probe does not fire a second time either when the stack grows.
"""

from __future__ import annotations

MOST = 32
"""Bytes that are looked at."""

# Going past what the frame needs, where it is large: lea r12,[rsp-n]; before Go 1.17 into rax.
_FRAMES = (
    (b"\x4c\x8d\x64\x24", 1),
    (b"\x4c\x8d\xa4\x24", 4),
    (b"\x48\x8d\x44\x24", 1),
    (b"\x48\x8d\x84\x24", 4),
)
# Before Go 1.17: mov rcx,fs:-8, which position-independent programs do otherwise.
_G = b"\x64\x48\x8b\x0c\x25\xf8\xff\xff\xff"
_COMPARES = frozenset(
    (
        b"\x49\x3b\x66\x10",  # cmp rsp,[r14+16]
        b"\x4d\x3b\x66\x10",  # cmp r12,[r14+16]
        b"\x48\x3b\x61\x10",  # cmp rsp,[rcx+16]
        b"\x48\x3b\x41\x10",  # cmp rax,[rcx+16]
    )
)
_PUSH = 0x55


def cheapest(code: bytes) -> int:
    """Bytes from a function's beginning to where a uprobe goes instead; 0 where ``code``, its
    first bytes, does not begin as Go's do. Never raises on any bytes."""
    at = len(_G) if code.startswith(_G) else 0
    for frame, size in _FRAMES:
        if code.startswith(frame, at):
            at += len(frame) + size
            break
    if code[at : at + 4] not in _COMPARES:
        return 0
    at += 4
    if code[at : at + 1] == b"\x76":  # jbe
        behind = at + 2
    elif code[at : at + 2] == b"\x0f\x86":
        behind = at + 6
    else:
        return 0
    return behind if code[behind : behind + 1] == bytes((_PUSH,)) else at
