"""The benchmark's Markdown table and its place in the README."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from tests.benchmarks.measure import Sample, Scenario

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
Pair = tuple[Sample, Sample]  # untraced, traced; of one round


def _spread(values: Sequence[float], form: str = "{:.1f}") -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "-"
    low, middle, high = (form.format(f(finite)) for f in (min, median, max))
    return middle if low == high else f"{middle} ({low}-{high})"


def _mega(value: int) -> float:
    return value / 1e6


def _over(pairs: Sequence[Pair], take: Callable[[Sample, Sample], float]) -> list[float]:
    return [take(untraced, traced) for untraced, traced in pairs]


def by_probes(untraced: Sample, traced: Sample) -> float:
    """Microseconds of CPU per request that tracing adds to a service, without what the agent's
    work beside it on the same cores adds, as far as that was measured."""
    beside = traced.beside_us if math.isfinite(traced.beside_us) else untraced.app_us
    return traced.app_us - max(beside, untraced.app_us)


def throughput_ratio(pairs: Sequence[Pair]) -> float:
    """Median over the rounds of traced over untraced, each pair measured in turn."""
    return median(_over(pairs, lambda u, t: t.throughput / u.throughput))


def table(results: dict[Scenario, list[Pair]]) -> str:
    """Median (lowest-highest) of the rounds, one column per scenario."""
    columns = list(results.values())
    rows: list[tuple[str, Callable[[list[Pair]], str]]] = [
        ("requests/s untraced", lambda p: _spread(_over(p, lambda u, t: u.throughput), "{:,.0f}")),
        ("requests/s traced", lambda p: _spread(_over(p, lambda u, t: t.throughput), "{:,.0f}")),
        ("throughput kept, %",
         lambda p: _spread(_over(p, lambda u, t: 100 * t.throughput / u.throughput))),
        ("p50 untraced, us", lambda p: _spread(_over(p, lambda u, t: u.p50 / 1e3), "{:.0f}")),
        ("p50 traced, us", lambda p: _spread(_over(p, lambda u, t: t.p50 / 1e3), "{:.0f}")),
        ("p99 untraced, us", lambda p: _spread(_over(p, lambda u, t: u.p99 / 1e3), "{:.0f}")),
        ("p99 traced, us", lambda p: _spread(_over(p, lambda u, t: t.p99 / 1e3), "{:.0f}")),
        ("service CPU untraced, us/request", lambda p: _spread(_over(p, lambda u, t: u.app_us))),
        ("service CPU added, us/request",
         lambda p: _spread(_over(p, lambda u, t: t.app_us - u.app_us))),
        ("of it, by sharing the cores",
         lambda p: _spread(_over(p, lambda u, t: t.beside_us - u.app_us))),
        ("of it, by the probes", lambda p: _spread(_over(p, by_probes))),
        ("agent CPU, us/span", lambda p: _spread(_over(p, lambda u, t: t.agent_us))),
        ("agent RSS, MB", lambda p: _spread(_over(p, lambda u, t: _mega(t.agent_rss)), "{:.0f}")),
        ("agent peak RSS, MB",
         lambda p: _spread(_over(p, lambda u, t: _mega(t.agent_peak)), "{:.0f}")),
        ("start to ready, s", lambda p: _spread(_over(p, lambda u, t: t.ready), "{:.2f}")),
        ("uprobe hits a request",
         lambda p: _spread(_over(p, lambda u, t: t.uprobe_hits / 1000), "{:.3g}")),
        ("spans due", lambda p: f"{sum(t.expected for _, t in p):,}"),
        ("spans missing", lambda p: f"{sum(t.expected - t.spans for _, t in p):,}"),
    ]  # fmt: skip
    lines = [
        "| | " + " | ".join(scenario.name for scenario in results) + " |",
        "|-|" + "-:|" * len(results),
    ]
    for label, show in rows:
        lines.append(f"| {label} | " + " | ".join(show(pairs) for pairs in columns) + " |")
    return "\n".join(lines)


def missed(results: dict[Scenario, list[Pair]], price: float = 0.0) -> list[str]:
    """Which limits the results do not keep, in words; the same limits for every machine.

    ``price``: microseconds of one uprobe hit here. Where uprobes are needed, a service may
    pay one and a half times their price, and has no limit of throughput.
    """
    found = []
    for scenario, pairs in results.items():
        if scenario.flags:
            continue
        traced = [sample for _, sample in pairs]
        checks = [
            ("agent CPU a span", median(s.agent_us for s in traced), 25.0, "us"),
            ("agent RSS", max(_mega(s.agent_rss) for s in traced), 100.0, "MB"),
            ("start to ready", median(s.ready for s in traced), 2.0, "s"),
        ]
        hits = median(s.uprobe_hits for s in traced) / 1000
        added = median(_over(pairs, by_probes))
        of_exchange = 10.0 if scenario.loop else 5.0
        allowed = 1.5 * hits * price if hits > 0.5 else of_exchange * scenario.spans
        checks.append(("service CPU added a request", added, allowed, "us"))
        if scenario.rate:
            lost = sum(s.expected - s.spans for s in traced)
            checks.append(("spans missing", float(abs(lost)), 0.0, ""))
        for what, value, limit, unit in checks:
            if not value <= limit:
                found.append(
                    f"{scenario.name}: {what} {value:.1f} {unit}, limit {limit:.4g} {unit}"
                )
        if not scenario.rate and hits <= 0.5 and throughput_ratio(pairs) < 0.45:
            kept = 100 * throughput_ratio(pairs)
            found.append(f"{scenario.name}: throughput kept {kept:.1f} %, limit 45 %")
    return found


def text(results: dict[Scenario, list[Pair]], command: str, cores: int, price: float = 0.0) -> str:
    """The table with the line that says how it was made."""
    rounds = len(next(iter(results.values())))
    return (
        f"`{command}`, {rounds} rounds, untraced and traced in turn, on {cores} cores of "
        f"{platform.machine()} with Linux {platform.release()}; the load generator and the agent "
        f"share these cores. A uprobe hit costs {price:.1f} us here. "
        f"Median (lowest-highest).\n\n{table(results)}"
    )


def write_between(path: Path, content: str, begin: str = BEGIN, end: str = END) -> None:
    """Put ``content`` between the markers of ``path``; everything else stays."""
    old = path.read_text()
    head, found, rest = old.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise RuntimeError(f"{path}: the markers {begin} and {end} are missing\n  mend: add them")
    path.write_text(f"{head}{begin}\n{content}\n{end}{tail}")
