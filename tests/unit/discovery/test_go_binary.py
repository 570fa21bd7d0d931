"""Go programs are read right: against Go's own tools and against the running program."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_ebpf.discovery.elf import ElfError, ElfImage
from otel_ebpf.discovery.go_binary import GoBinary, read_go_binary
from otel_ebpf.discovery.go_offsets import from_table
from otel_ebpf.discovery.go_wanted import WANTED
from tests.gobuild import build_go, go_command

TOOLCHAIN = os.environ.get("OTEL_EBPF_TEST_GOTOOLCHAIN", "local")
SOURCES = Path(__file__).resolve().parents[2] / "targets" / "go"

pytestmark = pytest.mark.skipif(go_command() is None, reason="no Go on this machine")

VARIANTS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "plain": ("httpapp", (), {}),
    "stripped": ("httpapp", ("-ldflags=-s -w",), {}),
    "pie": ("httpapp", ("-buildmode=pie",), {}),
    "pie-stripped": ("httpapp", ("-buildmode=pie", "-ldflags=-s -w"), {}),
}
CGO: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "cgo": ("cgoapp", (), {"CGO_ENABLED": "1"}),
    "cgo-stripped": ("cgoapp", ("-ldflags=-s -w",), {"CGO_ENABLED": "1"}),
    "cgo-pie": ("cgoapp", ("-buildmode=pie",), {"CGO_ENABLED": "1"}),
    "cgo-pie-stripped": ("cgoapp", ("-buildmode=pie", "-ldflags=-s -w"), {"CGO_ENABLED": "1"}),
    "cgo-static": ("cgoapp", ("-ldflags=-extldflags=-static",), {"CGO_ENABLED": "1"}),
}
if shutil.which("gcc"):
    VARIANTS |= CGO


def program(variant: str) -> Path:
    source, flags, env = VARIANTS[variant]
    return build_go(SOURCES / source, toolchain=TOOLCHAIN, flags=flags, env=env)


def read(variant: str) -> GoBinary:
    binary = read_go_binary(program(variant))
    assert binary is not None
    return binary


def nm(path: Path) -> dict[str, int]:
    go = go_command()
    assert go is not None
    text = subprocess.run([go, "tool", "nm", str(path)], capture_output=True, text=True, check=True)
    rows = (line.split(None, 2) for line in text.stdout.splitlines())
    return {row[2]: int(row[0], 16) for row in rows if len(row) == 3 and row[1] != "U"}


def test_version_and_modules() -> None:
    binary = read("plain")
    go = go_command()
    assert go is not None
    # Run where no go.mod asks for another toolchain.
    said = subprocess.run([go, "version", str(program("plain"))], capture_output=True, text=True)
    assert binary.version_text == said.stdout.rsplit(": ", 1)[1].strip()
    assert binary.version >= (1, 21, 0)
    assert (binary.path, binary.module) == ("example.com/httpapp", "example.com/httpapp")
    assert binary.service_name == "httpapp"
    assert binary.settings["GOOS"] == "linux"


@pytest.mark.parametrize("variant", sorted(v for v in VARIANTS if "stripped" not in v))
def test_addresses_agree_with_go_tool_nm(variant: str) -> None:
    binary, truth = read(variant), nm(program(variant))
    expected = {
        name: truth.get(name, truth.get(f"{name}.abi0"))
        for name in WANTED
        if name != "runtime.tlsg" and (name in truth or f"{name}.abi0" in truth)
    }
    assert dict(binary.addresses) == expected
    assert {"net/http.(*conn).serve", "runtime.casgstatus"} <= set(binary.symbols)
    assert "runtime.sched" in binary.addresses
    assert "runtime.sched" not in binary.symbols, "a variable is no place for a uprobe"


@pytest.mark.parametrize("kind", ["", "pie-", *(["cgo-", "cgo-pie-"] if "cgo" in VARIANTS else [])])
def test_a_stripped_program_gives_the_same_functions(kind: str) -> None:
    full, stripped = read(kind.rstrip("-") or "plain"), read(f"{kind}stripped")
    assert stripped.stripped
    assert not full.stripped
    assert stripped.symbols == full.symbols
    assert stripped.g_tls_offset == full.g_tls_offset
    assert stripped.offsets_source == "table"
    assert full.offsets_source == "dwarf"


def test_offsets_agree_with_the_programs_own_reflection() -> None:
    binary = read("plain")
    printed = subprocess.run(
        [program("plain"), "layout"], capture_output=True, text=True, check=True
    ).stdout
    truth = {name: int(value) for name, value in map(str.split, printed.splitlines())}
    assert len(truth) >= 12
    names = {"net.netFD.sysfd": "net.netFD.pfd.Sysfd"}
    ours = {name: binary.offsets.get(names.get(name, name)) for name in truth}
    assert ours == truth


def test_the_table_agrees_with_the_local_toolchains_debugging_data() -> None:
    binary = read("plain")
    recorded = from_table(binary.version_text, binary.deps)
    if recorded.guesses:
        pytest.skip(f"{binary.version_text} is newer than the table; run scripts/gen-go-offsets")
    # A program links some of the types; of those that it does, the table says the same.
    assert len(binary.offsets) > 80
    assert {name: recorded.values.get(name) for name in binary.offsets} == binary.offsets


class _Regs(ctypes.Structure):
    """struct user_regs_struct of x86-64."""

    _fields_ = [(f"r{i}", ctypes.c_ulonglong) for i in range(27)]


_RSP, _FS_BASE = "r19", "r21"


@pytest.fixture
def waiting() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="amd64 registers")
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_g_is_where_the_offset_says_in_a_running_program(
    variant: str, waiting: list[subprocess.Popen[bytes]]
) -> None:
    """Stop a thread, follow its thread pointer: its stack pointer lies on g's own stack."""
    binary = read(variant)
    assert binary.g_tls_offset is not None
    process = subprocess.Popen([program(variant)], stdout=subprocess.PIPE)
    waiting.append(process)
    assert process.stdout is not None
    process.stdout.readline()  # it listens: all of its runtime is up
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    attach, get_regs, detach = 16, 12, 17
    if libc.ptrace(attach, process.pid, None, None):
        pytest.skip("ptrace is not permitted here")
    try:
        os.waitpid(process.pid, 0)
        regs = _Regs()
        assert libc.ptrace(get_regs, process.pid, None, ctypes.addressof(regs)) == 0
        pointer = getattr(regs, _FS_BASE) + binary.g_tls_offset
        with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:

            def word(address: int) -> int:
                return int(struct.unpack("<Q", os.pread(memory.fileno(), 8, address))[0])

            g = word(pointer)
            low, high = word(g), word(g + binary.offsets["runtime.g.stack.hi"])
            assert low < getattr(regs, _RSP) <= high
            # g.m.g0 is the first word of m, and g0.m leads back to the same m.
            m = word(g + binary.offsets["runtime.g.m"])
            assert word(word(m) + binary.offsets["runtime.g.m"]) == m
            assert word(g + binary.offsets["runtime.g.goid"]) < 1000
            if not binary.pie:
                body = program(variant).read_bytes()
                for name, offset in binary.symbols.items():
                    code = os.pread(memory.fileno(), 16, binary.addresses[name])
                    # Another tracer's breakpoint may be on the very first byte.
                    breakpoint_ = code[:1] == b"\xcc"
                    assert code[breakpoint_:] == body[offset + breakpoint_ : offset + 16], name
    finally:
        libc.ptrace(detach, process.pid, None, None)
        process.send_signal(signal.SIGKILL)


