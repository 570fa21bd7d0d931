"""The table of Go's versions in README.md."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping

from tests.accuracy.go_versions import Cell

BEGIN, END = "<!-- go:begin -->", "<!-- go:end -->"
_WORDS = {
    "go.caller": "caller",
    "go.caller_ancestor": "caller",
    "go.context": "context",
    "go.caller+context": "caller and context",
    "goroutine": "goroutine",
    "ancestor": "ancestor",
}
_FEW = 0.05
"""Hits a request that are those of connections, not of requests."""


def _hits(number: float) -> str:
    nearest = round(number)
    return str(nearest) if abs(number - nearest) < _FEW else f"{number:.1f}"


def share(cell: Cell) -> str:
    """Right ones, in per cent; never rounded up."""
    tenths = cell.right * 1000 // cell.total if cell.total else 0
    return f"{tenths // 10}" if tenths % 10 == 0 else f"{tenths / 10:.1f}"


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    wrong = f", **{cell.wrong} wrong**" if cell.wrong else ""
    return f"{share(cell)} %{wrong} ({_hits(cell.served)}/{_hits(cell.asked)})"


def _told_by(cells: list[Cell | None]) -> str:
    words: Counter[str] = Counter()
    for cell in cells:
        if cell is not None:
            for rule, number in cell.rules.items():
                words[_WORDS.get(rule, rule)] += number
    return ", ".join(word for word, _ in words.most_common())


def table(results: Mapping[str, Mapping[str, Cell | None]]) -> str:
    """``results``: row -> Go version -> what was measured."""
    versions = list(next(iter(results.values())))
    lines = [
        "| | " + " | ".join(v.replace("go", "Go ") for v in versions) + " | told by |",
        "|-|" + "-|" * (len(versions) + 1),
    ]
    for row, cells in results.items():
        texts = [_text(cells.get(version)) for version in versions]
        lines.append(f"| {row} | {' | '.join(texts)} | {_told_by(list(cells.values()))} |")
    return "\n".join(lines)


def text(results: Mapping[str, Mapping[str, Cell | None]], command: str) -> str:
    """The table, with the words that say how it was made."""
    cells = [cell for row in results.values() for cell in row.values() if cell is not None]
    wrong, total = sum(c.wrong for c in cells), sum(c.total for c in cells)
    return (
        f"`{command}` with Linux {platform.release()}: of {total:,} calls that Go services made "
        f"for their requests, {wrong} had a wrong parent. Each cell: how many had the right one "
        "(uprobe hits for a request that is served / asked, one at a time). "
        f"A dash: that version has no such thing.\n\n{table(results)}"
    )
