"""All that the tracer needs to know of one Go program, read once from its file."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from cachetools import LRUCache

from otel_ebpf.discovery.elf import ElfError, ElfImage, identity
from otel_ebpf.discovery.go_buildinfo import read_build_info
from otel_ebpf.discovery.go_fields import STD
from otel_ebpf.discovery.go_offsets import offsets_of
from otel_ebpf.discovery.go_symbols import GoSymbol, from_pclntab, from_symtab
from otel_ebpf.discovery.go_tls import g_tls_offset
from otel_ebpf.discovery.go_versions import parse_version

MAX_CACHED = 512

_NET_HTTP2 = ("net/http.(*http2", "net/http/internal/http2.(*", "golang.org/x/net/http2.(*")
_GRPC = "google.golang.org/grpc/internal/transport.(*"


def _http2(receiver: str, method: str) -> list[str]:
    """A method's names: bundled in net/http, its later home, and golang.org/x/net."""
    return [f"{prefix}{receiver}).{method}" for prefix in _NET_HTTP2]


DATABASE_CALLS = (
    "database/sql.(*DB).ExecContext",
    "database/sql.(*DB).QueryContext",
    "database/sql.(*DB).PingContext",
    "database/sql.(*Tx).ExecContext",
    "database/sql.(*Tx).QueryContext",
    "database/sql.(*Stmt).ExecContext",
    "database/sql.(*Stmt).QueryContext",
    "github.com/go-redis/redis/v8.(*baseClient).process",
    "github.com/redis/go-redis/v9.(*baseClient).process",
    "github.com/jackc/pgx/v5.(*Conn).Exec",
    "github.com/jackc/pgx/v5.(*Conn).Query",
)
"""Calls of databases whose first argument is a context, and which write it on the goroutine
that calls."""

WANTED: tuple[str, ...] = (
    "runtime.morestack",
    "runtime.tlsg",
    "runtime.casgstatus",
    "runtime.newproc1",
    "runtime.goexit1",
    "runtime.allp",
    "runtime.sched",
    "net/http.(*conn).serve",
    "net/http.(*persistConn).readLoop",
    "net/http.(*persistConn).writeLoop",
    "net/http.(*persistConn).roundTrip",
    "crypto/tls.(*Conn).Read",
    "crypto/tls.(*Conn).Write",
    "crypto/tls.(*Conn).clientHandshake",
    "crypto/tls.(*Conn).serverHandshake",
    *_http2("serverConn", "serve"),
    *_http2("serverConn", "processHeaders"),
    *_http2("serverConn", "writeHeaders"),
    *_http2("serverConn", "runHandler"),
    *_http2("clientConnReadLoop", "handleResponse"),
    *_http2("ClientConn", "readLoop"),
    *_http2("ClientConn", "roundTrip"),
    *_http2("ClientConn", "writeHeader"),
    *_http2("ClientConn", "writeHeaders"),
    f"{_GRPC}http2Server).HandleStreams",
    f"{_GRPC}http2Server).operateHeaders",
    f"{_GRPC}http2Client).reader",
    f"{_GRPC}http2Client).NewStream",
    "google.golang.org/grpc.(*Server).handleStream",
    *DATABASE_CALLS,
)
"""The symbols looked for in every Go program; absent ones cost nothing but the search."""


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
        sizes: name -> size in bytes, where known and not 0.
        stripped: there is no ``.symtab``; functions came from pclntab.
        pie: position-independent.
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
    stripped: bool
    pie: bool
    g_tls_offset: int | None
    offsets: Mapping[str, int]
    guesses: Mapping[str, int]
    sources: Mapping[str, str]
    identity: tuple[int, int, int, int]

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


_cache: LRUCache[tuple[int, int, int, int], GoBinary | None] = LRUCache(MAX_CACHED)
_lock = threading.Lock()


def _symbols(image: ElfImage) -> dict[str, GoSymbol]:
    found = from_symtab(image, WANTED)
    # A linker may keep a symbol table without the function wanted (partial strip).
    missing = [name for name in WANTED if name not in found]
    if "runtime.morestack" not in found:
        found.update(from_pclntab(image, missing))
    return found


def _read(image: ElfImage, key: tuple[int, int, int, int]) -> GoBinary | None:
    info = read_build_info(image)
    if info is None:
        return None
    symbols = _symbols(image)
    offsets = offsets_of(image, info.version, info.deps)
    code = {}
    for name, symbol in symbols.items():
        place = None if symbol.tls else image.file_offset(symbol.vaddr)
        if place is not None and _executable(image, symbol.vaddr):
            code[name] = place
    return GoBinary(
        version=parse_version(info.version),
        version_text=info.version,
        path=info.path,
        module=info.main_module,
        module_version=info.main_version,
        deps=info.deps,
        settings=info.settings,
        symbols=code,
        addresses={name: s.vaddr for name, s in symbols.items() if not s.tls},
        sizes={name: s.size for name, s in symbols.items() if s.size and not s.tls},
        stripped=".symtab" not in image.sections,
        pie=image.pie,
        g_tls_offset=g_tls_offset(image, symbols),
        offsets=offsets.values,
        guesses=offsets.guesses,
        sources=offsets.sources,
        identity=key,
    )


def _executable(image: ElfImage, vaddr: int) -> bool:
    return any(
        s.kind == "PT_LOAD" and s.flags & 1 and 0 <= vaddr - s.vaddr < s.memsz
        for s in image.segments
    )


def read_go_binary(file: str | os.PathLike[str] | int) -> GoBinary | None:
    """Read a program by path or open descriptor; None when it was not made by Go.

    Answers are kept by (device, inode, mtime, size), "not Go" among them. Raises
    ElfError when the file is damaged or of a kind that cannot be read, and OSError
    when it cannot be opened. Callers log either and trace the program by thread.
    """
    descriptor = os.dup(file) if isinstance(file, int) else os.open(file, os.O_RDONLY)
    try:
        key = identity(descriptor)
        with _lock:
            if key in _cache:
                return _cache[key]
        if os.pread(descriptor, 4, 0) != b"\x7fELF":
            answer = None
        else:
            answer = _guarded(descriptor, file, key)
    finally:
        os.close(descriptor)
    with _lock:
        _cache[key] = answer
    return answer


def _guarded(
    descriptor: int, file: str | os.PathLike[str] | int, key: tuple[int, int, int, int]
) -> GoBinary | None:
    where = f"fd {file}" if isinstance(file, int) else os.fspath(file)
    try:
        with ElfImage(descriptor) as image:
            return _read(image, key)
    except ElfError as error:
        raise ElfError(error.what, where=where, mend=error.mend) from error
    except (ValueError, IndexError, ArithmeticError, MemoryError) as error:
        raise ElfError(
            f"the program's tables contradict each other ({type(error).__name__}: {error})",
            where=where,
            mend="rebuild or reinstall the program",
        ) from error
