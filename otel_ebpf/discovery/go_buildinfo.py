"""What Go's linker wrote about the build: version, modules, settings.

Source: debug/buildinfo of the Go standard library. Both layouts are read: strings
in place (Go 1.18 and later) and pointers to string headers (before).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from otel_ebpf.discovery.elf import ElfImage

MAX_STRING = 4 << 20
"""Longest module listing that is read, in bytes."""
MAX_DEPS = 20_000
MAGIC = b"\xff Go buildinf:"
"""What Go's linker puts before it, in every program since Go 1.13."""
_SEARCH = 1 << 20


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """The build's facts. ``deps`` maps module path to version, replacements followed;
    ``forks`` are those of them that another module stands for."""

    version: str
    path: str = ""
    main_module: str = ""
    main_version: str = ""
    deps: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    forks: frozenset[str] = frozenset()


def _uleb(data: bytes) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    return 0, 0


def _candidates(image: ElfImage) -> Iterator[int]:
    section = image.sections.get(".go.buildinfo")
    if section is not None and section.vaddr:
        yield section.vaddr
        return
    # The linker puts it at the start of the first writable segment.
    for segment in image.segments:
        if segment.kind == "PT_LOAD" and segment.flags & 2:
            end = segment.offset + min(segment.filesz, _SEARCH)
            at = image.data.find(MAGIC, segment.offset, end)
            while at >= 0:
                if (at - segment.offset) % 16 == 0:
                    yield at - segment.offset + segment.vaddr
                at = image.data.find(MAGIC, at + 1, end)


def _in_place(image: ElfImage, vaddr: int) -> tuple[bytes, int]:
    size, used = _uleb(image.bytes_at(vaddr, 10))
    if not used or size > MAX_STRING:
        return b"", vaddr
    return image.bytes_at(vaddr + used, size), vaddr + used + size


def _by_pointer(image: ElfImage, vaddr: int) -> bytes:
    start, size = image.word_at(vaddr), image.word_at(vaddr + 8)  # a Go string
    if not start or not size or size > MAX_STRING:
        return b""
    return image.bytes_at(start, size)


def _parse(version: str, listing: bytes) -> BuildInfo:
    # The listing stands between two 16-byte marks.
    if len(listing) < 33 or listing[-17:-16] != b"\n":
        return BuildInfo(version)
    path = main = main_version = last = ""
    deps: dict[str, str] = {}
    settings: dict[str, str] = {}
    forks: set[str] = set()
    for line in listing[16:-16].decode("utf-8", "replace").split("\n"):
        word, _, rest = line.partition("\t")
        cells = rest.split("\t")
        if word == "path":
            path = rest
        elif word == "mod" and len(cells) >= 2:
            main, main_version = cells[0], cells[1]
        elif word == "dep" and len(cells) >= 2 and len(deps) < MAX_DEPS:
            last = cells[0]
            deps[last] = cells[1]
        elif word == "=>" and len(cells) >= 2 and last:
            deps[last] = cells[1]
            if cells[0] != last:
                forks.add(last)
        elif word == "build":
            key, _, value = rest.partition("=")
            settings[key] = value
    return BuildInfo(version, path, main, main_version, deps, settings, frozenset(forks))


def read_build_info(image: ElfImage) -> BuildInfo | None:
    """The program's build information, or None when there is none (not Go)."""
    for vaddr in _candidates(image):
        head = image.bytes_at(vaddr, 32)
        if len(head) < 32 or not head.startswith(MAGIC):
            continue
        if head[15] & 2:
            version, after = _in_place(image, vaddr + 32)
            listing, _ = _in_place(image, after)
        else:
            first = int.from_bytes(head[16:24], "little")
            second = int.from_bytes(head[24:32], "little")
            version, listing = _by_pointer(image, first), _by_pointer(image, second)
        text = version[:256].decode("utf-8", "replace")
        if text:
            return _parse(text, listing)
    return None
