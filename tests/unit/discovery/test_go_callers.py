"""Which sides of Go's HTTP/2 and gRPC are read, by what is known of a program."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from otel_ebpf.discovery.go_binary import GoBinary
from otel_ebpf.discovery.go_callers import loop_members, stream_members, stream_probes

GRPC = "google.golang.org/grpc/internal/transport"
BUNDLED = {
    "net/http.http2serverConn.baseCtx": 56,
    "net/http.http2serverConn.streams": 264,
    "net/http.http2stream.id": 8,
    "net/http.http2stream.ctx": 32,
    "net/http.http2stream.sc": 0,
    "net/http.http2stream.state": 80,
    "net/http.http2ClientConn.streams": 168,
    "net/http.http2ClientConn.nextStreamID": 184,
    "net/http.http2clientStream.ID": 40,
    "net/http.http2clientStream.ctx": 8,
}
NEW_GRPC = {
    f"{GRPC}.http2Server.activeStreams": 296,
    f"{GRPC}.ServerStream.Stream": 0,
    f"{GRPC}.ServerStream.st": 360,
    f"{GRPC}.ClientStream.Stream": 8,
    f"{GRPC}.Stream.id": 108,
    f"{GRPC}.Stream.ctx": 0,
    f"{GRPC}.http2Client.activeStreams": 456,
    f"{GRPC}.http2Client.nextID": 440,
}


def program(
    offsets: Mapping[str, int],
    version: tuple[int, int, int] = (1, 26, 0),
    symbols: tuple[str, ...] = ("net/http.(*http2serverConn).serve",),
    text: str = "go1.26",
    places: Mapping[str, int] | None = None,
    **more: object,
) -> GoBinary:
    """A Go program of which only this is known."""
    fields = dict.fromkeys(GoBinary.__dataclass_fields__, "")
    known = {
        "version": version,
        "version_text": text,
        "symbols": places or dict.fromkeys(symbols, 1),
        "offsets": offsets,
        "g_tls_offset": -8,
        **more,
    }
    return GoBinary(**{**fields, **known})  # type: ignore[arg-type]


def test_a_side_whose_fields_are_all_known_is_on_and_probed_once_a_connection() -> None:
    members = stream_members(program(BUNDLED))
    assert members["streams"] == members["swiss"] == 1
    assert members["h2.0.base_ctx"] == 56
    assert members["h2.1.base_ctx"] == -1, "golang.org/x/net is not there"
    assert ("net/http.(*http2serverConn).serve", "go_h2_serve") in stream_probes(members)
    assert not any("grpc" in name for name, _ in stream_probes(members))


@pytest.mark.parametrize("missing", BUNDLED)
def test_a_side_that_lacks_a_field_is_off_and_the_other_one_is_not(missing: str) -> None:
    members = stream_members(program({k: v for k, v in BUNDLED.items() if k != missing}))
    client = "ClientConn" in missing or "clientStream" in missing
    assert (members["h2.0.base_ctx"] >= 0) == client
    assert (members["h2.0.cc_next"] >= 0) != client


def test_grpc_streams_within_streams_by_value_by_pointer_and_of_one_kind() -> None:
    by_value = stream_members(program(NEW_GRPC))
    assert (by_value["grpc.ss_base"], by_value["grpc.ss_id"]) == (-1, 108)
    assert (by_value["grpc.cs_base"], by_value["grpc.cs_id"], by_value["grpc.cs_ctx"]) == (
        -1,
        116,
        8,
    )
    pointer = {f"{GRPC}.{kind}.Stream.pointer": 1 for kind in ("ServerStream", "ClientStream")}
    by_pointer = stream_members(program({**NEW_GRPC, **pointer}))
    assert (by_pointer["grpc.ss_base"], by_pointer["grpc.ss_id"]) == (0, 108)
    assert (by_pointer["grpc.cs_base"], by_pointer["grpc.cs_id"]) == (8, 108)
    old = {
        f"{GRPC}.http2Server.activeStreams": 200,
        f"{GRPC}.Stream.st": 8,
        f"{GRPC}.Stream.id": 0,
        f"{GRPC}.Stream.ctx": 32,
        f"{GRPC}.http2Client.activeStreams": 360,
        f"{GRPC}.http2Client.nextID": 340,
    }
    one_kind = stream_members(program(old, (1, 19, 0), text="go1.19"))
    assert one_kind["swiss"] == 0, "maps were buckets then"
    assert (one_kind["grpc.ss_conn"], one_kind["grpc.ss_id"], one_kind["grpc.cs_ctx"]) == (8, 0, 32)
    assert len(stream_probes(one_kind)) == 2


def test_maps_that_are_laid_out_in_another_way_are_left_alone() -> None:
    moved = {**BUNDLED, "internal/runtime/maps.Map.dirPtr": 24}
    assert stream_members(program(moved))["streams"] == 0
    without = stream_members(program(BUNDLED, text="go1.25 X:noswissmap"))
    assert (without["streams"], without["swiss"]) == (1, 0)


READ_FRAMES, READ_LOOP = (
    "net/http.(*http2serverConn).readFrames",
    "net/http.(*http2ClientConn).readLoop",
)
LOOPS = {
    **BUNDLED,
    "net/http.http2serverConn.conn": 16,
    "net/http.http2ClientConn.tconn": 8,
}


def loops(offsets: Mapping[str, int], sizes: Mapping[str, int], bias: int = 0) -> dict[str, int]:
    addresses = {READ_FRAMES: 0x1000, READ_LOOP: 0x2000}
    go = program(offsets, addresses=addresses, sizes=sizes)
    return loop_members(go, stream_members(go), bias)


def test_loops_are_named_by_their_code_where_it_is_loaded() -> None:
    sizes = {READ_FRAMES: 0x100, READ_LOOP: 0x80}
    assert loops(LOOPS, sizes, 0x5000) == {
        "loops.3.start": 0x6000,
        "loops.3.end": 0x6100,
        "loops.3.conn": 16,
        "loops.4.start": 0x7000,
        "loops.4.end": 0x7080,
        "loops.4.conn": 8,
    }


@pytest.mark.parametrize(
    ("missing", "size"),
    [
        ("net/http.http2serverConn.conn", 0x100),
        ("net/http.http2serverConn.baseCtx", 0x100),
        ("", 0),
    ],
)
def test_a_loop_that_is_not_wholly_known_is_looked_for_nowhere(missing: str, size: int) -> None:
    offsets = {name: at for name, at in LOOPS.items() if name != missing}
    found = loops(offsets, {READ_FRAMES: size, READ_LOOP: 0x80})
    assert {name.split(".")[1] for name in found} == {"4"}


def test_a_client_of_before_2021_has_its_streams_contexts_in_their_requests() -> None:
    old = {name: at for name, at in BUNDLED.items() if not name.endswith("clientStream.ctx")}
    assert stream_members(program(old))["h2.0.cc_next"] == -1
    members = stream_members(
        program({**old, "net/http.http2clientStream.req": 8, "net/http.Request.ctx": 232})
    )
    assert (members["h2.0.cs_req"], members["h2.0.cs_ctx"]) == (8, 232)
    assert stream_members(program(BUNDLED))["h2.0.cs_req"] == -1
