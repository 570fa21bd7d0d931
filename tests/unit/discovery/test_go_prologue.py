"""Where uprobes at the beginning of Go's functions go, against a decoder of machine code."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.discovery.go_binary import read_go_binary
from otel_ebpf.discovery.go_prologue import MOST, cheapest
from otel_ebpf.discovery.go_returns import decoder
from otel_ebpf.uprobes import Uprobes
from tests.gobuild import build_go

HTTPAPP = Path(__file__).resolve().parents[2] / "targets" / "go" / "httpapp"


def test_up_to_there_only_the_stack_s_end_is_looked_at() -> None:
    program = build_go(HTTPAPP)
    go = read_go_binary(program)
    assert go is not None and go.symbols
    code = program.read_bytes()
    kinds: Counter[str] = Counter()
    for name, offset in go.symbols.items():
        begin = code[offset : offset + MOST]
        place = cheapest(begin)
        for at, _, mnemonic, operands in decoder().disasm_lite(begin, 0):
            if at < place:
                assert mnemonic in ("cmp", "lea", "jbe"), (name, mnemonic, operands)
            elif place:
                assert at == place, (name, "within an instruction")
                kinds[f"{mnemonic} {operands}" if mnemonic == "push" else mnemonic] += 1
                break
            else:
                kinds["none"] += 1
                break
    assert set(kinds) <= {"push rbp", "jbe", "none"}, kinds
    assert kinds["push rbp"] > 0.7 * len(go.symbols), kinds


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("493b6610760455", 6),  # cmp rsp,[r14+16]; jbe; push rbp
        ("493b66100f860403020155", 10),
        ("493b661076044883ec18", 4),  # Go 1.17 to 1.20: sub rsp,24 next
        ("4c8d6424804d3b6610760455", 11),
        ("4c8da424f8f0ffff4d3b66100f860403020155", 18),
        ("64488b0c25f8ffffff483b6110764a4883ec18", 13),  # Go 1.16
        ("64488b0c25f8ffffff488d4424a8483b41100f8601020304", 18),
        ("554889e5", 0),  # no look at the stack's end: as good as it gets
        ("c3493b6610760455", 0),
        ("493b66107604", 4),
        ("493b6610", 0),
        ("", 0),
    ],
)
def test_known_beginnings(code: str, place: int) -> None:
    assert cheapest(bytes.fromhex(code)) == place


@given(st.binary(max_size=MOST))
def test_any_bytes_give_a_place_within_them(code: bytes) -> None:
    assert 0 <= cheapest(code) <= max(0, len(code) - 1)


def test_a_probe_is_put_there_and_counted_as_the_functions(tmp_path: Path) -> None:
    class Kernel:
        attached: list[tuple[str, int, str]] = []  # noqa: RUF012

        def attach_uprobe(self, path: str, offset: int, program: str) -> int:
            self.attached.append((path, offset, program))
            return len(self.attached)

        def detach_uprobe(self, *handles: int) -> None:
            raise AssertionError(handles)

    program = tmp_path / "program"
    program.write_bytes(bytes(16) + bytes.fromhex("493b6610760455") + bytes(9) + b"\xc3")
    uprobes = Uprobes(Kernel())
    key = (1, 2, 3, 4)
    uprobes.runs(1, key, "/app")
    assert uprobes.attach(key, str(program), [(16, "entry"), (32, "leaves")])
    assert Kernel.attached == [(str(program), 22, "entry"), (str(program), 32, "leaves")]
    assert uprobes.missing(key, [(16, "entry")]) == []
