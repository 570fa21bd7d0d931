"""Which of Go's header functions get a probe, and why others do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from otel_ebpf.discovery.go_binary import GoBinary, read_go_binary
from otel_ebpf.discovery.go_headers import header_plan
from tests.gobuild import build_go, go_command
from tests.unit.test_doctor_process import ROOT

H2APP = ROOT / "tests" / "targets" / "go" / "h2app"
NET = "net/http.(*http2"
GRPC = "google.golang.org/grpc/internal/transport."


@pytest.fixture(scope="module")
def program() -> GoBinary:
    if go_command() is None:
        pytest.skip("no Go on this machine")
    go = read_go_binary(build_go(H2APP))
    assert go is not None
    return go


def without(go: GoBinary, *names: str) -> GoBinary:
    return replace(
        go,
        offsets={n: at for n, at in go.offsets.items() if n not in names},
        symbols={n: at for n, at in go.symbols.items() if n not in names},
        types={n: at for n, at in go.types.items() if n not in names},
    )


def moved(go: GoBinary, offsets: Mapping[str, int]) -> GoBinary:
    return replace(go, offsets={**go.offsets, **offsets})


def test_a_program_with_both_has_a_probe_on_every_function(program: GoBinary) -> None:
    plan = header_plan(program)
    assert not plan.missing
    functions = dict(plan.probes)
    assert functions[f"{GRPC}(*loopyWriter).writeHeader"] == "go_grpc_write_header"
    # Bundled in net/http until Go 1.26, in a package of its own since.
    places = ("net/http.(*http2", "net/http/internal/http2.(*")
    own = {name for name in functions if name.startswith(places)}
    assert len(own) == 6, "five, and the trailers that a client reads"
    assert len(functions) == 9
    members = plan.for_process(0x1000)
    assert members["headers.on"] == 2
    assert plan.for_process(0, "uprobe")["headers.on"] == members["headers.grpc_context"] == 1
    assert members["headers.told"] == 6, "of both roles"
    assert members["headers.tcp_type"] == program.types["*net.TCPConn"] + 0x1000


@pytest.mark.parametrize(
    ("lacks", "missing", "why"),
    [
        ("net.netFD.pfd.Sysfd", 8, "descriptors"),
        (f"{GRPC}loopyWriter.framer", 1, "where its connection is kept"),
        (f"{GRPC}(*http2Server).operateHeaders", 1, "not in the program"),
    ],
)
def test_what_a_program_lacks_is_named(
    program: GoBinary, lacks: str, missing: int, why: str
) -> None:
    plan = header_plan(without(program, lacks))
    assert len(plan.missing) == missing
    assert all(why in text for text in plan.missing.values())


def test_a_layout_that_is_not_as_expected_is_not_read(program: GoBinary) -> None:
    plan = header_plan(moved(program, {"golang.org/x/net/http2.FrameHeader.StreamID": 16}))
    assert set(plan.missing) == {
        f"{GRPC}(*http2Server).operateHeaders",
        f"{GRPC}(*http2Client).operateHeaders",
    }
    assert (
        "FrameHeader.StreamID is at 16, not 8"
        in plan.missing[f"{GRPC}(*http2Client).operateHeaders"]
    )


def test_without_the_types_of_connections_nothing_is_on(program: GoBinary) -> None:
    plan = header_plan(without(program, "*net.TCPConn", "*net.UnixConn"))
    assert not plan.probes
    assert len(plan.missing) == 8
    assert "headers.on" not in plan.for_process(0)


def test_an_unknown_grpc_hides_where_its_server_s_frame_is(program: GoBinary) -> None:
    plan = header_plan(replace(program, deps={}))
    assert set(plan.missing) == {f"{GRPC}(*http2Server).operateHeaders"}
    old = header_plan(replace(program, deps={"google.golang.org/grpc": "v1.59.0"}))
    assert not old.missing
    assert old.for_process(0)["headers.grpc_context"] == 0
