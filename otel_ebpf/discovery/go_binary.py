"""All that the tracer needs to know of one Go program, read once from its file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import LRUCache

from otel_ebpf.discovery.elf import ElfError, ElfImage, identity
from otel_ebpf.discovery.file_bytes import FileChangedError
from otel_ebpf.discovery.go_buildinfo import BuildInfo, read_build_info
from otel_ebpf.discovery.go_fields import STD
from otel_ebpf.discovery.go_offsets import offsets_of
from otel_ebpf.discovery.go_pclntab import find_pclntab
from otel_ebpf.discovery.go_symbols import GoSymbol, from_pclntab, from_symtab
from otel_ebpf.discovery.go_tls import g_tls_offset
from otel_ebpf.discovery.go_types import type_addresses
from otel_ebpf.discovery.go_variables import ALLGS, ALLP, GOIDGEN, scheduler_variables
from otel_ebpf.discovery.go_versions import parse_version
from otel_ebpf.discovery.go_wanted import WANTED, WANTED_TYPES

MAX_CACHED = 512
Key = tuple[int, int, int, int]
"""(device, inode, mtime in ns, size): one content of a file."""


@dataclass(frozen=True, slots=True, eq=False)
class GoBinary:
    """One Go program file. Compared by identity; the same file gives the same object.

    Attributes:
        version: (major, minor, patch) of the toolchain; version_text as it says itself.
        path: package path of main. module, module_version: the main module.
        deps: module path -> version, replacements followed.
        settings: build settings ("GOARCH", "CGO_ENABLED", "-ldflags"...).
        symbols: name -> offset in the file, in bytes, where a uprobe goes. Functions only.
        addresses: name -> address as linked (a PIE's load address is to be added).
            Of variables too; in a stripped program of those that its code tells.
        sizes: name -> size in bytes, where known and not 0.
        types: ``*package/path.Type`` -> address as linked of its descriptor.
        stripped: there is no ``.symtab``; functions came from pclntab.
        pie: position-independent. entry: the entry point's address as linked.
        g_tls_offset: g is at *(thread pointer + this); None when it cannot be told.
        offsets: bytes, by the names of ``go_fields.FIELDS``; certain ones only.
        guesses: the nearest older layout's, to be proved on a running process before use.
        sources: "go" or a module's path -> "dwarf" or "table".
        identity: (device, inode, mtime in ns, size) of the file read.
    """

    version: tuple[int, int, int]
    version_text: str
    path: str
    module: str
    module_version: str
    deps: Mapping[str, str]
    settings: Mapping[str, str]
    symbols: Mapping[str, int]
    addresses: Mapping[str, int]
    sizes: Mapping[str, int]
    types: Mapping[str, int]
    stripped: bool
    pie: bool
    entry: int
    g_tls_offset: int | None
    offsets: Mapping[str, int]
    guesses: Mapping[str, int]
    sources: Mapping[str, str]
    identity: Key

    @property
    def cgo(self) -> bool:
        """Whether it was built with cgo, as far as its build settings tell."""
        return self.settings.get("CGO_ENABLED") == "1"

    @property
    def offsets_source(self) -> str:
        """Where Go's own offsets came from: "dwarf", "table" or "" (nothing is known)."""
        return self.sources.get(STD, "")

    @property
    def service_name(self) -> str:
        """The main module's last path element, or ""; a major-version suffix is no name."""
        parts = [part for part in (self.path or self.module).split("/") if part]
        if len(parts) > 1 and parts[-1][:1] == "v" and parts[-1][1:].isdigit():
            parts.pop()
        return parts[-1] if parts and parts[-1] != "command-line-arguments" else ""


def _symbols(image: ElfImage) -> dict[str, GoSymbol]:
    found = from_symtab(image, WANTED)
    # A linker or a tool may leave a symbol table with only some of the functions in it.
    table, pclntab = image.sections.get(".symtab"), find_pclntab(image)
    whole = table is not None and pclntab is not None and table.size // 24 >= pclntab.count
    if not whole or "runtime.morestack" not in found:
        found.update(from_pclntab(image, [name for name in WANTED if name not in found]))
    return found


def _addresses(
    image: ElfImage, symbols: Mapping[str, GoSymbol], offsets: Mapping[str, int]
) -> dict[str, int]:
    known = {name: s.vaddr for name, s in symbols.items() if not s.tls}
    generation = offsets.get("runtime.schedt.goidgen")
    if not {ALLP, ALLGS, "runtime.sched"} <= set(known):
        told = scheduler_variables(image, symbols)
        if GOIDGEN in told and generation is not None:
            known["runtime.sched"] = told[GOIDGEN] - generation
        known.update({name: told[name] for name in (ALLP, ALLGS) if name in told})
    return known


def _read(image: ElfImage, key: Key) -> GoBinary | None:
    info = read_build_info(image)
    if info is None:
        return None
    version = parse_version(info.version)
    symbols = _symbols(image)
    # A fork's version says nothing of the module that it stands for.
    modules = {path: text for path, text in info.deps.items() if path not in info.forks}
    offsets = offsets_of(image, info.version, modules)
    code = {}
    for name, symbol in symbols.items():
        place = None if symbol.tls else image.file_offset(symbol.vaddr)
        if place is not None and _executable(image, symbol.vaddr):
            code[name] = place
    return GoBinary(
        version=version,
        version_text=info.version,
        path=info.path,
        module=info.main_module,
        module_version=info.main_version,
        deps=info.deps,
        settings=info.settings,
        symbols=code,
        addresses=_addresses(image, symbols, offsets.values),
        sizes={name: s.size for name, s in symbols.items() if s.size and not s.tls},
        types=type_addresses(image, WANTED_TYPES, version, offsets.values),
        stripped=".symtab" not in image.sections,
        pie=image.pie,
        entry=image.entry,
        g_tls_offset=g_tls_offset(image, symbols),
        offsets=offsets.values,
        guesses=offsets.guesses,
        sources=offsets.sources,
        identity=key,
    )


def nothing_known(build: BuildInfo, key: Key) -> GoBinary:
    """A Go program that cannot be read further: its goroutines cannot be told apart."""
    return GoBinary(
        version=parse_version(build.version),
        version_text=build.version,
        path=build.path,
        module=build.main_module,
        module_version=build.main_version,
        deps=build.deps,
        settings=build.settings,
        symbols={},
        addresses={},
        sizes={},
        types={},
        stripped=True,
        pie=False,
        entry=0,
        g_tls_offset=None,
        offsets={},
        guesses={},
        sources={},
        identity=key,
    )


def _executable(image: ElfImage, vaddr: int) -> bool:
    return any(
        s.kind == "PT_LOAD" and s.flags & 1 and 0 <= vaddr - s.vaddr < s.memsz
        for s in image.segments
    )


_T = TypeVar("_T")


class _ReadOnce(Generic[_T]):
    """Answers by file identity, refusals among them, so that no file is read twice."""

    def __init__(self, read: Callable[[ElfImage, Key], _T | None]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: LRUCache[Key, _T | ElfError | None] = LRUCache(MAX_CACHED)

    def __call__(self, file: str | os.PathLike[str] | int) -> _T | None:
        where = f"fd {file}" if isinstance(file, int) else os.fspath(file)
        descriptor = os.dup(file) if isinstance(file, int) else os.open(file, os.O_RDONLY)
        try:
            key = identity(descriptor)
            with self._lock:
                known = key in self._known
                answer = self._known.get(key)
            if not known:
                try:
                    answer = self._guarded(descriptor, key)
                except ElfError as error:
                    answer = error
                if identity(descriptor) != key:
                    raise _changed(where)
        except FileChangedError as error:
            raise _changed(where) from error
        finally:
            os.close(descriptor)
        with self._lock:
            self._known[key] = answer
        if isinstance(answer, ElfError):
            raise ElfError(answer.what, where=where, mend=answer.mend)
        return answer

    def _guarded(self, descriptor: int, key: Key) -> _T | None:
        if os.pread(descriptor, 4, 0) != b"\x7fELF":
            return None
        try:
            with ElfImage(descriptor) as image:
                return self._read(image, key)
        except (ValueError, IndexError, ArithmeticError, MemoryError) as error:
            raise ElfError(
                f"the program's tables contradict each other ({type(error).__name__}: {error})",
                mend="rebuild or reinstall the program",
            ) from error


def _changed(where: str) -> ElfError:
    return ElfError(
        "the file changed while it was read",
        where=where,
        mend="nothing, if it was being replaced: its next process is read anew",
    )


_binary = _ReadOnce(_read)
_build = _ReadOnce(lambda image, _: read_build_info(image))


def read_go_binary(file: str | os.PathLike[str] | int) -> GoBinary | None:
    """Read a program by path or open descriptor; None when it was not made by Go.

    Answers are kept by (device, inode, mtime, size), "not Go" and refusals among them.
    Raises ElfError when the file is damaged or of a kind that cannot be read, and OSError
    when it cannot be opened. Callers log either and trace the program by thread.
    """
    return _binary(file)


def read_go_build(file: str | os.PathLike[str] | int) -> BuildInfo | None:
    """The same for the build information alone, which takes a few milliseconds at most."""
    return _build(file)
