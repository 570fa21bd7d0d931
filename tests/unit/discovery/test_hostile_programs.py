"""Programs that lie: an answer or a clear error, in bounded time and memory."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otel_ebpf.discovery import file_bytes
from otel_ebpf.discovery.elf import ElfError, ElfImage
from otel_ebpf.discovery.file_bytes import FileBytes
from otel_ebpf.discovery.go_binary import GoBinary, _ReadOnce, read_go_binary, read_go_build
from otel_ebpf.discovery.go_buildinfo import read_build_info
from tests.unit.discovery.elf_maker import make_elf, place

SECONDS = 3.0
MEMORY = 96 << 20
MAGIC = b"\xff Go buildinf:\x08"


def told(body: bytes) -> GoBinary | str | None:
    """What is read of a file with these bytes, or the error; within the bounds."""
    descriptor = os.memfd_create("program")
    tracemalloc.start()
    try:
        os.write(descriptor, body)
        began = time.thread_time()
        try:
            return read_go_binary(descriptor)
        except ElfError as error:
            assert error.what
            return error.what
        finally:
            assert time.thread_time() - began < SECONDS
            assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
        os.close(descriptor)


def in_place(version: bytes, listing: bytes, flags: int = 2) -> bytes:
    """Build information as Go 1.18 and later write it."""

    def text(body: bytes) -> bytes:
        size, out = len(body), b""
        while size >= 0x80:
            out += bytes([size & 0x7F | 0x80])
            size >>= 7
        return out + bytes([size]) + body

    return (MAGIC + bytes([flags])).ljust(32, b"\0") + text(version) + text(listing)


MARK = b"0" * 16


def test_an_honest_small_program_is_read() -> None:
    listing = MARK + b"path\ta/b\nmod\ta\tv1.2.3\ndep\tx\tv0.1.0\tsum\n=>\ty\tv0.2.0\n" + MARK
    known = told(make_elf({".go.buildinfo": in_place(b"go1.26.1", listing)}))
    assert isinstance(known, GoBinary)
    assert (known.version, known.path, known.module_version) == ((1, 26, 1), "a/b", "v1.2.3")
    assert known.deps == {"x": "v0.2.0"}
    assert not known.symbols
    assert known.g_tls_offset is None
    assert known.offsets["runtime.g.goid"] == 152, "the table goes by the version"


def test_a_forks_version_is_not_the_modules() -> None:
    grpc = b"dep\tgoogle.golang.org/grpc\tv1.40.0\t\n"
    plain = in_place(b"go1.26.1", MARK + grpc + MARK)
    fork = in_place(b"go1.26.1", MARK + grpc + b"=>\texample.com/grpc\tv1.40.0\t\n" + MARK)
    known, forked = (
        told(make_elf({".go.buildinfo": plain})),
        told(make_elf({".go.buildinfo": fork})),
    )
    assert isinstance(known, GoBinary) and isinstance(forked, GoBinary)
    assert set(known.sources) == {"go", "google.golang.org/grpc"}
    assert set(forked.sources) == {"go"}


def test_build_information_by_pointers() -> None:
    """Go until 1.17: two pointers to string headers."""
    texts = b"go1.16.5" + MARK + b"path\tp\n" + MARK
    parts = {".go.buildinfo": bytes(32), ".data": bytes(32), ".rodata": texts}
    at = place(make_elf(parts), texts)
    headers = struct.pack("<QQQQ", at, 8, at + 8, len(texts) - 8)
    parts[".data"] = headers
    data = place(make_elf(parts), headers)
    parts[".go.buildinfo"] = MAGIC + b"\0" + struct.pack("<QQ", data, data + 16)
    known = told(make_elf(parts))
    assert isinstance(known, GoBinary)
    assert (known.version, known.path) == ((1, 16, 5), "p")


@pytest.mark.parametrize(
    "body",
    [
        MAGIC + b"\2" + bytes(16) + b"\xff" * 20,
        MAGIC + b"\2" + bytes(16) + b"\xff\xff\xff\xff\x7f" + b"go1.26",
        MAGIC + b"\0" + struct.pack("<QQ", 1 << 63, 8),
        in_place(b"", b""),
        in_place(b"\0" * 300, MARK + b"dep\n=>\n=>\t\t\nmod\n" + MARK),
        in_place(b"go1." + b"9" * 5000, b""),
        in_place(b"not a version", MARK * 3),
    ],
)
def test_build_information_that_lies(body: bytes) -> None:
    known = told(make_elf({".go.buildinfo": body}))
    assert known is None or (isinstance(known, GoBinary) and not known.offsets)


def test_a_listing_of_very_many_modules_is_cut() -> None:
    listing = MARK + b"".join(b"dep\tm%d\tv1\n" % n for n in range(60_000)) + MARK
    known = told(make_elf({".go.buildinfo": in_place(b"go1.26.1", listing)}))
    assert isinstance(known, GoBinary)
    assert len(known.deps) <= 20_000


_words = st.integers(0, 2**64 - 1) | st.integers(0, 4096)


@st.composite
def pclntabs(draw: st.DrawFn) -> bytes:
    """A header of some layout with words that may be anything, and bytes behind it."""
    magic = draw(st.sampled_from([b"\xfb", b"\xfa", b"\xf0", b"\xf1"])) + b"\xff\xff\xff\0\0\1\x08"
    words = draw(st.lists(_words, min_size=8, max_size=8))
    names = b"\0runtime.morestack\0net/http.(*conn).serve\0"
    return magic + struct.pack("<8Q", *words) + names + draw(st.binary(max_size=300))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pclntab=pclntabs(),
    symtab=st.binary(max_size=240),
    debug=st.binary(max_size=400),
    relocations=st.binary(max_size=240),
    version=st.sampled_from([b"go1.15", b"go1.17", b"go1.20", b"go1.27.4", b"devel +abc"]),
    pie=st.booleans(),
)
@example(b"\xf1\xff\xff\xff\0\0\1\x08" + b"\xff" * 64, b"", b"", b"", b"go1.26", True)
def test_any_tables(
    pclntab: bytes, symtab: bytes, debug: bytes, relocations: bytes, version: bytes, pie: bool
) -> None:
    known = told(
        make_elf(
            {
                ".go.buildinfo": in_place(version, b""),
                ".gopclntab": pclntab,
                ".symtab": symtab,
                ".strtab": b"\0runtime.morestack\0runtime.tlsg\0runtime.types\0runtime.etypes\0",
                ".debug_abbrev": debug,
                ".debug_info": b"runtime.g\0" + debug,
                ".rela.dyn": relocations,
            },
            pie=pie,
        )
    )
    if isinstance(known, GoBinary):
        assert all(offset >= 0 for offset in known.symbols.values())


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=600),
    st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), max_size=8),
)
def test_any_headers(rest: bytes, changes: list[tuple[int, int]]) -> None:
    body = bytearray(make_elf({".text": rest}))
    for at, value in changes:
        body[at] = value
    told(bytes(body))


def test_a_file_of_nothing_but_a_terabyte_of_holes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(make_elf({".text": b""}))
    os.truncate(path, 1 << 40)
    began = time.thread_time()
    with pytest.raises(ElfError, match="too large"):
        read_go_binary(path)
    assert time.thread_time() - began < SECONDS


def test_a_file_that_is_cut_short_while_it_is_read_is_named_and_read_anew(tmp_path: Path) -> None:
    whole = make_elf({".go.buildinfo": in_place(b"go1.26.1", b""), ".data": bytes(3 << 20)})
    path = tmp_path / "program"
    path.write_bytes(whole)

    def read(image: ElfImage, _: object) -> int:
        os.truncate(path, 4096)
        return image.data.find(b"nowhere")

    with pytest.raises(ElfError, match="changed while it was read") as refused:
        _ReadOnce(read)(path)
    assert str(path) in str(refused.value)
    path.write_bytes(whole)
    assert read_go_binary(path) is not None


def test_a_file_that_is_written_to_while_it_is_read_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(make_elf({".go.buildinfo": in_place(b"go1.26.1", b"")}))
    reads = 0

    def read(image: ElfImage, _: object) -> int:
        nonlocal reads
        reads += 1
        if reads == 1:
            os.utime(path, ns=(1, 1))
        return reads

    once = _ReadOnce(read)
    with pytest.raises(ElfError, match="changed"):
        once(path)
    assert once(path) == 2
    assert once(path) == 2, "read once"


def test_a_refusal_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(make_elf({".text": b""}))
    reads = 0

    def read(image: ElfImage, _: object) -> None:
        nonlocal reads
        reads += 1
        raise ElfError("cannot be read")

    once: _ReadOnce[None] = _ReadOnce(read)
    for _ in range(3):
        with pytest.raises(ElfError, match="cannot be read"):
            once(path)
    assert reads == 1


def test_the_build_information_alone_needs_no_tables() -> None:
    descriptor = os.memfd_create("program")
    try:
        parts = {".go.buildinfo": in_place(b"go1.26.1", b""), ".symtab": b"x" * 100}
        os.write(descriptor, make_elf(parts))
        build = read_go_build(descriptor)
        with ElfImage(descriptor) as image:
            assert build == read_build_info(image)
    finally:
        os.close(descriptor)
    assert build is not None and build.version == "go1.26.1"


@given(
    body=st.binary(max_size=200),
    patterns=st.sets(st.binary(min_size=1, max_size=12), min_size=1, max_size=4),
    start=st.integers(0, 200),
    end=st.integers(0, 220),
    data=st.data(),
)
def test_a_file_in_pieces_is_searched_as_bytes_are(
    body: bytes, patterns: set[bytes], start: int, end: int, data: st.DataObject
) -> None:
    if len(body) > 20:  # what is there should often be found, across borders too
        at = data.draw(st.integers(0, len(body) - 13))
        patterns.add(body[at : at + data.draw(st.integers(1, 12))])
    descriptor = os.memfd_create("bytes")
    whole, file_bytes.PIECE = file_bytes.PIECE, 16
    try:
        os.write(descriptor, body)
        file = FileBytes(descriptor)
        assert file[start:end] == body[start:end]
        assert file.read() == body
        for pattern in patterns:
            assert file.find(pattern, start, end) == body.find(pattern, start, end)
        found = set(file.find_each(patterns, start, end, 1000))
        stop = min(end, len(body))
        expected = {
            (pattern, at)
            for pattern in patterns
            for at in range(start, stop - len(pattern) + 1)
            if body.startswith(pattern, at)
        }
        assert found == expected
        file.close()
    finally:
        file_bytes.PIECE = whole
        os.close(descriptor)
