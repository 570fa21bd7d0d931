"""Where the Go struct fields that the tracer reads are in one program.

A program's own debugging data is asked first. A stripped program gets its offsets from
the recorded layouts of its Go version and of its modules' versions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from otel_ebpf.discovery.elf import ElfError, ElfImage
from otel_ebpf.discovery.go_dwarf import struct_members
from otel_ebpf.discovery.go_fields import EMBEDDED_BY_POINTER, FIELDS, MODULES, STD, home_of
from otel_ebpf.discovery.go_table import lookup

_log = logging.getLogger(__name__)

_STRUCTS = sorted({struct for path in FIELDS.values() for struct, _ in path})
_POINTER = 8


@dataclass(frozen=True, slots=True)
class GoOffsets:
    """Offsets in bytes by the names of ``go_fields.FIELDS``.

    Attributes:
        values: those that are certain. Only these may be read by.
        guesses: the nearest older layout's, where the version was not measured. They
            must be proved on the running program before they are used.
        sources: home (``STD``, a module's path) -> "dwarf" or "table"; absent where
            nothing is known.
    """

    values: Mapping[str, int]
    guesses: Mapping[str, int]
    sources: Mapping[str, str]


def from_dwarf(image: ElfImage) -> dict[str, int]:
    """The offsets of ``FIELDS`` that the program's debugging data tells."""
    members = struct_members(image, _STRUCTS)
    found: dict[str, int] = {}
    for name, path in FIELDS.items():
        parts = [members.get(struct, {}).get(member) for struct, member in path]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            found[name] = sum(known)
    for name, (embedded, after) in EMBEDDED_BY_POINTER.items():
        if embedded in found and after in found:
            found[name] = int(found[after] - found[embedded] == _POINTER)
    return found


def from_table(text: str, modules: Mapping[str, str] | None = None) -> GoOffsets:
    """Offsets for a Go version's text and the versions of modules (path -> version)."""
    values: dict[str, int] = {}
    guesses: dict[str, int] = {}
    sources: dict[str, str] = {}
    versions = {STD: text, **{m: v for m, v in (modules or {}).items() if m in MODULES}}
    for home, version in versions.items():
        recorded = lookup(home, version)
        values.update(recorded.certain)
        guesses.update(recorded.guessed)
        if recorded.certain or recorded.guessed:
            sources[home] = "table"
    return GoOffsets(values, guesses, sources)


def offsets_of(
    image: ElfImage, version: str, modules: Mapping[str, str] | None = None
) -> GoOffsets:
    """The best offsets for a program: its debugging data, else the table.

    ``version`` and ``modules`` are the build information's.
    """
    try:
        own = from_dwarf(image)
    except ElfError as error:  # the rest of the program is sound: the table will do
        _log.warning("%s", error)
        own = {}
    if "runtime.g.goid" in own:
        return GoOffsets(own, {}, {home_of(name): "dwarf" for name in own})
    recorded = from_table(version, modules)
    if image.machine != "x64":
        # Other 64-bit machines have the same layout, but it was measured on amd64 only.
        every = {**recorded.guesses, **recorded.values}
        return GoOffsets({}, every, recorded.sources)
    return recorded
