"""A look at a file's sections."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from otel_ebpf.discovery.go_guess import may_be_go


def test_a_program_of_another_language_is_none() -> None:
    assert not may_be_go(f"/proc/{os.getpid()}/exe")


def test_go_and_what_cannot_be_told_may_be(tmp_path: Path) -> None:
    whole = Path(os.path.realpath(sys.executable)).read_bytes()
    assert b".init_array\0" in whole
    file = tmp_path / "program"
    told = {
        "Go's": whole.replace(b".init_array\0", b".gopclntab\0\0"),
        "no sections": whole[:40] + bytes(8) + whole[48:],
        "cut": whole[:4096],
        "shorter than a header": whole[:50],
        "far away": whole[:40] + b"\xff" * 8 + whole[48:],
        "no program": b"#!/bin/sh\n",
        "empty": b"",
    }
    for what, data in told.items():
        file.write_bytes(data)
        assert may_be_go(str(file)), what
    assert may_be_go(str(tmp_path / "none"))
