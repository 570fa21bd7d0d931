"""One measurement: a service under load, untraced or traced, and what each side spent."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from otel_ebpf.kernel import sysbpf
from tests.e2e.agent import Agent
from tests.e2e.services import Service
from tests.gobuild import build_go
from tests.pythons import ASYNC_PACKAGES, python_with

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = HERE.parent / "e2e" / "target"


@dataclass(frozen=True)
class Scenario:
    """``rate`` 0 is saturation. ``spans`` are what one request must give, and so how often a
    process takes part in an exchange. ``speaks``: plain HTTP/1, or what ``mesh`` calls it.
    ``loop``: of the event loop in :data:`LOOPS` that serves, "" for Go. ``flags``: of the agent."""

    name: str
    path: str
    processes: int
    spans: int
    rate: float = 0
    connections: int = 16
    speaks: str = "http"
    loop: str = ""
    flags: tuple[str, ...] = ()


SCENARIOS = (
    Scenario("hello, saturated", "/hello", 1, 1),
    Scenario("hop, saturated", "/hop", 2, 3),
    Scenario("hello, 5,000/s", "/hello", 1, 1, rate=5000),
    Scenario("gRPC hello", "/hello", 1, 1, speaks="grpc"),
    Scenario("gRPC hop", "/hop", 2, 3, speaks="grpc"),
    Scenario("HTTPS hello", "/hello", 1, 1, speaks="https"),
    Scenario("HTTP/2 with TLS hello", "/hello", 1, 1, speaks="https2"),
    Scenario("aiohttp hop", "/hop", 2, 3, loop="aiohttp"),
    Scenario("Node hop", "/hop", 2, 3, loop="node"),
)
LOOPS = ("aiohttp", "node")
ON_REQUEST = (
    Scenario(
        "gRPC hello, headers told", "/hello", 1, 1, speaks="grpc", flags=("--go-http2", "uprobe")
    ),
)
"""Ways that cost more and must be asked for; measured where they are named, without limits."""


HITS_SECONDS = 0.5


@dataclass
class Sample:
    """What one measurement gave. CPU is seconds; latencies are nanoseconds; ``uprobe_hits``
    are those of a thousand requests."""

    done: int
    errors: int
    seconds: float
    p50: int
    p99: int
    app_cpu: float
    agent_cpu: float = 0.0
    agent_rss: int = 0
    agent_peak: int = 0
    ready: float = 0.0
    spans: int = 0
    expected: int = 0
    uprobe_hits: int = 0
    ledger: dict[str, int] = field(default_factory=dict)
    agent_share: float = 0.0
    """Of one core, while the load ran."""
    beside_us: float = float("nan")
    """Of a traced one: what ``app_us`` is, in the same round, untraced beside ``stand_in``
    with the agent's share of the cores. NaN: not measured."""

    @property
    def throughput(self) -> float:
        return self.done / self.seconds

    @property
    def app_us(self) -> float:
        """Microseconds of the traced programs' CPU per request."""
        return 1e6 * self.app_cpu / self.done

    @property
    def agent_us(self) -> float:
        """Microseconds of the agent's CPU per exported span, its start not counted."""
        return 1e6 * self.agent_cpu / self.spans if self.spans else float("nan")


def process_cpu(pid: int) -> float:
    """Seconds of CPU that all threads of ``pid``, dead ones too, have run.

    The kernel's own CPU clock of the process (see clock_getcpuclockid(3)): nanoseconds
    from the scheduler, not ticks.
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def zombie_cpu(pid: int) -> float:
    """Seconds of CPU of a process that has ended but was not waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def uprobe_hits(agent: int) -> int:
    """How often the agent's uprobe programs have run while the kernel kept such counts."""
    programs: dict[str, int] = {}
    for file in Path(f"/proc/{agent}/fdinfo").iterdir():
        with suppress(OSError):
            facts = dict(
                line.split(":", 1) for line in file.read_text().splitlines() if ":" in line
            )
            if facts.get("prog_type", "").strip() == str(sysbpf.KPROBE):
                programs[facts["prog_id"].strip()] = int(facts["run_cnt"])
    return sum(programs.values())


@contextmanager
def counting() -> Iterator[None]:
    """The kernel counts how often BPF programs run."""
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text()
    switch.write_text("1")
    try:
        yield
    finally:
        switch.write_text(before)


def resident(pid: int) -> tuple[int, int]:
    """Resident bytes of ``pid`` now, and at their highest."""
    text = Path(f"/proc/{pid}/status").read_text()
    values = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE))
    return int(values["VmRSS"]) * 1024, int(values["VmHWM"]) * 1024


def exported(ledger: dict[str, int]) -> int:
    """The ledger's number of spans that left the agent."""
    for name, count in ledger.items():
        if "span" in name and "export" in name:
            return count
    raise RuntimeError(f"the ledger names no exported spans: {ledger}")


