"""Compiled programs are kept where nobody else can write, and never believed blindly."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.kernel import cache as module
from otel_ebpf.kernel.cache import KEPT, ProgramCache, cache_key, folders
from otel_ebpf.kernel.compiled import Compiled, Function, MapDefinition

MAP = MapDefinition("numbers", 1, 4, 8, 16, 0, '"int"', '"unsigned long long"')
CODE = bytes.fromhex("18110000000000000000000000000000b7000000000000009500000000000000")


def compiled(*made_by: tuple[str, int, int], name: str = "on_exit") -> Compiled:
    return Compiled((MAP,), (Function(name, CODE, ((0, 0),)),), made_by)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var" / "otel-ebpf"


@pytest.fixture
def kept(folder: Path) -> Iterator[ProgramCache]:
    found, why = ProgramCache.open([folder])
    assert found is not None, why
    yield found
    found.close()


def test_what_was_kept_comes_back_and_the_folder_is_closed_to_others(
    kept: ProgramCache, folder: Path
) -> None:
    assert kept.load("a") is None
    kept.store("a", compiled())
    assert kept.load("a") == compiled()
    assert kept.load("b") is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()] == [0o600]


def test_descriptors_are_put_where_the_code_wants_them() -> None:
    bound = compiled().functions[0].bound([77])
    assert bound[4:8] == (77).to_bytes(4, "little")
    assert bound[:4] + bound[8:] == CODE[:4] + CODE[8:]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_open_to_others_is_not_used(folder: Path, mode: int) -> None:
    folder.mkdir(parents=True)
    folder.chmod(mode)
    found, why = ProgramCache.open([folder])
    assert found is None
    assert str(folder) in why and "open to others" in why


def test_a_link_is_no_folder(folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    folder.parent.mkdir()
    folder.symlink_to(real)
    assert ProgramCache.open([folder])[0] is None


def test_the_next_place_is_taken_where_the_first_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    found, why = ProgramCache.open([tmp_path / "file" / "x", tmp_path / "good"])
    assert found is not None and found.folder == tmp_path / "good"
    assert str(tmp_path / "file") in why
    found.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_what_belongs_to_another_user_is_not_used(kept: ProgramCache, folder: Path) -> None:
    kept.store("a", compiled())
    os.chown(folder / "a.programs", 65534, -1)
    assert kept.load("a") is None
    os.chown(folder, 65534, -1)
    found, why = ProgramCache.open([folder])
    assert found is None and "belongs to user 65534" in why


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_entry_that_others_may_write_is_not_used(
    kept: ProgramCache, folder: Path, mode: int
) -> None:
    kept.store("a", compiled())
    (folder / "a.programs").chmod(mode)
    assert kept.load("a") is None


def test_neither_a_link_nor_a_pipe_is_an_entry(kept: ProgramCache, folder: Path) -> None:
    kept.store("a", compiled())
    (folder / "b.programs").symlink_to(folder / "a.programs")
    os.mkfifo(folder / "c.programs", 0o600)
    assert kept.load("b") is None
    assert kept.load("c") is None


def test_damage_is_noticed_told_and_mended(
    kept: ProgramCache, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, module.__name__)
    kept.store("a", compiled())
    entry = folder / "a.programs"
    data = bytearray(entry.read_bytes())
    data[-3] ^= 1
    entry.write_bytes(data)
    assert kept.load("a") is None
    assert "a.programs is made anew: it is damaged" in caplog.text
    kept.store("a", compiled())
    assert kept.load("a") == compiled()


def test_another_compiler_makes_an_entry_stale(
    kept: ProgramCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, module.__name__)
    library = tmp_path / "libbcc.so.0"
    library.write_text("one")
    status = library.stat()
    kept.store("a", compiled((str(library), status.st_size, status.st_mtime_ns)))
    assert kept.load("a") is not None
    library.write_text("another")
    assert kept.load("a") is None
    library.unlink()
    assert kept.load("a") is None
    assert f"{library} has changed" in caplog.text


def test_old_entries_and_unfinished_ones_go(kept: ProgramCache, folder: Path) -> None:
    before = time.time() - 7200
    for name in ("left.new", "new.new"):
        (folder / name).touch(mode=0o600)
    os.utime(folder / "left.new", (before, before))
    for number in range(KEPT + 3):
        kept.store(f"{number}", compiled())
        os.utime(folder / f"{number}.programs", (before + number, before + number))
    assert len(kept.entries()) <= KEPT + 1
    assert kept.entries()[0] == f"{KEPT + 2}.programs"
    assert kept.load("0") is None
    assert not (folder / "left.new").exists()
    assert (folder / "new.new").exists(), "another start may be writing it"


def test_a_full_disk_keeps_nothing_and_harms_nothing(
    kept: ProgramCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    kept.store("a", compiled())
    assert list(folder.iterdir()) == []


def test_every_part_counts_for_the_key() -> None:
    keys = {
        cache_key(parts)
        for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""], [b"c", b"ab"])
    }
    assert len(keys) == 5


def test_where_entries_may_be() -> None:
    home = {"HOME": "/home/a"}
    assert folders(home, 1000) == [Path("/home/a/.cache/otel-ebpf/programs")]
    assert folders(home, 0)[0] == Path("/var/cache/otel-ebpf")
    assert folders({"XDG_CACHE_HOME": "/c"}, 7) == [Path("/c/otel-ebpf/programs")]
    assert folders({"XDG_CACHE_HOME": "relative"}, 7) == []
    assert folders({"CACHE_DIRECTORY": "/var/cache/x:/var/cache/y"}, 7) == [Path("/var/cache/x")]


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_bytes_make_it_fail_otherwise_than_by_saying_so(noise: bytes, at: int) -> None:
    whole = compiled(("/lib/x", 1, 2)).encode()
    for data in (noise, whole[:at], whole[:at] + noise, whole[:at] + noise + whole[at:]):
        if data == whole:
            continue
        with pytest.raises(ValueError):
            Compiled.decode(data)
