"""The table of Go's versions, and that what ``doctor --pid`` says of TLS is what is measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from otel_ebpf.probe_costs import KINDS
from tests.accuracy.go_table import BEGIN, END, share, table, text
from tests.accuracy.go_versions import Cell, measure

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.e2e
@pytest.mark.kernel
def test_what_a_request_over_https_costs_is_what_doctor_says() -> None:
    cells = measure("go1.26.8", ["HTTP/1", "HTTPS (HTTP/1)"], 60)
    plain, secure = cells["HTTP/1"], cells["HTTPS (HTTP/1)"]
    assert plain is not None and secure is not None
    said = {kind.name: kind for kind in KINDS}
    attached = {program for kind in KINDS for program in (kind.program,)}
    attached |= {"go_tls_read_exit"}
    for cell, name in ((plain, "HTTP/1"), (secure, "HTTPS (HTTP/1)")):
        assert (cell.wrong, cell.total) == (0, 3 * (20 + 60))
        assert cell.right >= 0.99 * cell.total
        assert cell.served == pytest.approx(
            said[f"{name} served by net/http"].hits(attached), abs=0.2
        )
        assert cell.asked == pytest.approx(
            said[f"{name} asked by net/http"].hits(attached), abs=0.2
        )


def test_a_wrong_parent_is_shown_and_a_share_is_never_rounded_up() -> None:
    bad = Cell(right=9999, wrong=1, served=4.01, asked=3.26, rules=Counter({"go.context": 9999}))
    assert share(bad) == "99.9"
    made = table({"gRPC": {"go1.15.15": None, "go1.26.8": bad}})
    assert made.splitlines()[0] == "| | Go 1.15.15 | Go 1.26.8 | told by |"
    assert made.splitlines()[2] == "| gRPC | - | 99.9 %, **1 wrong** (4/3.3) | context |"
    assert "of 10,000 calls" in text({"gRPC": {"go1.26.8": bad}}, "x")


def test_the_readme_has_a_place_for_it() -> None:
    head, found, rest = README.read_text().partition(BEGIN)
    assert head and found and END in rest