def test_other_files_are_not_go(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    (tmp_path / "empty").write_bytes(b"")
    assert read_go_binary(script) is None
    assert read_go_binary(tmp_path / "empty") is None
    assert read_go_binary("/bin/true") is None


def test_a_cut_program_is_named_in_a_clear_error(tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(program("plain").read_bytes()[:100_000])
    with pytest.raises(ElfError) as caught:
        read_go_binary(cut)
    assert str(cut) in str(caught.value)
    assert "mend:" in str(caught.value)


def test_a_replaced_file_is_read_again(tmp_path: Path) -> None:
    target = tmp_path / "app"
    shutil.copy("/bin/true", target)
    assert read_go_binary(target) is None
    target.unlink()
    shutil.copy(program("plain"), target)
    first = read_go_binary(target)
    assert first is not None
    assert read_go_binary(target) is first, "an unchanged file is read once"


def test_an_open_descriptor_outlives_the_file(tmp_path: Path) -> None:
    target = tmp_path / "app"
    shutil.copy(program("plain"), target)
    with open(target, "rb") as file:
        target.unlink()
        binary = read_go_binary(file.fileno())
    assert binary is not None
    assert binary.g_tls_offset == -8


def _tables(path: Path) -> list[tuple[int, int]]:
    """Where damage reaches the readers: headers, tables, and the code that is decoded."""
    with ElfImage(path) as image:
        spans = [image.span(s) for s in image.sections.values() if s.size]
        size = len(image.data)
    return [(0, 4096), (size - 4096, size), *((a, min(b, a + 4096)) for a, b in spans if b > a)]


def test_a_symbol_table_of_nothing_but_decoys_costs_little() -> None:
    """Every word looks like the wanted name's offset, none in the right place."""
    path = program("plain")
    body = bytearray(path.read_bytes())
    with ElfImage(path) as image:
        names, names_end = image.span(image.sections[".strtab"])
        start, end = image.span(image.sections[".symtab"])
        at = image.data.find(b"runtime.casgstatus\0", names, names_end) - names
    shifted = b"\0" + struct.pack("<I", at) * ((end - start) // 4 + 1)
    body[start:end] = shifted[: end - start]
    descriptor = os.memfd_create("decoys")
    try:
        os.write(descriptor, body)
        began = time.thread_time()
        binary = read_go_binary(descriptor)
        assert time.thread_time() - began < 2
    finally:
        os.close(descriptor)
    assert binary is not None
    assert binary.symbols == read("plain").symbols, "pclntab still has the functions"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), variant=st.sampled_from(["plain", "stripped"]))
def test_damage_gives_an_answer_or_a_clear_error(data: st.DataObject, variant: str) -> None:
    path = program(variant)
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 12))):
        start, end = data.draw(st.sampled_from(_tables(path)))
        at = data.draw(st.integers(start, end - 1))
        body[at] = data.draw(st.integers(0, 255))
    descriptor = os.memfd_create("damaged")
    try:
        os.write(descriptor, body)
        try:
            binary = read_go_binary(descriptor)
        except ElfError as error:
            assert error.what
        else:
            assert binary is None or all(0 <= o < len(body) for o in binary.symbols.values())
    finally:
        os.close(descriptor)