def start(stack: ExitStack, scenario: Scenario) -> list[Service]:
    """The scenario's processes, the one that is asked first."""
    if scenario.speaks == "http":
        program = loop_command(scenario.loop) if scenario.loop else [build_go(TARGET)]
        services = [stack.enter_context(Service("target", program))]
        if scenario.processes == 2:
            front = Service("front", [*program, "-next", services[0].url])
            services.insert(0, stack.enter_context(front))
        return services
    command = [str(build_go(HERE / "mesh")), "-serve", scenario.speaks]
    services = [stack.enter_context(Service("mesh", command))]
    if scenario.processes == 2:
        front = Service("front", [*command, "-next", services[0].address])
        services.insert(0, stack.enter_context(front))
    return services


def loop_command(loop: str) -> list[str | Path]:
    """Starts the service of one of :data:`LOOPS`."""
    if loop == "node":
        node = shutil.which("node")
        if node is None:
            raise RuntimeError("there is no node on the PATH\n  mend: install Node, or use --only")
        return [node, HERE / "loops" / "hop.js"]
    return [python_with(ASYNC_PACKAGES), HERE / "loops" / "hop.py"]


def load_of_its_own(program: Path) -> Path:
    """A copy of a program for the load's side: uprobes go by file, and would hit it too."""
    copy = program.with_name(f"{program.name}-load")
    if not copy.exists():
        unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copy(program, unfinished)
        unfinished.rename(copy)
    return copy


def send_load(service: Service, scenario: Scenario, seconds: float) -> dict[str, float]:
    if scenario.speaks == "http":
        url = service.url + scenario.path
        command = [str(build_go(HERE / "load")), "-url", url, "-rate", str(scenario.rate)]
    else:
        command = [str(load_of_its_own(build_go(HERE / "mesh"))), "-load", scenario.speaks]
        command += ["-url", service.address, "-path", scenario.path]
    command += ["-seconds", str(seconds), "-connections", str(scenario.connections)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise RuntimeError(f"the load generator ended with {done.returncode}: {done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    if result["errors"]:
        raise RuntimeError(f"{scenario.name}: {result['errors']:g} requests failed")
    return result


def sink_of(stack: ExitStack) -> dict[str, str]:
    """Starts what takes spans and forgets them; gives the environment that sends them there."""
    sink = stack.enter_context(Service("sink", [build_go(HERE / "sink")]))
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }


@contextmanager
def standing_in(share: float, env: Mapping[str, str]) -> Iterator[int]:
    """Work like the agent's, that takes ``share`` of a core, runs meanwhile; yields its pid."""
    command = [sys.executable, "-m", "tests.benchmarks.stand_in", str(share)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the stand-in for the agent did not start")
            yield process.pid
        finally:
            process.kill()


def beside(scenario: Scenario, share: float, seconds: float) -> float:
    """Microseconds of an untraced service's CPU per request where the cores are shared with
    work like the agent's."""
    with ExitStack() as stack:
        services = start(stack, scenario)
        send_load(services[0], replace(scenario, rate=0), 0.3)
        stack.enter_context(standing_in(share, sink_of(stack)))
        before = sum(process_cpu(service.pid) for service in services)
        load = send_load(services[0], scenario, seconds)
        after = sum(process_cpu(service.pid) for service in services)
        return 1e6 * (after - before) / load["done"]


def measure(scenario: Scenario, *, traced: bool, seconds: float, output: str = "otlp") -> Sample:
    """Fresh service processes, warmed up, then one load; with an agent when ``traced``."""
    with ExitStack() as stack:
        services = start(stack, scenario)
        send_load(services[0], replace(scenario, rate=0), 0.3)
        agent = None
        if traced:
            env = sink_of(stack) if output == "otlp" else {}
            agent = stack.enter_context(
                Agent(
                    *scenario.flags,
                    output=output,
                    keep_output=False,
                    pids=[s.pid for s in services],
                    env=env,
                )
            )
            agent_before = process_cpu(agent.pid)
        before = sum(process_cpu(service.pid) for service in services)
        load = send_load(services[0], scenario, seconds)
        after = sum(process_cpu(service.pid) for service in services)
        sample = Sample(
            int(load["done"]), int(load["errors"]), load["seconds"], int(load["p50"]),
            int(load["p99"]), after - before, expected=int(load["done"]) * scenario.spans,
        )  # fmt: skip
        if agent is not None:
            sample.agent_share = (process_cpu(agent.pid) - agent_before) / load["seconds"]
            sample.agent_rss, sample.agent_peak = resident(agent.pid)
            # Counting costs the traced programs time: it is done beside the measurement.
            with counting():
                before_hits = uprobe_hits(agent.pid)
                beside = int(send_load(services[0], scenario, HITS_SECONDS)["done"])
                sample.uprobe_hits = round(1000 * (uprobe_hits(agent.pid) - before_hits) / beside)
            sample.expected += beside * scenario.spans
            agent.process.send_signal(signal.SIGTERM)
            # Leave it a zombie until its last CPU time is read: draining is work too.
            os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)
            sample.agent_cpu = zombie_cpu(agent.pid) - agent_before
            agent.stop()
            sample.ready, sample.ledger = agent.ready_seconds, agent.ledger
            sample.spans = exported(agent.ledger)
        return sample
