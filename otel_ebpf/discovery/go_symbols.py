"""Addresses of Go functions and variables: from ``.symtab``, else from pclntab.

Variables are in ``.symtab`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from otel_ebpf.discovery.elf import ElfImage
from otel_ebpf.discovery.go_pclntab import functions

_ABI_SUFFIX = ".abi0"


@dataclass(frozen=True, slots=True)
class GoSymbol:
    """A symbol's address as linked and its size in bytes (0: unknown)."""

    vaddr: int
    size: int
    tls: bool = False


def from_symtab(image: ElfImage, wanted: Iterable[str]) -> dict[str, GoSymbol]:
    """Wanted names found in ``.symtab``; assembly functions under their Go name too."""
    names = list(wanted)
    table = image.symbols([*names, *(n + _ABI_SUFFIX for n in names)])
    found: dict[str, GoSymbol] = {}
    for name in names:
        symbol = table.get(name) or table.get(name + _ABI_SUFFIX)
        if symbol is not None:
            found[name] = GoSymbol(symbol.value, symbol.size, symbol.tls)
    return found


def from_pclntab(image: ElfImage, wanted: Iterable[str]) -> dict[str, GoSymbol]:
    """Wanted functions found in pclntab; inlined-away ones and variables are absent."""
    return {name: GoSymbol(*place) for name, place in functions(image, wanted).items()}
