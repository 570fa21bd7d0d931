"""RETs of functions, against what another decoder (objdump) says of the same program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.discovery.go_binary import read_go_binary
from otel_ebpf.discovery.go_returns import return_offsets, returns
from tests.gobuild import build_go

HTTPAPP = Path(__file__).resolve().parents[2] / "targets" / "go" / "httpapp"
FUNCTIONS = ("runtime.newproc1", "crypto/tls.(*Conn).Read", "net/http.(*persistConn).roundTrip")


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_return_is_found_and_nothing_else(function: str) -> None:
    program = build_go(HTTPAPP)
    go = read_go_binary(program)
    assert go is not None
    offset, address, size = go.symbols[function], go.addresses[function], go.sizes[function]
    with program.open("rb") as file:
        found = return_offsets(file.fileno(), offset, size)
    window = (f"--start-address={address}", f"--stop-address={address + size}")
    listing = subprocess.run(
        ["objdump", "-d", *window, program],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = re.findall(r"^\s+([0-9a-f]+):\t[^\t]*\t(?:repz? )?ret", listing, re.M)
    assert found and found == [int(at, 16) - address + offset for at in lines]


def test_a_return_s_byte_within_an_instruction_is_none() -> None:
    # mov $0xc3c3c3c3,%eax; ret
    assert returns(bytes.fromhex("b8c3c3c3c3c3")) == [5]


def test_code_that_cannot_be_decoded_has_no_returns() -> None:
    assert returns(bytes.fromhex("c306c3")) == []  # 06 is no instruction in 64-bit mode
    assert returns(bytes.fromhex("c3b8c3")) == []  # cut off


@given(st.binary(max_size=200))
def test_any_bytes_give_places_within_them(code: bytes) -> None:
    found = returns(code)
    assert found == sorted(set(found)) and all(0 <= at < len(code) for at in found)


def test_a_function_beyond_the_file_has_none(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"\xc3")
    with short.open("rb") as file:
        assert return_offsets(file.fileno(), 0, 1) == [0]
        assert return_offsets(file.fileno(), 0, 2) == []
        assert return_offsets(file.fileno(), 0, 0) == []
        assert return_offsets(file.fileno(), -1, 1) == []
