"""Which library of TLS a process has that cannot be read."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from otel_ebpf.discovery import tls_libraries
from otel_ebpf.discovery.file_bytes import PIECE
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.discovery.tls_libraries import MOST_SEARCHED, not_readable

REGISTRY = b"/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f"


def process(root: Path, content: bytes, maps: str = "") -> ProcFs:
    """A process 7 whose program holds ``content`` somewhere behind its first megabyte."""
    home = root / "7"
    home.mkdir()
    noise = random.Random(7).randbytes(PIECE)
    program = root / "program"
    program.write_bytes(noise[:-7] + content + noise)
    (home / "exe").symlink_to(program)
    (home / "maps").write_text(maps)
    return ProcFs(str(root))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (REGISTRY + b"/rustls-0.23.46/src/client/hs.rs", "rustls 0.23.46"),
        (REGISTRY + b"/rustls-0.24.0-dev.1/src/client/hs.rs", "rustls 0.24.0"),
        (b"vendor/rustls/src/msgs/codec.rs", "rustls"),
        # Those speak to rustls, or to others, and need not be with it.
        (REGISTRY + b"/rustls-pki-types-1.15.1/src/lib.rs", ""),
        (REGISTRY + b"/hyper-rustls-0.27.7/src/connector.rs", ""),
        (b"see https://docs.rs/rustls-0.23", ""),
    ],
)
def test_rustls_is_known_by_paths_within_the_program(
    tmp_path: Path, content: bytes, name: str
) -> None:
    assert not_readable(7, process(tmp_path, content)) == name


def test_it_is_named_beside_what_is_mapped(tmp_path: Path) -> None:
    line = "7f0000000000-7f0000001000 r-xp 00000000 08:01 5 /usr/lib/libgnutls.so.30\n"
    proc = process(tmp_path, REGISTRY + b"/rustls-0.23.46/src/conn.rs", line)
    assert not_readable(7, proc) == "GnuTLS, rustls 0.23.46"


def test_modules_are_searched_too_and_no_more_than_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "fetch.abi3.so"
    module.write_bytes(bytes(PIECE) + REGISTRY + b"/rustls-0.23.1/src/conn.rs")
    line = f"7f0000000000-7f0000001000 r-xp 00000000 08:01 5 {module}\n"
    proc = process(tmp_path, b"", line)
    (tmp_path / "7" / "map_files").mkdir()
    (tmp_path / "7" / "map_files" / "7f0000000000-7f0000001000").symlink_to(module)
    assert not_readable(7, proc) == "rustls 0.23.1"
    monkeypatch.setattr(tls_libraries, "MOST_SEARCHED", 2 * PIECE + 100)
    assert not_readable(7, proc) == ""


def test_a_program_that_ends_or_is_huge_has_none(tmp_path: Path) -> None:
    proc = process(tmp_path, b"")
    os.truncate(tmp_path / "program", MOST_SEARCHED + 1)
    assert not_readable(7, proc) == ""
    (tmp_path / "program").unlink()
    assert not_readable(7, proc) == ""
    assert not_readable(8, proc) == ""
