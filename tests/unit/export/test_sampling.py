"""OTEL_TRACES_SAMPLER decides as the SDK's samplers do, and alike for all of a trace."""

from __future__ import annotations

import random

import pytest
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio, TraceIdRatioBased

from otel_ebpf.correlation.model import Exchange
from otel_ebpf.errors import UsageError
from otel_ebpf.export.sampling import NAMES, TraceSampler
from tests.unit.spans.exchanges import request, served


def sampler(name: str, arg: str = "") -> TraceSampler:
    return TraceSampler.from_env({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": arg})


def part(trace: int, parent: bool = False, remote: bool = False, sampled: bool = True) -> Exchange:
    return served(
        request(),
        trace_id=trace.to_bytes(16, "big"),
        parent_span_id=b"p" * 8 if parent or remote else b"",
        parent_remote=remote,
        sampled=sampled,
    )


# What each sampler says of: a root, a child here, a remote parent sampled, and one not sampled.
@pytest.mark.parametrize(
    ("name", "arg", "expected"),
    [
        ("", "", [True, True, True, False]),
        ("always_on", "", [True, True, True, True]),
        ("always_off", "", [False, False, False, False]),
        ("parentbased_always_on", "", [True, True, True, False]),
        ("parentbased_always_off", "", [False, False, True, False]),
        ("traceidratio", "1", [True, True, True, True]),
        ("traceidratio", "0", [False, False, False, False]),
        ("traceidratio", "", [True, True, True, True]),
        ("parentbased_traceidratio", "0", [False, False, True, False]),
        ("ParentBased_TraceIdRatio", "1.0", [True, True, True, False]),
    ],
)
def test_each_sampler_means_what_the_specification_says(
    name: str, arg: str, expected: list[bool]
) -> None:
    made = sampler(name, arg)
    parts = [
        part(1),
        part(2, parent=True),
        part(3, remote=True),
        part(4, remote=True, sampled=False),
    ]
    assert [made.sample(each) for each in parts] == expected
    assert made.stats() == {
        "spans_sampled": sum(expected),
        "spans_unsampled": 4 - sum(expected),
    }


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio"])
def test_ratios_choose_the_traces_that_the_sdk_chooses(name: str) -> None:
    ratio = 0.3
    theirs = (TraceIdRatioBased if name == "traceidratio" else ParentBasedTraceIdRatio)(ratio)
    mine = sampler(name, str(ratio))
    numbers = random.Random(1)
    kept = 0
    for _ in range(500):
        trace = numbers.getrandbits(128)
        decision = theirs.should_sample(None, trace, "").decision.is_sampled()
        assert mine.sample(part(trace)) == decision
        assert mine.sample(part(trace, parent=True)) == decision
        kept += decision
    assert 100 < kept < 200


@pytest.mark.parametrize("name", NAMES)
def test_children_share_the_fate_of_the_remote_parents_trace(name: str) -> None:
    made = sampler(name, "0.5")
    for sampled in (True, False):
        trace = 1000 + sampled
        root = made.sample(part(trace, remote=True, sampled=sampled))
        assert made.sample(part(trace, parent=True, sampled=sampled)) == root
        assert made.sample(part(trace, parent=True)) == root


def test_parts_that_come_together_follow_the_one_that_knows_even_if_it_is_last() -> None:
    made = sampler("parentbased_traceidratio", "0")
    parts = [part(7, parent=True), part(7, remote=True), part(8, parent=True), part(8)]
    assert made.filter(parts) == parts[:2]
    assert made.stats() == {"spans_sampled": 2, "spans_unsampled": 2}


def test_decisions_are_kept_for_a_bounded_number_of_traces() -> None:
    made = sampler("traceidratio", "0.5")
    for trace in range(20_000):
        made.sample(part(trace))
    assert len(made._decisions) <= 16384


@pytest.mark.parametrize(
    ("name", "arg", "where"),
    [
        ("sometimes", "", "OTEL_TRACES_SAMPLER"),
        ("traceidratio", "half", "OTEL_TRACES_SAMPLER_ARG"),
        ("traceidratio", "1.5", "OTEL_TRACES_SAMPLER_ARG"),
        ("parentbased_traceidratio", "-0.1", "OTEL_TRACES_SAMPLER_ARG"),
        ("parentbased_traceidratio", "nan", "OTEL_TRACES_SAMPLER_ARG"),
    ],
)
def test_a_wrong_value_is_an_error_with_a_mend(name: str, arg: str, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        sampler(name, arg)
    assert caught.value.where == where
    assert caught.value.mend
