"""A program of 80 MB and 100,000 functions: less than a second and 120 MiB, peak."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gobuild import build_go, cache_dir, go_command

PACKAGES, EACH = 4, 25_000
DATA = 48 << 20
ROUNDS = 3

READ = """
import re, sys, time
from otel_ebpf.discovery.go_binary import read_go_binary
began = time.process_time()
go = read_go_binary(sys.argv[1])
spent = time.process_time() - began
# Of this program alone: what getrusage tells includes the parent's, from before the exec.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(spent, peak)
print(len(go.symbols), len(go.types), go.g_tls_offset, go.offsets_source)
"""


def sources() -> Path:
    """Where the program is written to; made once."""
    folder = cache_dir() / f"huge-{PACKAGES}x{EACH}"
    if (folder / "go.mod").exists():
        return folder
    imports, calls = "", ""
    for number in range(PACKAGES):
        package = folder / f"p{number}"
        package.mkdir(parents=True, exist_ok=True)
        every = ",".join(f"f{i}" for i in range(EACH))
        bodies = "".join(f"func f{i}() {{ Sum += {i} }}\n" for i in range(EACH))
        (package / "f.go").write_text(
            f"package p{number}\n\nvar Sum int\n\nvar All = []func(){{{every}}}\n\n{bodies}"
        )
        imports += f'\t"example.com/huge/p{number}"\n'
        calls += f"\tfor _, f := range p{number}.All {{\n\t\tf()\n\t}}\n"
    (folder / "data").write_bytes(os.urandom(1 << 20) * (DATA >> 20))
    (folder / "main.go").write_text(
        f'package main\n\nimport (\n\t_ "embed"\n\t"net/http"\n\n{imports})\n\n'
        "//go:embed data\nvar Data string\n\n"
        f"func main() {{\n{calls}\tprintln(len(Data), http.ListenAndServe(Data[:1], nil))\n}}\n"
    )
    (folder / "go.mod").write_text("module example.com/huge\n\ngo 1.18\n")  # last: it is whole
    return folder


@pytest.mark.skipif(go_command() is None, reason="no Go on this machine")
@pytest.mark.parametrize("flags", [(), ("-ldflags=-s -w",)], ids=["full", "stripped"])
def test_a_huge_program_is_read_fast_and_in_little_memory(flags: tuple[str, ...]) -> None:
    program = build_go(sources(), flags=flags)
    assert program.stat().st_size > 60 << 20
    seconds, peaks = [], []
    for _ in range(ROUNDS):
        run = subprocess.run(
            [sys.executable, "-c", READ, program], capture_output=True, text=True, check=True
        )
        figures, answer = run.stdout.splitlines()
        spent, peak = map(float, figures.split())
        seconds.append(spent)
        peaks.append(peak)
    functions, types, place, _ = answer.split()
    assert int(functions) > 10 and int(types) > 5 and place == "-8"
    assert min(seconds) < 1
    assert max(peaks) < 120
