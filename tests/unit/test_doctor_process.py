"""``doctor --pid``: what it says of real processes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_ebpf import cli
from otel_ebpf.discovery.processes import classify
from otel_ebpf.doctor_process import run_process_doctor
from otel_ebpf.probe_costs import EVENTS, KINDS
from tests.gobuild import build_go, go_command

ROOT = Path(__file__).resolve().parents[2]
HTTPAPP = ROOT / "tests" / "targets" / "go" / "httpapp"


@pytest.fixture
def stripped() -> Iterator[int]:
    """A stripped net/http program that runs."""
    if go_command() is None:
        pytest.skip("no Go on this machine")
    program = build_go(HTTPAPP, flags=("-ldflags=-s -w",))
    with subprocess.Popen([program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it listens, so it runs
        yield process.pid
        process.kill()


def told(pid: int) -> dict[str, Any]:
    stream = io.StringIO()
    assert run_process_doctor(pid, stream, as_json=True) == 0
    facts: dict[str, Any] = json.loads(stream.getvalue())
    return facts


def test_a_stripped_go_program_is_known_and_costs_nothing_a_request(stripped: int) -> None:
    facts = told(stripped)
    assert facts["runtime"]["version"].startswith("go1.")
    go = facts["go"]
    assert go["main"]["module"] == "example.com/httpapp"
    assert (go["stripped"], go["position_independent"], go["cgo"]) == (True, False, False)
    assert go["g_offset"] == -8
    assert go["offsets"]["go"]["source"] == "table"
    functions = {probe["function"] for probe in go["probes"]}
    assert {"net/http.(*conn).serve", "net/http.(*persistConn).readLoop"} <= functions
    assert go["requests"]["HTTP/1 served by net/http"] == 0
    assert go["requests"]["HTTP/1 asked by net/http"] == 0


def test_what_tls_costs_a_request_is_told_for_each_kind_that_the_program_can_speak(
    stripped: int, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = told(stripped)["go"]["requests"]
    assert requests["HTTPS (HTTP/1) served by net/http"] == 2
    assert requests["HTTPS (HTTP/1) asked by net/http"] == 1
    assert requests["HTTP/2 with TLS served by net/http"] == 2
    # Nothing of a library that is not in the program.
    assert not any("grpc-go" in name for name in requests)
    assert cli.main(["doctor", "--pid", str(stripped)]) == 0
    said = capsys.readouterr().out
    assert "HTTPS (HTTP/1) served by net/http: 2 uprobe hits" in said
    assert re.search(r"what TLS writes +from the stack, no uprobe", said)


def test_reads_of_tls_that_are_paired_cost_two_hits() -> None:
    (served,) = (kind for kind in KINDS if kind.name == "HTTPS (HTTP/1) served by net/http")
    paired = {"go_conn_serve", "go_tls_read_enter", "go_tls_read_exit_paired"}
    writes = {"go_tls_write_enter", "go_tls_write_exit"}
    assert served.hits(paired | writes) == 6
    assert served.hits(paired) == 4  # the stack tells of Writes
    assert served.hits({"go_conn_serve"}) is None  # TLS is not seen


def test_the_text_has_the_same_facts(stripped: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--pid", str(stripped)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"main module +example.com/httpapp", said)
    assert re.search(r"current goroutine +at the thread pointer -8", said)
    assert re.search(r"offsets of Go +\d+ from the table of versions", said)
    assert "HTTP/1 served by net/http: 0 uprobe hits" in said
    assert str(stripped) in said.splitlines()[0]


def test_a_watched_scheduler_is_named_and_counted(stripped: int) -> None:
    stream = io.StringIO()
    run_process_doctor(stripped, stream, as_json=True, identity="uprobe")
    go = json.loads(stream.getvalue())["go"]
    assert go["events"]["a goroutine scheduled or parked"]["hits"] == 1
    assert go["events"]["a goroutine started"]["hits"] == 2


def test_another_language_is_told_with_its_runtime() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import asyncio; print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        facts = told(process.pid)
    finally:
        process.communicate(b"\n")
    assert (facts["language"], facts["runtime"]["name"]) == ("python", "cpython")
    assert "asyncio's tasks, read from memory" in facts["event_loop"]
    assert "go" not in facts


def test_a_pid_that_is_nobodys_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert classify(ended.pid) is None
    assert cli.main(["doctor", "--pid", str(ended.pid)]) == 2
    assert "there is no process" in capsys.readouterr().err


def test_every_uprobe_program_has_its_cost() -> None:
    text = "".join(path.read_text() for path in (ROOT / "bpf").glob("*.[ch]"))
    programs = set(re.findall(r"^int (go_\w+)\(struct pt_regs", text, re.M))
    assert programs
    costed = [program for event in EVENTS for program in event.programs]
    assert programs <= set(costed), "say in probe_costs.py how often it is hit"
    assert {kind.program for kind in KINDS} <= set(costed)


def test_functions_that_tell_headers_are_named_when_they_are_asked_for(
    stripped: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def headers(facts: dict[str, Any]) -> set[str]:
        return {
            p["program"] for p in facts["go"]["probes"] if p["program"] == "go_h2_process_headers"
        }

    assert not headers(told(stripped))
    assert cli.main(["doctor", "--pid", str(stripped), "--go-http2", "uprobe", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert headers(facts)
    told_by = facts["go"]["http2_headers"]
    assert (told_by["from"], told_by["missing"]) == ("uprobe", {})
    request = facts["go"]["events"]["a request read by net/http's HTTP/2 server"]
    assert request == {"hits": 1, "per_request": "1, on request"}
    assert cli.main(["doctor", "--pid", str(stripped), "--go-http2", "no"]) == 2
