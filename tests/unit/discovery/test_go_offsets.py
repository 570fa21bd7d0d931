"""The table of struct offsets, and what is said of versions that it does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_ebpf.discovery.go_fields import (
    EMBEDDED_BY_POINTER,
    FIELDS,
    GRPC,
    HTTP2_BUNDLED,
    HTTP2_INTERNAL,
    HTTP2_MODULE,
    STD,
    XNET,
    home_of,
)
from otel_ebpf.discovery.go_offsets import from_table
from otel_ebpf.discovery.go_table import load
from otel_ebpf.discovery.go_versions import module_version, parse_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go1.26.8", (1, 26, 8)),
        ("go1.21", (1, 21, 0)),
        ("go1.27rc1", (1, 27, 0)),
        ("go1.24.3 X:nodwarf5,boringcrypto", (1, 24, 3)),
        ("devel go1.28-3c47ead Thu Sep 1", (1, 28, 0)),
        ("go1.99999999999999999999999", (1, 999999, 0)),
        ("unknown", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_versions(text: str, version: tuple[int, int, int]) -> None:
    assert parse_version(text) == version


def test_module_versions_sort_as_go_sorts_them() -> None:
    ordered = [
        "v0.0.0-20190311183353-d8887717615a",
        "v0.0.0-20200822124328-c89045814202",
        "v0.1.0",
        "v1.9.0",
        "v1.51.0-dev",
        "v1.51.0",
        "v1.51.1-0.20230101000000-0123456789ab",
        "v1.51.1",
        "v2.0.0+incompatible",
    ]
    keys = [module_version(text) for text in ordered]
    assert None not in keys
    assert keys == sorted(keys, key=lambda key: key or ())
    assert [module_version(text) for text in ("", "(devel)", "v1", "1.2.3")] == [None] * 4


# Known from other measurements: (goid, parentGoid) by minor version.
@pytest.mark.parametrize(
    ("minor", "goid", "parent"),
    [(15, 152, None), (19, 152, None), (21, 152, 272), (24, 160, 280), (26, 152, 280),
     (27, 152, 280)],
)  # fmt: skip
def test_goroutine_ids(minor: int, goid: int, parent: int | None) -> None:
    found = from_table(f"go1.{minor}.2")
    assert found.values["runtime.g.goid"] == goid
    assert found.values.get("runtime.g.parentGoid") == parent
    assert found.sources == {STD: "table"}


def test_the_request_on_a_connections_queue_is_found_by_version() -> None:
    """Until Go 1.22 the queue holds a Request; from 1.23 a transportRequest with a ctx."""
    old, new = from_table("go1.22.5").values, from_table("go1.23.4").values
    assert (old["net/http.requestAndChan.req"], old["net/http.Request.ctx"]) == (0, 232)
    assert "net/http.requestAndChan.treq" not in old
    assert "net/http.transportRequest.ctx" not in old
    assert (new["net/http.requestAndChan.treq"], new["net/http.transportRequest.ctx"]) == (0, 24)
    assert "net/http.requestAndChan.req" not in new


# Known from other measurements: serverConn.baseCtx, streams; stream.id, ctx.
@pytest.mark.parametrize(
    ("version", "prefix", "places"),
    [
        ("go1.24.3", HTTP2_BUNDLED, (56, 264, 8, 32)),
        ("go1.26.1", HTTP2_BUNDLED, (56, 264, 8, 32)),
        ("go1.27.4", HTTP2_INTERNAL, (64, 288, 8, 40)),
    ],
)
def test_http2_in_both_of_its_homes(version: str, prefix: str, places: tuple[int, ...]) -> None:
    values = from_table(version).values
    names = ("serverConn.baseCtx", "serverConn.streams", "stream.id", "stream.ctx")
    assert tuple(values[prefix + name] for name in names) == places
    other = HTTP2_INTERNAL if prefix == HTTP2_BUNDLED else HTTP2_BUNDLED
    assert not any(name.startswith(other) for name in values)


def test_a_modules_offsets_go_by_the_modules_version() -> None:
    transport = f"{GRPC}/internal/transport"
    old = from_table("go1.26.1", {GRPC: "v1.40.0", "example.com/x": "v9.9.9"})
    new = from_table("go1.21.1", {GRPC: "v1.85.0", XNET: "v0.40.0"})
    assert old.sources == {STD: "table", GRPC: "table"}
    assert [old.values[f"{transport}.Stream.{m}"] for m in ("ctx", "id", "st", "ct")] == [
        32, 0, 8, 24,
    ]  # fmt: skip
    assert old.values[f"{transport}.http2Client.nextID"] == 340
    assert new.values[f"{transport}.ServerStream.st"] == 360
    assert new.values[f"{transport}.ServerStream.Stream.pointer"] == 0
    assert new.values[f"{transport}.http2Client.activeStreams"] == 456
    assert f"{transport}.Stream.st" not in new.values
    assert new.values[f"{HTTP2_MODULE}stream.id"] == 8


@pytest.mark.parametrize(
    "text", ["go1.99.0", "devel go1.27-abc", "go1.26rc2", "go1.26.1 X:staticlockranking"]
)
def test_what_was_not_measured_is_no_more_than_a_guess(text: str) -> None:
    found = from_table(text)
    assert "runtime.g.goid" in found.guesses, "the nearest older layout is offered"
    assert not found.values


def test_a_version_between_two_measured_ones_is_certain_where_they_agree() -> None:
    measured = load()[GRPC].measured
    at = measured.index((1, 69, 0, 1, ""))
    before, after = (load()[GRPC].at(v) for v in measured[at - 1 : at + 1])
    found = from_table("go1.26.1", {GRPC: "v1.69.0-dev"})
    for name, place in before.items():
        if after.get(name) == place:
            assert found.values[name] == place
        else:
            assert found.guesses[name] == place
    assert not set(found.values) & set(found.guesses)
    assert any(home_of(name) == GRPC for name in found.guesses), "1.69 splits Stream in two"


@pytest.mark.parametrize("version", ["", "(devel)", "v0.0.0-19990101000000-000000000000"])
def test_a_module_without_a_known_version_has_no_offsets(version: str) -> None:
    found = from_table("go1.26.1", {GRPC: version})
    assert GRPC not in found.sources
    assert not any(home_of(name) == GRPC for name in [*found.values, *found.guesses])


def test_a_version_older_than_the_table_has_no_offsets() -> None:
    found = from_table("go1.14.2")
    assert not found.values
    assert not found.guesses


def test_every_minor_version_was_measured_and_patch_releases_move_http2_alone() -> None:
    go = load()[STD]
    minors = [version[:2] for version in go.measured]
    assert minors == sorted(minors)
    assert {m[1] for m in minors} == set(range(15, int(minors[-1][1]) + 1))
    assert all(minors.count(minor) >= 2 for minor in minors)
    for version in go.measured:
        first = go.at(next(m for m in go.measured if m[:2] == version[:2]))
        moved = {n for n, at in go.at(version).items() if first.get(n) != at}
        assert all(name.startswith((HTTP2_BUNDLED, HTTP2_INTERNAL)) for name in moved)


def test_http2s_fields_in_a_patch_release_beyond_the_table_are_guesses() -> None:
    _, minor, patch = map(int, load()[STD].measured[-1])
    found = from_table(f"go1.{minor}.{patch + 1}")
    assert f"{HTTP2_INTERNAL}stream.ctx" in found.guesses
    assert "runtime.g.goid" in found.values


def test_a_field_that_a_patch_release_moved_is_certain_on_both_sides() -> None:
    """Go 1.26's HTTP/2 got a field before stream.ctx in a patch release."""
    table = load()[STD]
    patches = [int(v[2]) for v in table.measured if v[:2] == (1, 26)]
    places = {p: from_table(f"go1.26.{p}").values[f"{HTTP2_BUNDLED}stream.ctx"] for p in patches}
    assert set(places.values()) == {32, 40}
    assert not any(from_table(f"go1.26.{p}").guesses for p in range(max(patches) + 1))


