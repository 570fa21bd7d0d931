"""Words that the loader fills in when it starts a position-independent program.

In the file they are zero (or anything); what they become, less the load address, is
the addend of a relocation. Source: the x86-64 psABI, R_X86_64_RELATIVE; aarch64's is alike.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from otel_ebpf.discovery.elf import MAX_TRIES, ElfImage

_RELATIVE = (8, 1027)  # R_X86_64_RELATIVE, R_AARCH64_RELATIVE
_ENTRY = 24  # u64 place, u64 info, i64 addend
MAX_RELOCATIONS = 4_000_000


class Relocations:
    """The relative relocations of an image; empty for one that has a fixed address."""

    def __init__(self, image: ElfImage) -> None:
        self._image = image
        section = image.sections.get(".rela.dyn") or image.sections.get(".rela")
        self._start, self._end = (0, 0) if section is None else image.span(section)
        count = min((self._end - self._start) // _ENTRY, MAX_RELOCATIONS)
        self._end = self._start + count * _ENTRY

    def word(self, vaddr: int) -> int | None:
        """The word at ``vaddr`` as linked: its relocation's addend, else the file's bytes."""
        pattern = struct.pack("<Q", vaddr)
        at = self._image.data.find(pattern, self._start, self._end)
        for _ in range(MAX_TRIES):
            if at < 0:
                break
            if (at - self._start) % _ENTRY == 0:
                _, info, addend = struct.unpack("<QQq", self._image.data[at : at + _ENTRY])
                return int(addend) if info in _RELATIVE else None
            at = self._image.data.find(pattern, at + 1, self._end)
        return self._image.word_at(vaddr)

    def places_of(self, value: int) -> Iterator[int]:
        """Addresses of the words that become ``value``."""
        pattern = struct.pack("<q", value)
        at = self._image.data.find(pattern, self._start, self._end)
        for _ in range(MAX_TRIES):
            if at < 0:
                return
            if (at - self._start) % _ENTRY == 16:
                place, info = struct.unpack("<QQ", self._image.data[at - 16 : at])
                if info in _RELATIVE:
                    yield place
            at = self._image.data.find(pattern, at + 1, self._end)

    def addends(self, first: int, end: int) -> dict[int, int]:
        """Place -> addend for the places in a range of addresses."""
        words = memoryview(self._image.data[self._start : self._end]).cast("Q")
        signed = words.cast("B").cast("q")
        return {
            place: signed[3 * index + 2]
            for index, place in enumerate(words[0::3])
            if first <= place < end and words[3 * index + 1] in _RELATIVE
        }
