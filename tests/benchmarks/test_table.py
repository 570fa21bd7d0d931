"""The benchmark's arithmetic: medians of neighbouring pairs, limits, README markers."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.benchmarks.measure import (
    Sample,
    Scenario,
    exported,
    process_cpu,
    sink_of,
    standing_in,
    zombie_cpu,
)  # fmt: skip
from tests.benchmarks.table import BEGIN, END, missed, table, throughput_ratio, write_between

HELLO = Scenario("hello, saturated", "/hello", 1, 1)
RATED = Scenario("hello, 5,000/s", "/hello", 1, 1, rate=5000)


def sample(done: int, app_us: float, **more: float) -> Sample:
    values = {"agent_cpu": done * 20e-6, "agent_rss": 80e6, "ready": 1.0, "spans": done}
    made = Sample(done, 0, 1.0, 1000, 2000, done * app_us / 1e6, expected=done)
    for name, value in {**values, **more}.items():
        setattr(made, name, value)
    return made


def test_the_ratio_is_of_neighbours_not_of_sums() -> None:
    # The machine was ten times slower in the second round; the tracer halved both.
    pairs = [(sample(1000, 10), sample(500, 12)), (sample(100, 10), sample(50, 12))]
    assert throughput_ratio(pairs) == 0.5
    assert "| throughput kept, % | 50.0 |" in table({HELLO: pairs})
    assert "| service CPU added, us/request | 2.0 |" in table({HELLO: pairs})
    assert missed({HELLO: pairs}) == []


@pytest.mark.parametrize(
    ("traced", "words"),
    [
        ({"done": 400}, "throughput kept 40.0 %"),
        ({"app_us": 16}, "service CPU added a request 6.0 us"),
        ({"agent_cpu": 0.03}, "agent CPU a span 30.0 us"),
        ({"agent_rss": 120e6}, "agent RSS 120.0 MB"),
        ({"ready": 2.5}, "start to ready 2.5 s"),
    ],
)
def test_each_limit_is_named_when_it_is_not_kept(traced: dict[str, float], words: str) -> None:
    values = {"done": 1000, "app_us": 11.0, **traced}
    done, app_us = int(values.pop("done")), values.pop("app_us")
    found = missed({HELLO: [(sample(1000, 10), sample(done, app_us, **values))]})
    assert [line for line in found if words in line], found
    assert len(found) == 1


def test_an_exchange_of_an_event_loop_may_cost_ten_microseconds() -> None:
    hop = Scenario("Node hop", "/hop", 2, 3, loop="node")
    assert missed({hop: [(sample(1000, 70), sample(900, 99))]}) == []
    (line,) = missed({hop: [(sample(1000, 70), sample(900, 101))]})
    assert "service CPU added a request 31.0 us, limit 30 us" in line


def test_what_uprobes_cost_is_held_against_their_price() -> None:
    # Four hits of 10 us: 60 us are allowed, and any throughput.
    pairs = [(sample(1000, 10), sample(100, 65, uprobe_hits=4000))]
    assert missed({HELLO: pairs}, 10.0) == []
    (line,) = missed({HELLO: pairs}, 5.0)
    assert "service CPU added a request 55.0 us, limit 30 us" in line


def test_a_request_of_several_exchanges_may_cost_more() -> None:
    hop = Scenario("hop, saturated", "/hop", 2, 3)
    assert missed({hop: [(sample(1000, 10), sample(1000, 24))]}) == []
    assert len(missed({hop: [(sample(1000, 10), sample(1000, 26))]})) == 1


def test_what_sharing_the_cores_costs_is_told_apart_from_the_probes() -> None:
    # 8 us added, 4 of them beside work like the agent's without any probe.
    pair = (sample(1000, 10), sample(1000, 18, beside_us=14.0))
    assert missed({HELLO: [pair]}) == []
    shown = table({HELLO: [pair]})
    assert "| service CPU added, us/request | 8.0 |" in shown
    assert "| of it, by sharing the cores | 4.0 |" in shown
    assert "| of it, by the probes | 4.0 |" in shown
    # What is faster beside other work was faster by chance: nothing is added to the probes' price.
    lucky = (sample(1000, 10), sample(1000, 14, beside_us=8.0))
    assert "| of it, by the probes | 4.0 |" in table({HELLO: [lucky]})
    # Not measured: all counts.
    assert len(missed({HELLO: [(sample(1000, 10), sample(1000, 18))]})) == 1


def test_the_stand_in_takes_the_share_that_it_is_given() -> None:
    with ExitStack() as stack:
        pid = stack.enter_context(standing_in(0.3, sink_of(stack)))
        start, before = time.monotonic(), process_cpu(pid)
        time.sleep(1.5)
        share = (process_cpu(pid) - before) / (time.monotonic() - start)
    assert 0.02 < share < 0.4


def test_one_span_missing_at_a_fixed_rate_is_named_and_shown() -> None:
    pairs = [(sample(5000, 10), sample(5000, 10, spans=4999))]
    assert any("spans missing 1.0" in line for line in missed({RATED: pairs}))
    assert "| spans missing | 1 |" in table({RATED: pairs})


def test_agent_without_spans_breaks_its_limit_rather_than_passing() -> None:
    pairs = [(sample(1000, 10), sample(1000, 10, spans=0))]
    assert any("agent CPU a span" in line for line in missed({HELLO: pairs}))


def test_a_ledger_without_spans_is_an_error() -> None:
    assert exported({"spans_exported": 7, "records_seen": 9}) == 7
    with pytest.raises(RuntimeError, match="names no exported spans"):
        exported({"records_seen": 9})


def test_only_what_is_between_the_markers_changes(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between(page, "new")
    write_between(page, "newer")
    assert page.read_text() == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(RuntimeError, match="markers"):
        write_between(page, "new")
    assert page.read_text() == "no markers"


def test_cpu_of_another_process_is_read_alive_and_after_its_end() -> None:
    script = (
        "import time\nwhile time.process_time() < 0.3: pass\nprint('spun', flush=True); input()"
    )
    process = subprocess.Popen(
        ["python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        alive = process_cpu(process.pid)
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        dead = zombie_cpu(process.pid)
    assert 0.29 <= alive < 2
    assert dead >= alive - 0.02
