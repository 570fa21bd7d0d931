"""Programs of old and new toolchains: the stripped one gives what the full one does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from otel_ebpf.discovery.elf import ElfImage
from otel_ebpf.discovery.go_binary import GoBinary, read_go_binary
from otel_ebpf.discovery.go_fields import GRPC, XNET, home_of
from otel_ebpf.discovery.go_offsets import from_table
from otel_ebpf.discovery.go_symbols import from_pclntab, from_symtab
from otel_ebpf.discovery.go_variables import scheduler_variables
from otel_ebpf.discovery.go_wanted import WANTED
from tests.gobuild import build_go, go_command

SOURCES = Path(__file__).resolve().parents[2] / "targets" / "go"
STRIP = "-ldflags=-s -w"
PIE = "-buildmode=pie"

pytestmark = pytest.mark.skipif(go_command() is None, reason="no Go on this machine")

# One for each layout of pclntab and of build information, and for each way of maps and HTTP/2.
TOOLCHAINS = ("go1.15.15", "go1.16.15", "go1.19.13", "local", "go1.27.4")


def build(toolchain: str, *flags: str) -> Path:
    return build_go(SOURCES / "stdapp", toolchain=toolchain, flags=flags)


def read(path: Path) -> GoBinary:
    binary = read_go_binary(path)
    assert binary is not None
    return binary


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_a_stripped_position_independent_program_gives_all_that_the_full_one_does(
    toolchain: str,
) -> None:
    full, stripped = read(build(toolchain, PIE)), read(build(toolchain, PIE, STRIP))
    assert (full.stripped, stripped.stripped) == (False, True)
    assert full.pie and stripped.pie
    assert full.version == stripped.version
    assert len(stripped.symbols) > 20
    assert stripped.symbols == full.symbols
    assert set(stripped.sizes) >= set(full.symbols)
    assert stripped.g_tls_offset == full.g_tls_offset == -8
    assert len(stripped.types) >= 6
    assert stripped.types == full.types
    assert {"runtime.allp", "runtime.sched"} <= set(stripped.addresses)
    assert stripped.offsets_source == "table"


@pytest.mark.parametrize("toolchain", [*TOOLCHAINS, "go1.21.13", "go1.24.13"])
def test_the_schedulers_variables_are_where_the_symbols_say(toolchain: str) -> None:
    """Read from code alone, as in a stripped program, and held against the symbols."""
    with ElfImage(build(toolchain)) as image:
        found = scheduler_variables(image, from_pclntab(image, WANTED))
        symbols = from_symtab(image, WANTED)
    assert found["runtime.allp"] == symbols["runtime.allp"].vaddr
    assert found["runtime.sched.goidgen"] == symbols["runtime.sched"].vaddr


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize("kind", [(STRIP,), (PIE, STRIP)], ids=["exe", "pie"])
def test_types_are_where_the_running_program_has_them(
    toolchain: str, kind: tuple[str, ...]
) -> None:
    path = build(toolchain, *kind)
    printed = subprocess.run([path, "types"], capture_output=True, text=True, check=True).stdout
    truth = {name: int(word) for name, word in map(str.split, printed.splitlines())}
    assert len(truth) == 6
    ours = {name.replace("crypto/", ""): at for name, at in read(path).types.items()}
    shifts = {address - ours[name] for name, address in truth.items()}
    assert len(shifts) == 1, "one load address, or none"
    assert (shifts == {0}) == (PIE not in kind)


@pytest.mark.parametrize("toolchain", [*TOOLCHAINS, "go1.21.13", "go1.24.13"])
def test_table_and_debugging_data_agree(toolchain: str) -> None:
    full = read(build(toolchain))
    assert full.offsets_source == "dwarf"
    recorded = from_table(full.version_text)
    assert len(full.offsets) > 120
    assert {name: recorded.values.get(name) for name in full.offsets} == full.offsets


@pytest.mark.parametrize(
    ("program", "module", "version"),
    [("grpcapp", GRPC, "v1.40.0"), ("grpcapp", GRPC, "v1.85.0"), ("xnetapp", XNET, "v0.40.0")],
)
def test_table_and_debugging_data_agree_on_modules(program: str, module: str, version: str) -> None:
    full = read(build_go(SOURCES / program, requires={module: version}))
    assert full.deps[module] == version
    own = {name: at for name, at in full.offsets.items() if home_of(name) == module}
    assert len(own) > 20
    recorded = from_table(full.version_text, full.deps).values
    assert {name: recorded.get(name) for name in own} == own
    stripped = read(build_go(SOURCES / program, flags=(STRIP,), requires={module: version}))
    assert stripped.sources[module] == "table"
    assert {name: stripped.offsets[name] for name in own} == own
    assert stripped.types == full.types
    assert any(name.startswith(f"*{module}/") for name in stripped.types)
