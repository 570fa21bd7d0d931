"""Resources of real processes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from otel_ebpf.metadata.describe import Describer, describe
from otel_ebpf.metadata.process import Process
from otel_ebpf.metadata.table import ProcessTable
from tests.gobuild import build_go, go_command

HTTPAPP = Path(__file__).resolve().parents[2] / "targets" / "go" / "httpapp"
WAIT = "import sys; print('up', flush=True); sys.stdin.read()"
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(command: list[str], env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**clean, **(env or {})}
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    path = tmp_path / "orders.py"
    path.write_text(WAIT)
    return [sys.executable, str(path), "--password", "hunter2"]


def known(process: Process | None) -> Process:
    assert process is not None
    return process


def test_a_python_script(start: Start, script: list[str]) -> None:
    before = time.time()
    child = start(script, {"API_TOKEN": "hunter2"})
    process = known(describe(child.pid, {}))
    assert (process.service_name, process.language) == ("orders", "python")
    facts = process.attributes
    assert facts["service.name"] == "orders"
    assert facts["process.pid"] == child.pid
    assert facts["process.parent_pid"] == os.getpid()
    assert facts["process.executable.path"] == os.path.realpath(sys.executable)
    assert facts["process.command"] == sys.executable
    assert facts["process.runtime.name"] == "cpython"
    assert facts["process.runtime.version"] == ".".join(map(str, sys.version_info[:2]))
    assert facts["host.name"] == platform.node()
    assert facts["os.type"] == "linux"
    assert facts["telemetry.distro.name"] == "otel-ebpf"
    assert not [key for key in facts if key.startswith("telemetry.sdk.")]
    assert "hunter2" not in repr(process), "arguments and variables may be secrets"
    created = datetime.fromisoformat(facts["process.creation.time"].replace("Z", "0+00:00"))
    assert abs(created.astimezone(timezone.utc).timestamp() - before) < 2


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"OTEL_SERVICE_NAME": "cart"}, "cart"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=till%20one"}, "till one"),
        ({"OTEL_SERVICE_NAME": "cart", "OTEL_RESOURCE_ATTRIBUTES": "service.name=x"}, "cart"),
        ({"OTEL_SERVICE_NAME": " ", "OTEL_RESOURCE_ATTRIBUTES": "service.name="}, "orders"),
    ],
)
def test_the_process_names_itself(
    start: Start, script: list[str], env: dict[str, str], name: str
) -> None:
    process = known(describe(start(script, env).pid, {}))
    assert process.service_name == name
    assert process.attributes["service.name"] == name


def test_attributes_of_the_process_and_of_the_agent(start: Start, script: list[str]) -> None:
    agent = "service.name=agent,deployment.environment.name=prod,team=ops,process.pid=1"
    own = "team=shop,service.namespace=eu,process.pid=7,telemetry.sdk.name=x,host.name=h1"
    child = start(script, {"OTEL_RESOURCE_ATTRIBUTES": own})
    facts = known(describe(child.pid, {"OTEL_RESOURCE_ATTRIBUTES": agent})).attributes
    assert facts["service.name"] == "orders"
    assert facts["deployment.environment.name"] == "prod"
    assert facts["team"] == "shop"
    assert facts["service.namespace"] == "eu"
    assert facts["host.name"] == "h1"
    assert facts["process.pid"] == child.pid, "a fact is not overruled"
    assert "telemetry.sdk.name" not in facts


def test_refused_attributes_are_counted(start: Start, script: list[str]) -> None:
    child = start(script, {"OTEL_RESOURCE_ATTRIBUTES": "broken,ok=1"})
    table = ProcessTable({})
    assert known(table.get(child.pid)).attributes["ok"] == "1"
    assert table.refused_attributes == 1


def test_bytes_that_are_no_text_do_no_harm(start: Start, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.py"
    with open(path, "w") as file:
        file.write(WAIT)
    child = start([sys.executable, path, b"\xff" * 100_000])  # type: ignore[list-item]
    name = known(describe(child.pid, {})).service_name
    assert name.startswith("caf")
    name.encode("utf-8")


@pytest.mark.skipif(go_command() is None, reason="no Go on this machine")
def test_a_go_program(start: Start, tmp_path: Path) -> None:
    target = tmp_path / "checkout"
    shutil.copy(build_go(HTTPAPP), target)
    process = known(describe(start([str(target)]).pid, {}))
    assert (process.service_name, process.language) == ("checkout", "go")
    assert process.attributes["process.runtime.name"] == "go"
    assert process.attributes["process.runtime.version"].startswith("go1.")


def test_instance_ids_are_stable_and_tell_processes_apart(start: Start, script: list[str]) -> None:
    one, two = start(script).pid, start(script).pid
    key = "service.instance.id"
    first = known(describe(one, {})).attributes[key]
    assert known(describe(one, {})).attributes[key] == first
    assert known(describe(two, {})).attributes[key] != first


def test_a_process_that_ended_keeps_its_description(start: Start, script: list[str]) -> None:
    table = ProcessTable({})
    child = start(script)
    process = known(table.get(child.pid))
    assert table.get(child.pid) is process, "exporters group by identity"
    child.kill()
    child.wait()
    table.exit(child.pid)
    assert table.get(child.pid) is process
    assert table.get(child.pid) is process
    assert (table.described, table.gone) == (1, 0)


def test_one_that_ended_unseen_is_counted(start: Start, script: list[str]) -> None:
    child = start(script)
    child.kill()
    child.wait()
    table = ProcessTable({})
    assert table.get(child.pid) is None
    assert table.gone == 1


def test_an_exec_is_described_afresh(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text(WAIT)
    shell = 'echo first; read line; exec "$0" "$1"'
    child = start(["/bin/sh", "-c", shell, sys.executable, str(path)])
    table = ProcessTable({})
    before = known(table.get(child.pid))
    assert before.language == ""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"go\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"up\n"
    table.exec(child.pid)
    after = known(table.get(child.pid))
    assert (after.service_name, after.language) == ("late", "python")
    assert after.start_ticks == before.start_ticks


def test_the_table_is_bounded(start: Start, script: list[str]) -> None:
    table = ProcessTable({}, limit=2)
    pids = [start(script).pid for _ in range(4)]
    for pid in pids * 2:
        assert known(table.get(pid)).pid == pid
    assert len(table) == 2


def test_only_the_latest_of_the_ended_are_kept(
    start: Start, script: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_ebpf.metadata.table.MAX_ENDED", 2)
    table = ProcessTable({})
    children = [start(script) for _ in range(4)]
    for child in children:
        known(table.get(child.pid))
    for child in children:
        child.kill()
        child.wait()
        table.exit(child.pid)
    assert [table.get(child.pid) is None for child in children] == [True, True, False, False]


def test_describing_is_cheap() -> None:
    describer = Describer({})
    describer.describe(os.getpid())
    costs = []
    for _ in range(50):
        began = time.thread_time()
        describer.describe(os.getpid())
        costs.append(time.thread_time() - began)
    assert sorted(costs)[len(costs) // 2] < 0.001
