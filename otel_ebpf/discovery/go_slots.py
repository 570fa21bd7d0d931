"""Where in a Go function's frame its arguments are found while it is inside of a call.

Found by following each argument through the machine code, on every path, from where the ABI
puts it into the places of the stack that it is stored to. A place counts if it holds the
argument at every call that the function makes once it has its frame: then whoever looks at the
stack from within such a call finds it there. What is not understood makes an argument unknown.
"""

from __future__ import annotations

import re
from collections import deque

from otel_ebpf.discovery.go_kept import ARGUMENTS
from otel_ebpf.discovery.go_returns import decoder, function_code

MOST_STEPS = 50_000
"""Instructions that are gone through; a function of 500 takes some 1,500."""

_SIZES = {"byte": 1, "word": 2, "dword": 4, "qword": 8, "xmmword": 16, "ymmword": 32}
_MEMORY = re.compile(r"(\w+) ptr (?:\w+:)?\[(.+)\]$")
_PLACE = re.compile(r"rsp(?: ([+-]) (0x[0-9a-f]+|\d+))?$")
_NUMBER = re.compile(r"-?(?:0x[0-9a-f]+|\d+)$")
_PARTS = {
    **{f"e{letter}x": f"r{letter}x" for letter in "abcd"},
    **{f"{letter}{part}": f"r{letter}x" for letter in "abcd" for part in "xlh"},
    **{f"e{name}": f"r{name}" for name in ("si", "di", "bp", "sp")},
    **{f"{name}{part}": f"r{name}" for name in ("si", "di", "bp", "sp") for part in ("", "l")},
    **{f"r{number}{part}": f"r{number}" for number in range(8, 16) for part in "dwb"},
}
_REGISTERS = frozenset(
    ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16)))
)
# Instructions that change no register and no memory,
_READING = frozenset(("cmp", "test", "nop", "bt", "ucomisd", "ucomiss", "comisd"))
# and those that change what their first operand names, nothing else.
_WRITING = frozenset(
    (
        *("mov", "movzx", "movsx", "movsxd", "movabs", "lea", "add", "sub", "and", "or", "xor"),
        *("not", "neg", "inc", "dec", "shl", "shr", "sar", "rol", "ror", "bts", "btr", "btc"),
        *("bsf", "bsr", "bswap", "popcnt", "lzcnt", "tzcnt", "adc", "sbb", "movups", "movaps"),
        *("movdqu", "movdqa", "movq", "movd", "xorps", "pxor", "vmovdqu", "vmovdqa"),
    )
)
# These change their second operand as well, or rax.
_EXCHANGING = frozenset(("cmpxchg", "xadd", "xchg"))

Place = str | int
"""A register, or a place of the stack in bytes from the return address (which is at 0)."""
State = tuple[int, bool, frozenset[tuple[Place, int]]]
"""How far the stack pointer is below the return address; whether rbp holds this function's
frame; and what places hold which argument."""


class _UnclearError(Exception):
    """The code cannot be followed."""


def _whole(register: str) -> str:
    """The 64-bit register that another name is a part of."""
    return _PARTS.get(register, register)


def _stack_place(inner: str, depth: int) -> int | None:
    match = _PLACE.match(inner)
    if match is None:
        if "rsp" in inner:
            raise _UnclearError
        return None
    offset = int(match[2], 0) if match[2] else 0
    return (-offset if match[1] == "-" else offset) - depth


