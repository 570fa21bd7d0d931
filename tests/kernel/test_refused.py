"""A kernel that refuses a program of one concern traces everything else."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import Kernel
from otel_ebpf.kernel.obtain import Materials

# exit, without a result: no verifier takes that.
REFUSED = bytes.fromhex("9500000000000000")


class Spoilt:
    """The materials of the kernel half, one program of which no kernel takes."""

    def __init__(self, name: str) -> None:
        self._materials = Materials(KernelConfig())
        self._name = name

    def finish(self) -> tuple[dict[str, int], Any]:
        offsets, compiled = self._materials.finish()
        functions = tuple(
            replace(f, code=REFUSED, maps=()) if f.name == self._name else f
            for f in compiled.functions
        )
        return offsets, replace(compiled, functions=functions)


def test_the_rest_goes_on_and_what_is_missing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        kernel = Kernel(KernelConfig(filter_processes=True), Spoilt("prog_http2"))  # type: ignore[arg-type]
        try:
            kernel.attach()
            assert kernel.stats()["programs_refused"] == 1
            assert "prog_data" in {program.name for program in kernel.programs}
        finally:
            kernel.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "goes without HTTP/2 and gRPC" in said[0] and "prog_http2" in said[0]


def test_what_nothing_works_without_ends_the_start() -> None:
    kernel = Kernel(KernelConfig(filter_processes=True), Spoilt("prog_data"))  # type: ignore[arg-type]
    try:
        with pytest.raises(KernelError, match="prog_data"):
            kernel.attach()
    finally:
        kernel.close()
