"""Where a Go thread keeps its current goroutine: g = *(thread pointer + offset).

amd64 only. A program without cgo keeps it 8 bytes below the thread pointer; one that
the system's linker laid out beside C's thread-local variables keeps it elsewhere. The
code itself is the best witness: runtime.morestack begins by loading g.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from otel_ebpf.discovery.elf import ElfImage
from otel_ebpf.discovery.go_symbols import GoSymbol

_WINDOW = 64
"""Bytes of runtime.morestack that are looked at; the load is the first instruction or two."""
_TPOFF64 = 18  # R_X86_64_TPOFF64


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


def _is_load(code: bytes, at: int, rm: int) -> bool:
    """``mov %fs:..., %reg`` with this r/m field and no displacement byte (mod 00)."""
    return code[at : at + 3] in (b"\x64\x48\x8b", b"\x64\x4c\x8b") and code[at + 3] & 0xC7 == rm


def _from_code(image: ElfImage, morestack: int) -> int | None:
    code = image.bytes_at(morestack, _WINDOW)
    for at in range(max(0, len(code) - 12)):
        # mov %fs:disp32, %reg
        if _is_load(code, at, 0x04) and code[at + 4] == 0x25:
            return _signed(code[at + 5 : at + 9])
        # mov $imm32, %rcx; mov %fs:(%rcx), %reg
        if code[at : at + 3] == b"\x48\xc7\xc1" and _is_load(code, at + 7, 0x01):
            return _signed(code[at + 3 : at + 7])
        # mov disp32(%rip), %rcx; mov %fs:(%rcx), %reg: the offset is in the GOT
        if code[at : at + 3] == b"\x48\x8b\x0d" and _is_load(code, at + 7, 0x01):
            return _from_got(image, morestack + at + 7 + _signed(code[at + 3 : at + 7]))
    return None


def _from_got(image: ElfImage, slot: int) -> int | None:
    """The GOT word at ``slot``: relocated at start (its addend tells), or linked in."""
    relocations = image.sections.get(".rela.dyn")
    if relocations is not None:
        start, end = image.span(relocations)
        at = image.data.find(struct.pack("<Q", slot), start, end)
        if at >= 0 and (at - start) % 24 == 0 and at + 24 <= end:
            info, addend = struct.unpack("<Qq", image.data[at + 8 : at + 24])
            # Against a named symbol the addend is not the whole answer.
            if info != _TPOFF64:
                return None
            block = _tls_block(image)
            return addend - block if block is not None else None
    word = image.bytes_at(slot, 8)
    return _signed(word) if len(word) == 8 and any(word) else None


def _tls_block(image: ElfImage) -> int | None:
    for segment in image.segments:
        if segment.kind == "PT_TLS" and segment.memsz < 1 << 24:
            align = segment.align if 0 < segment.align <= 1 << 16 else 1
            return -(-segment.memsz // align) * align
    return None


def _sane(offset: int | None) -> int | None:
    """A main program's thread-local data lies below the thread pointer, 8-byte aligned."""
    return offset if offset is not None and -(1 << 24) < offset < 0 and not offset % 8 else None


def g_tls_offset(image: ElfImage, symbols: Mapping[str, GoSymbol]) -> int | None:
    """Offset in bytes of g from the thread pointer (negative), or None when unknown.

    ``symbols`` may hold ``runtime.morestack`` and ``runtime.tlsg``. Where both tell,
    they must agree; a program whose witnesses disagree is not guessed about.
    """
    if image.machine != "x64":
        return None
    morestack, tlsg = symbols.get("runtime.morestack"), symbols.get("runtime.tlsg")
    by_code = _sane(_from_code(image, morestack.vaddr)) if morestack else None
    by_symbol = None
    block = _tls_block(image)
    if tlsg is not None and tlsg.tls and block is not None:
        by_symbol = _sane(tlsg.vaddr - block)
    if by_code is not None and by_symbol is not None:
        return by_code if by_code == by_symbol else None
    return by_code if by_code is not None else by_symbol
