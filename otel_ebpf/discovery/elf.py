"""Look into an ELF file quickly and safely.

pyelftools reads headers and section tables. Whatever grows with the program
(symbols, strings, code, debugging data) is searched as bytes in pieces of the file,
so a program of 100 MB costs milliseconds and no copy of itself.
Source: System V ABI, chapters 4 and 5; the gABI's compressed sections.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from elftools.elf.elffile import ELFFile

from otel_ebpf.discovery.file_bytes import FileBytes
from otel_ebpf.errors import OtelEbpfError

MAX_FILE = 4 << 30
MAX_SECTIONS = 4096
MAX_SEGMENTS = 512
MAX_SAME_TAIL = 8
"""Names that end as the wanted one does, tried before it counts as missing."""
MAX_TRIES = 20_000
"""Places looked at for one thing before it counts as missing: hostile tables hold millions."""
MAX_INFLATED = 1 << 30
"""Bytes that one compressed section may become."""
CHUNK = 4 << 20
"""Bytes that ``ElfImage.chunks`` gives at once."""

_TLS_SYMBOL = 6  # STT_TLS
_COMPRESSED = 0x800  # SHF_COMPRESSED
_NOBITS = "SHT_NOBITS"


class ElfError(OtelEbpfError):
    """A file that looks like ELF cannot be read. Callers log it and go on without."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header: kind ("PT_LOAD", "PT_TLS"...), file and memory range in bytes."""

    kind: str
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section header. ``size`` is in the file; compressed sections grow when read."""

    name: str
    kind: str
    flags: int
    vaddr: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """One ``.symtab`` entry: value as linked, size in bytes, and whether it is TLS."""

    name: str
    value: int
    size: int
    tls: bool


class ElfImage:
    """A 64-bit little-endian ELF file. Use it as a context manager.

    ``file`` is a path or an open descriptor (which stays the caller's). Raises
    ElfError for anything that is not such a file, and OSError as ``open`` does;
    later FileChangedError when the file has become shorter meanwhile.
    """

    def __init__(self, file: str | os.PathLike[str] | int) -> None:
        self.where = f"fd {file}" if isinstance(file, int) else os.fspath(file)
        if isinstance(file, int):
            self.data = FileBytes(file)
        else:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self.data = FileBytes(descriptor)
            finally:
                os.close(descriptor)
        try:
            if len(self.data) > MAX_FILE:
                raise self._error(f"the file is too large to be searched: {len(self.data)} bytes")
            if len(self.data) < 64:
                raise self._error("the file is too short to be a program")
            self._read_headers()
        except (ElfError, OSError):
            self.data.close()
            raise
        except Exception as error:  # pyelftools raises many kinds on hostile input
            self.data.close()
            raise self._error(f"damaged ELF headers ({type(error).__name__}: {error})") from error

    def _error(self, what: str) -> ElfError:
        return ElfError(what, where=self.where, mend="rebuild or reinstall the program")

    def _read_headers(self) -> None:
        if self.data[:4] != b"\x7fELF":
            raise self._error("not an ELF file")
        if self.data[4:6] != b"\x02\x01":
            raise ElfError(
                "only 64-bit little-endian programs can be read",
                where=self.where,
                mend="trace it by thread: nothing needs to be done",
            )
        elf = ELFFile(cast("IO[bytes]", self.data))
        if elf.num_sections() > MAX_SECTIONS or elf.num_segments() > MAX_SEGMENTS:
            raise self._error("the ELF tables are unreasonably long")
        self.machine: str = elf.get_machine_arch()
        self.pie: bool = elf["e_type"] == "ET_DYN"
        self.entry: int = elf["e_entry"]
        self.segments = [
            Segment(
                str(s["p_type"]),
                s["p_flags"],
                s["p_offset"],
                s["p_vaddr"],
                s["p_filesz"],
                s["p_memsz"],
                s["p_align"],
            )
            for s in elf.iter_segments()
        ]
        loaded = [s.offset + s.filesz for s in self.segments if s.kind == "PT_LOAD"]
        if max(loaded, default=0) > len(self.data):
            raise self._error(
                f"the file is cut short: {len(self.data)} bytes of at least {max(loaded)}"
            )
        self.sections: dict[str, Section] = {}
        # Headers alone: building pyelftools' section objects would parse their bodies.
        names = elf["e_shstrndx"]
        headers = [elf._get_section_header(i) for i in range(elf.num_sections())]
        table = headers[names] if names < len(headers) else None
        for header in headers:
            name = ""
            if table is not None and header["sh_name"] < table["sh_size"]:
                start = table["sh_offset"] + header["sh_name"]
                end = self.data.find(b"\0", start, start + 256)
                name = self.data[start:end].decode("latin-1") if end >= 0 else ""
            section = Section(
                name,
                str(header["sh_type"]),
                header["sh_flags"],
                header["sh_addr"],
                header["sh_offset"],
                header["sh_size"],
            )
            self.sections.setdefault(name, section)

    def __enter__(self) -> ElfImage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.data.close()

    def file_offset(self, vaddr: int) -> int | None:
        """Where the byte at ``vaddr`` lies in the file; None when it lies nowhere in it."""
        for segment in self.segments:
            if segment.kind == "PT_LOAD" and 0 <= vaddr - segment.vaddr < segment.filesz:
                offset = vaddr - segment.vaddr + segment.offset
                return offset if offset < len(self.data) else None
        return None

    def bytes_at(self, vaddr: int, size: int) -> bytes:
        """Up to ``size`` bytes of the program as linked, from ``vaddr``; b"" outside."""
        offset = self.file_offset(vaddr)
        return b"" if offset is None or size <= 0 else self.data[offset : offset + size]

    def word_at(self, vaddr: int) -> int | None:
        """The 8-byte word at ``vaddr`` as linked (relocations are not applied)."""
        raw = self.bytes_at(vaddr, 8)
        return int.from_bytes(raw, "little") if len(raw) == 8 else None

    def span(self, section: Section) -> tuple[int, int]:
        """The section's range of file offsets, clipped to the file."""
        if section.kind == _NOBITS:
            return 0, 0
        start = min(section.offset, len(self.data))
        return start, min(section.offset + section.size, len(self.data))

    def chunks(self, name: str, *, overlap: int = 0) -> Iterator[tuple[int, bytes]]:
        """Give a section in pieces: (offset within the section, bytes).

        Each piece begins with the last ``overlap`` bytes of the one before. Compressed
        sections are inflated on the way, so memory stays at a few chunks whatever
        the section claims to hold. Damaged compression raises ElfError.
        """
        # Before the flag there was a name: .zdebug_info holds .debug_info (Go until 1.18).
        older = self.sections.get(f".z{name[1:]}")
        section = self.sections.get(name, older)
        if section is None:
            return
        start, end = self.span(section)
        pieces = self._raw(start, end)
        if section is older and self.data[start : start + 4] == b"ZLIB":
            pieces = self._inflate(name, start + 12, end)
        elif section.flags & _COMPRESSED:
            if self.data[start : start + 4] != b"\x01\0\0\0":  # ELFCOMPRESS_ZLIB
                raise self._error(f"section {name} is compressed in an unknown way")
            pieces = self._inflate(name, start + 24, end)
        tail, base = b"", 0
        for piece in pieces:
            buffer = tail + piece
            yield base, buffer
            tail = buffer[-overlap:] if overlap else b""
            base += len(buffer) - len(tail)

    def _raw(self, start: int, end: int) -> Iterator[bytes]:
        for position in range(start, end, CHUNK):
            yield self.data[position : min(position + CHUNK, end)]

    def _inflate(self, name: str, start: int, end: int) -> Iterator[bytes]:
        inflater, total = zlib.decompressobj(), 0
        try:
            for position in range(start, end, CHUNK):
                pending = self.data[position : min(position + CHUNK, end)]
                while pending:
                    piece = inflater.decompress(pending, CHUNK)
                    total += len(piece)
                    if total > MAX_INFLATED:
                        raise self._error(f"section {name} inflates beyond {MAX_INFLATED} bytes")
                    if piece:
                        yield piece
                    pending = inflater.unconsumed_tail
        except zlib.error as error:
            raise self._error(f"section {name} does not inflate ({error})") from error

    def symbols(
        self, wanted: Iterable[str], table_name: str = ".symtab", strings_name: str = ".strtab"
    ) -> dict[str, Symbol]:
        """Find symbols by exact name, in ``.symtab`` or in the table named. Missing ones
        are simply absent."""
        table, strings = self.sections.get(table_name), self.sections.get(strings_name)
        if table is None or strings is None:
            return {}
        start, end = self.span(table)
        names, names_end = self.span(strings)
        # Linkers may store a name as the tail of a longer one, so the byte before it is
        # no proof; whether a symbol points at it is.
        texts = {name.encode() + b"\0": name for name in wanted}
        offsets = {
            struct.pack("<I", at - names): texts[text]
            for text, at in self.data.find_each(texts, names, names_end, MAX_SAME_TAIL)
        }
        found: dict[str, Symbol] = {}
        for offset, at in self.data.find_each(offsets, start, end, MAX_TRIES):
            raw = self.data[at : at + 24]
            if (at - start) % 24 or at + 24 > end or raw[6:8] == b"\0\0":
                continue  # not the beginning of an entry, or of one that is defined elsewhere
            name = offsets[offset]
            _, info, _, _, value, size = struct.unpack("<IBBHQQ", raw)
            found.setdefault(name, Symbol(name, value, size, info & 15 == _TLS_SYMBOL))
        return found


def identity(file: str | Path | int) -> tuple[int, int, int, int]:
    """What tells one content of a program from another: device, inode, mtime (ns), size."""
    status = os.stat(file)
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
