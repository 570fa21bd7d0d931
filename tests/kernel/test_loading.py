"""Attaching, firing, letting go; offsets; losses; how fresh a record is."""

from __future__ import annotations

import ctypes as ct
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_ebpf.errors import KernelError
from otel_ebpf.events import layout
from otel_ebpf.kernel import loader, obtain
from otel_ebpf.kernel.config import MEMBERS, KernelConfig
from otel_ebpf.kernel.paths import bpf_dir
from tests.kernel.tracer import Tracer
from tests.kernel.traffic import REQUEST, Traffic

ROOT = Path(__file__).resolve().parents[2]
STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
needs_bpftool = pytest.mark.skipif(shutil.which("bpftool") is None, reason="needs bpftool")


def bpftool(*words: str) -> Any:
    done = subprocess.run(["bpftool", "-j", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def program_info(tracer: Tracer, name: str) -> dict[str, str]:
    """What the kernel says of a loaded program: prog_id, run_cnt..."""
    fd = next(program.fd for program in tracer.kernel.programs if program.name == name)
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@needs_bpftool
def test_every_probe_of_the_plan_is_attached_and_gone_after_the_close() -> None:
    """By the kernel's own list, not by the loader's."""
    with Tracer() as tracer:
        ids = {
            program.name: int(program_info(tracer, program.name)["prog_id"])
            for program in tracer.kernel.programs
        }
        attached = {
            (link.get("tracepoint"), link["prog_id"])
            for link in bpftool("perf", "show")
            if link.get("pid") == os.getpid()
        }
        wanted = [p for p in tracer.kernel.attached if p.kind == "tracepoint"]
        assert len(wanted) > 30
        for probe in wanted:
            event = probe.target.split(":")[1]
            assert (event, ids[probe.program]) in attached, probe
        loaded = {program["id"] for program in bpftool("prog", "show")}
        assert set(ids.values()) <= loaded
    assert not {link["prog_id"] for link in bpftool("perf", "show")} & set(ids.values())
    # The kernel frees a program a moment after its last user has gone.
    deadline = time.monotonic() + 20
    while set(ids.values()) & {program["id"] for program in bpftool("prog", "show")}:
        assert time.monotonic() < deadline, "programs are still loaded"


# Calls of x86-64 by number; each is made with arguments that do nothing.
NUMBERS = {
    "read": 0,
    "write": 1,
    "close": 3,
    "readv": 19,
    "writev": 20,
    "dup": 32,
    "dup2": 33,
    "sendfile64": 40,
    "socket": 41,
    "connect": 42,
    "accept": 43,
    "sendto": 44,
    "recvfrom": 45,
    "sendmsg": 46,
    "recvmsg": 47,
    "shutdown": 48,
    "setsockopt": 54,
    "fcntl": 72,
    "getppid": 110,
    "splice": 275,
    "accept4": 288,
    "dup3": 292,
    "recvmmsg": 299,
    "sendmmsg": 307,
}


@pytest.fixture
def statistics() -> Iterator[None]:
    """The kernel counts the runs of every program."""
    before = STATISTICS.read_text()
    STATISTICS.write_text("1")
    try:
        yield
    finally:
        STATISTICS.write_text(before)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64's calls")
@pytest.mark.skipif(not STATISTICS.exists(), reason="no bpf_stats_enabled")
@pytest.mark.usefixtures("statistics")
def test_every_probe_fires_on_its_call(traffic: Traffic, tracer: Tracer) -> None:
    probes = [p for p in tracer.kernel.attached if p.target.startswith("syscalls:")]
    seen = {p.target.split("_", 2)[2] for p in probes}
    assert seen <= set(NUMBERS), "a call that this test does not know"
    for call in sorted(seen):
        programs = {p.program for p in probes if p.target.endswith(f"_{call}")}
        before = {name: int(program_info(tracer, name)["run_cnt"]) for name in programs}
        for _ in range(50):
            traffic.do("call", NUMBERS[call], -1, 0, 0, 0, 0, 0)
        for name in programs:
            assert int(program_info(tracer, name)["run_cnt"]) - before[name] >= 50, (call, name)


def test_offsets_in_the_map_are_those_of_bpftools_types(tracer: Tracer) -> None:
    if shutil.which("bpftool") is None:
        pytest.skip("needs bpftool")
    text = subprocess.run(
        ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "-j"],
        capture_output=True,
        check=True,
    ).stdout
    structs: dict[str, dict[str, int]] = {}
    wanted = {name.split(".")[0] for name in MEMBERS.values()}
    for kind in json.loads(text)["types"]:
        if kind["kind"] == "STRUCT" and kind["name"] in wanted:
            structs[kind["name"]] = {
                member["name"]: member["bits_offset"] // 8 for member in kind["members"]
            }
    values = tracer.kernel.table("__members_offset")[ct.c_int(0)]
    checked = 0
    for member, name in MEMBERS.items():
        owner, _, path = name.partition(".")
        offset = structs.get(owner, {}).get(path)
        if offset is None:  # within a nested or nameless part: the unit tests' matter
            continue
        assert {getattr(value, member) for value in values} == {offset}, name
        checked += 1
    assert checked >= 12
    assert {value.ready for value in values} == {1}


def test_records_that_a_small_buffer_refuses_are_all_counted() -> None:
    """A perf buffer smaller than one full burst: what is missing is known to the record."""
    with Tracer(pages=4) as tracer, Traffic() as traffic:
        tracer.choose(traffic.pid)
        # Full bursts are refused; so is everything while nobody reads.
        for _ in range(400):
            pair = traffic.pair("tcp4")
            traffic.send("write", pair.client, REQUEST.ljust(1024, b"x"))
            traffic.receive_all("read", pair.server, 1024)
            for fd in (pair.client, pair.server, pair.listener):
                traffic.do("close", fd)
        tracer.flush()
        # A small burst on each CPU arrives, and shows what was written before it.
        for cpu in os.sched_getaffinity(0):
            os.sched_setaffinity(traffic.pid, {cpu})
            traffic.exchange(traffic.pair("tcp4"))
            tracer.flush()
        stats = tracer.kernel.stats()
        assert stats["burst_lost"] > 0, "the test meant to lose some"
        assert tracer.decoder.lost == stats["burst_lost"]
        assert tracer.decoder.records + tracer.decoder.lost == stats["records"]
        assert not tracer.decoder.malformed


def test_a_compile_error_names_the_file_and_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "bpf"
    shutil.copytree(bpf_dir(), copy)
    text = (copy / "infer.h").read_text().splitlines()
    at = next(i for i, line in enumerate(text) if line.startswith("INLINE bool protocol_on"))
    text.insert(at, "this is no C;")
    (copy / "infer.h").write_text("\n".join(text))
    monkeypatch.setattr(obtain, "bpf_dir", lambda: copy)
    with pytest.raises(KernelError, match=rf"infer\.h:{at + 1}:"):
        loader.Kernel(KernelConfig())


FRESHNESS = """
import io, json, os, sys, threading, time, warnings
warnings.simplefilter("ignore")
from otel_ebpf.agent import Agent
from otel_ebpf.agent_config import AgentConfig
from otel_ebpf.events.decode import Decoder
from otel_ebpf.kernel.config import KernelConfig

pid = int(sys.argv[1])
agent = Agent(
    AgentConfig(kernel=KernelConfig(filter_processes=True), pids=[pid], output="json"),
    {}, io.StringIO(), sys.stderr,
)
decoder, ages, take = Decoder(), [], agent._pipeline.burst

def burst(data):
    now = time.monotonic_ns()
    ages.extend((now - r.ts) / 1e6 for r in decoder.feed(data) if r.tgid == pid and r.type == 1)
    take(data)

agent._pipeline.burst = burst
threading.Thread(target=lambda: (sys.stdin.readline(), agent._on_signal(15, None))).start()
agent.run()
print(json.dumps(ages))
"""


def test_a_record_is_in_user_space_within_a_tenth_of_a_second() -> None:
    """The agent's own loop, with one exchange now and then."""
    with (
        Traffic() as traffic,
        subprocess.Popen(
            [sys.executable, "-c", FRESHNESS, str(traffic.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as agent,
    ):
        assert agent.stdin is not None and agent.stderr is not None and agent.stdout is not None
        said = []
        for line in agent.stderr:
            said.append(line)
            if "ready" in line:
                break
        assert said and "ready" in said[-1], "".join(said)
        pair = traffic.pair("tcp4")
        for _ in range(40):
            traffic.exchange(pair)
            # Idle in between: nothing but the agent's visits empties the bursts.
            subprocess.run(["sleep", "0.037"], check=True)
        agent.stdin.write("stop\n")
        agent.stdin.flush()
        ages = sorted(json.loads(agent.stdout.readline()))
        assert agent.wait(30) == 0, agent.stderr.read()
    assert len(ages) == 160
    # The machine may be busy with other things for most of the time, and no promise is broken:
    # records that wait until a burst is full would all be older.
    assert ages[0] < 100, ages
    assert ages[len(ages) // 2] < 10_000, ages


def test_requests_have_ids_of_their_own_and_responses_name_them(
    traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair("tcp4")
    for _ in range(5):
        traffic.exchange(pair)
    records = tracer.of(traffic.pid)
    begun = [r.uid for r in records if r.begins == layout.REQUEST]
    assert len(set(begun)) == 10, "five exchanges, two ends"
    answers = {r.uid for r in records if r.begins == layout.RESPONSE}
    assert answers == set(begun)