def test_modules_were_measured_from_old_to_new_and_each_name_is_a_field() -> None:
    table = load()
    assert table[GRPC].measured[0][:2] == (1, 20)
    assert len(table[GRPC].measured) > 50
    assert table[XNET].measured[0] < (0, 1, 0)
    assert len(table[XNET].measured) > 50
    known = {*FIELDS, *EMBEDDED_BY_POINTER}
    for home, layouts in table.items():
        for _, offsets in layouts.layouts:
            assert set(offsets) <= known
            assert {home_of(name) for name in offsets} == {home}


_OWN_TABLES = (HTTP2_BUNDLED, HTTP2_INTERNAL, HTTP2_MODULE, f"{GRPC}/internal/transport.")


def _type_and_member(name: str) -> tuple[str, str]:
    """As docs/go.md writes them: HTTP/2's and grpc-go's types without their package."""
    for prefix in _OWN_TABLES:
        if name.startswith(prefix):
            kind, _, member = name[len(prefix) :].partition(".")
            return kind, member
    folder, _, tail = name.rpartition("/")
    package, kind, member = tail.split(".", 2)
    if package == "hpack":
        return "hpack.HeaderField", member
    return f"{folder}/{package}.{kind}".lstrip("/"), member


def test_every_offset_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "go.md").read_text()
    said: list[tuple[str, str]] = []
    for row in (line.split("|") for line in page.splitlines() if line.startswith("| ")):
        said.append((row[1].strip() or said[-1][0], row[2]))
    for name in {*FIELDS, *EMBEDDED_BY_POINTER}:
        kind, member = _type_and_member(name)
        if member.endswith(".pointer"):
            continue  # told in the text
        members = "".join(text for cell, text in said if f"`{kind}`" in cell)
        assert f"`{member}`" in members, name


def test_every_context_begins_with_its_parent() -> None:
    """The chain of contexts is walked by it."""
    for _, offsets in load()[STD].layouts:
        assert {v for n, v in offsets.items() if n.endswith("Ctx.parent")} == {0}
