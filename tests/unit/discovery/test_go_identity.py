"""Which way a program's goroutines are told apart, by what is known of it and what was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from otel_ebpf.discovery.go_binary import GoBinary, read_go_binary
from otel_ebpf.discovery.go_identity import (
    BOTH,
    TLS,
    UPROBE,
    births_needed,
    births_seen,
    chosen_way,
    identity_members,
    identity_places,
)
from tests.gobuild import build_go

TRUTH = Path(__file__).resolve().parents[2] / "targets" / "go" / "truth"


@pytest.fixture(scope="module")
def program() -> Path:
    return build_go(TRUTH)


@pytest.fixture
def go(program: Path) -> GoBinary:
    known = read_go_binary(program)
    assert known is not None
    return known


def without(go: GoBinary, *names: str) -> GoBinary:
    return replace(
        go,
        offsets={k: v for k, v in go.offsets.items() if k not in names},
        symbols={k: v for k, v in go.symbols.items() if k not in names},
        addresses={k: v for k, v in go.addresses.items() if k not in names},
    )


@pytest.mark.parametrize(
    ("asked", "way"), [("auto", TLS), ("tls", TLS), ("uprobe", UPROBE), ("both", BOTH)]
)
def test_where_all_is_known_the_asked_way_is_taken(go: GoBinary, asked: str, way: int) -> None:
    assert chosen_way(go, asked) == way


def test_the_scheduler_stands_in_where_the_place_of_g_is_not_known(go: GoBinary) -> None:
    lost = replace(go, g_tls_offset=None)
    assert chosen_way(lost, "auto") == chosen_way(lost, "uprobe") == UPROBE
    assert chosen_way(lost, "tls") is None


def test_without_the_number_s_place_nothing_tells_goroutines_apart(go: GoBinary) -> None:
    for asked in ("auto", "tls", "uprobe", "both"):
        assert chosen_way(without(go, "runtime.g.goid"), asked) is None


def test_arguments_passed_in_a_way_that_is_not_known_are_not_read(go: GoBinary) -> None:
    odd = replace(go, version=(1, 17, 0), version_text="go1.17 X:noregabi")
    assert chosen_way(odd, "uprobe") is None
    assert not births_seen(odd)
    assert chosen_way(odd, "auto") == TLS


def test_births_are_followed_only_where_nothing_else_tells(go: GoBinary) -> None:
    assert not births_needed(go, TLS)
    assert births_needed(go, UPROBE)
    assert births_needed(without(go, "runtime.g.parentGoid"), TLS)
    assert births_needed(without(go, "runtime.allp"), TLS), "a stripped program"
    assert not births_needed(go, None)


@pytest.mark.parametrize(
    ("version", "stack", "caller"), [((1, 16, 15), 1, 4), ((1, 17, 0), 0, 4), ((1, 18, 0), 0, 2)]
)
def test_where_newproc1_has_its_caller(
    go: GoBinary, version: tuple[int, int, int], stack: int, caller: int
) -> None:
    members = identity_members(replace(go, version=version), UPROBE, births=True)
    assert (members["stack_abi"], members["newproc_caller"]) == (stack, caller)


def test_memory_alone_takes_no_uprobe(go: GoBinary, program: Path) -> None:
    with program.open("rb") as file:
        assert identity_places(file.fileno(), go, TLS, births=False) == []
        followed = identity_places(file.fileno(), go, TLS, births=True)
    # The way in comes last: without its ways out it would leave its caller behind.
    assert followed[-1] == (go.symbols["runtime.newproc1"], "go_newproc1")
    assert {name for _, name in followed[:-1]} == {"go_newproc1_return"}
