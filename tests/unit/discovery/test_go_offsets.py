"""The table of struct offsets, and what is said of versions that it does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_ebpf.discovery.go_offsets import (
    FIELDS,
    from_table,
    parse_version,
    recorded_versions,
    table,
)


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


# Known from other measurements: (goid, parentGoid) by minor version.
@pytest.mark.parametrize(
    ("minor", "goid", "parent"),
    [(21, 152, 272), (24, 160, 280), (26, 152, 280), (27, 152, 280)],
)
def test_goroutine_ids(minor: int, goid: int, parent: int) -> None:
    found = from_table(f"go1.{minor}.2")
    assert found.certain
    assert found.values["runtime.g.goid"] == goid
    assert found.values["runtime.g.parentGoid"] == parent


def test_the_request_on_a_connections_queue_is_found_by_version() -> None:
    """Until Go 1.22 the queue holds a Request; from 1.23 a transportRequest with a ctx."""
    old, new = from_table("go1.22.5").values, from_table("go1.23.4").values
    assert (old["net/http.requestAndChan.req"], old["net/http.Request.ctx"]) == (0, 232)
    assert "net/http.requestAndChan.treq" not in old
    assert "net/http.transportRequest.ctx" not in old
    assert (new["net/http.requestAndChan.treq"], new["net/http.transportRequest.ctx"]) == (0, 24)
    assert "net/http.requestAndChan.req" not in new


@pytest.mark.parametrize(
    "text", ["go1.99.0", "devel go1.27-abc", "go1.26rc2", "go1.26.1 X:staticlockranking"]
)
def test_what_was_not_measured_is_uncertain(text: str) -> None:
    found = from_table(text)
    assert found.values, "the nearest older layout is offered"
    assert not found.certain


def test_a_version_older_than_the_table_has_no_offsets() -> None:
    found = from_table("go1.20.14")
    assert not found.values
    assert not found.certain


def test_every_minor_version_was_measured_at_both_ends() -> None:
    minors = [version[:2] for version in recorded_versions()]
    assert minors == sorted(minors)
    assert all(minors.count(minor) >= 2 for minor in minors)
    assert [m[1] for m in sorted(set(minors))] == list(range(21, minors[-1][1] + 1))
    # A layout that began inside a minor version would make "certain" wrong around it.
    assert all(since[2] == 0 for since in table())
    assert all(set(offsets) <= set(FIELDS) for offsets in table().values())


def test_every_offset_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "go.md").read_text()
    contexts = {name for name in FIELDS if name.startswith("context.")}
    missing = [name for name in FIELDS if name not in contexts and f"`{name}`" not in page]
    assert missing == []
    assert all(f"`{name.split('.')[1]}`" in page for name in contexts)
    every = [v for offsets in table().values() for n, v in offsets.items() if n in contexts]
    assert set(every) == {0}, "the page says so, and the chain is walked by it"