class _Function:
    """The instructions of one function, and what is known before each."""

    def __init__(self, code: bytes) -> None:
        self.code = {
            address: (size, mnemonic.removeprefix("lock "), operands)
            for address, size, mnemonic, operands in decoder().disasm_lite(code, 0)
        }
        self.calls: dict[int, State] = {}
        self.taken: set[int] = set()
        """Places of the stack whose address is taken,"""
        self.read: set[int] = set()
        """and those that are read again. Others may be a callee's, that it need not keep."""

    def follow(self, first: State) -> None:
        before: dict[int, State] = {0: first}
        waiting = deque([0])
        for _ in range(MOST_STEPS):
            if not waiting:
                return
            at = waiting.popleft()
            if at not in self.code:
                raise _UnclearError
            for target, state in self._step(at, before[at]):
                known = before.get(target)
                if known is not None:
                    if known[:2] != state[:2]:
                        raise _UnclearError
                    state = (*state[:2], state[2] & known[2])
                    if state == known:
                        continue
                before[target] = state
                waiting.append(target)
        raise _UnclearError

    def _step(self, at: int, state: State) -> list[tuple[int, State]]:
        size, mnemonic, operands = self.code[at]
        behind = at + size
        if mnemonic == "jmp":
            return [(self._target(operands), state)]
        if mnemonic.startswith("j"):
            return [(self._target(operands), state), (behind, state)]
        if mnemonic.startswith("ret") or mnemonic in ("ud2", "int3", "hlt"):
            return []
        return [(behind, self._after(at, mnemonic, operands, state))]

    @staticmethod
    def _target(operands: str) -> int:
        if not _NUMBER.match(operands):
            raise _UnclearError  # a table of jumps
        return int(operands, 0)

    def _after(self, at: int, mnemonic: str, operands: str, state: State) -> State:
        depth, framed, held = state
        first, _, rest = operands.partition(", ")
        if mnemonic == "call":
            self.calls[at] = state
            # Go's functions keep no register, but for those that are the frame.
            return depth, framed, frozenset(item for item in held if isinstance(item[0], int))
        if mnemonic in _READING or mnemonic.startswith("prefetch"):
            return state
        if mnemonic == "push":
            return self._stored(depth + 8, framed, held, -depth - 8, 8, first)
        if mnemonic == "pop":
            return depth - 8, framed and first != "rbp", self._without(held, first)
        if first == "rsp":
            if mnemonic not in ("add", "sub") or not _NUMBER.match(rest):
                raise _UnclearError
            moved = int(rest, 0) * (1 if mnemonic == "sub" else -1)
            return depth + moved, framed, held
        memory = _MEMORY.match(first)
        if mnemonic in _EXCHANGING:
            for register in ("rax" if mnemonic == "cmpxchg" else "", _whole(rest)):
                held = self._without(held, register)
            state, mnemonic, rest = (depth, framed, held), "add", ""
        if mnemonic not in _WRITING and not mnemonic.startswith(("set", "cmov")):
            # No instruction changes rbp without naming it; a place of the stack may be any size.
            on_stack = memory is not None and _stack_place(memory[2], depth) is not None
            return depth, framed and "bp" not in operands, _stack_only(held, none=on_stack)
        if memory:
            place = _stack_place(memory[2], depth)
            if "rbp" in memory[2] and framed:
                raise _UnclearError
            if place is None:
                return state
            return self._stored(
                depth,
                framed,
                held,
                place,
                _SIZES.get(memory[1], 64),
                rest if mnemonic == "mov" else "",
            )
        return self._loaded(mnemonic, _whole(first), rest, state)

    def _loaded(self, mnemonic: str, register: str, rest: str, state: State) -> State:
        depth, framed, held = state
        value = None
        memory = _MEMORY.match(rest)
        if mnemonic == "lea":
            inner = rest[rest.find("[") + 1 : -1]
            place = _stack_place(inner, depth)
            if register == "rbp":
                return depth, place == -8, self._without(held, "rbp")
            if place is not None and register != "r12":
                self.taken.add(place)
        elif mnemonic == "mov" and register == "rbp":
            return depth, rest == "rsp" and depth == 8, self._without(held, "rbp")
        elif mnemonic == "mov" and memory and memory[1] == "qword":
            place = _stack_place(memory[2], depth)
            if place is not None:
                value = dict(held).get(place)
                self.read.add(place)
        elif mnemonic == "mov" and rest in _REGISTERS:
            value = dict(held).get(rest)
        if register == "rbp":
            framed = False
        kept = self._without(held, register)
        return depth, framed, kept if value is None else kept | {(register, value)}

    @staticmethod
    def _without(held: frozenset[tuple[Place, int]], register: str) -> frozenset[tuple[Place, int]]:
        return frozenset(item for item in held if item[0] != register)

    @staticmethod
    def _stored(
        depth: int,
        framed: bool,
        held: frozenset[tuple[Place, int]],
        place: int,
        size: int,
        register: str,
    ) -> State:
        value = dict(held).get(register) if size == 8 else None
        kept = frozenset(
            (at, what)
            for at, what in held
            if not isinstance(at, int) or at + 8 <= place or at >= place + size
        )
        return depth, framed, kept if value is None else kept | {(place, value)}


def _stack_only(
    held: frozenset[tuple[Place, int]], *, none: bool = False
) -> frozenset[tuple[Place, int]]:
    return frozenset(item for item in held if isinstance(item[0], int) and not none)


def held_at_calls(code: bytes, arguments: int, *, in_registers: bool = True) -> list[int]:
    """Where each of the first ``arguments`` words is, in bytes from the frame pointer (rbp).

    Empty where that is not certain for all of them.
    """
    places = [8 * (number + 1) for number in range(arguments)]
    start: list[Place] = list(ARGUMENTS[:arguments]) if in_registers else list(places)
    function = _Function(code)
    try:
        function.follow((0, False, frozenset(zip(start, range(arguments), strict=True))))
    except _UnclearError:
        return []
    # Without a frame there is one call only, which has the stack grow and begins anew.
    calls = [state for state in function.calls.values() if state[0] > 0]
    if not calls or not all(framed for _, framed, _ in calls):
        return []
    common = frozenset.intersection(*(held for _, _, held in calls))
    found = []
    for number in range(arguments):
        at = {p for p, what in common if what == number and isinstance(p, int)} - function.taken
        sound = {place for place in at if place > 0 or place in function.read}
        if not sound:
            return []
        # The ABI's own place first; otherwise one of the frame.
        found.append((places[number] if places[number] in sound else max(sound)) + 8)
    return found


def arguments_at_calls(
    descriptor: int, offset: int, size: int, arguments: int, *, in_registers: bool = True
) -> list[int]:
    """The same for a function of an open program: its offset in the file and its size."""
    code = function_code(descriptor, offset, size)
    return held_at_calls(code, arguments, in_registers=in_registers) if code else []
