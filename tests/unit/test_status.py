"""`otel-ebpf status` and the socket that it asks, without a kernel."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from otel_ebpf import cli, status
from otel_ebpf.status_socket import DIRECTORY, VARIABLE, StatusSocket, directory

PROCESS = {
    "pid": 42,
    "service_name": "shop",
    "served": 1200,
    "calls": 2000,
    "proved": 1990,
    "inferred": 4,
    "lack": 2,
    "own": 4,
    "calls_by": {"turn": 4, "go.context": 1990},
    "absent": {"no_witness": 2},
    "checks": {"turns": "believed", "turns_right": "1500 of 1500"},
}


def report(processes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "pid": 7,
        "version": "0.0",
        "seconds": 3725.0,
        "totals": {"records_seen": 12345, "records_lost": 0},
        "processes": processes,
        "counters": {"requests": 3},
    }


@contextmanager
def agent(folder: Path, said: dict[str, Any], pid: int = 7) -> Iterator[StatusSocket]:
    """A status socket that answers all the time."""
    listening = StatusSocket(str(folder), pid)
    ended = threading.Event()

    def answer() -> None:
        while not ended.wait(0.01):
            listening.answer(lambda: said)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield listening
    finally:
        ended.set()
        thread.join()
        listening.close()


def ask(folder: Path, **how: bool) -> str:
    out = io.StringIO()
    assert status.run_status(out, {VARIABLE: str(folder)}, **how) == 0
    return out.getvalue()


def test_every_process_is_told_with_its_shares_rules_reasons_and_checks(tmp_path: Path) -> None:
    with agent(tmp_path, report([PROCESS])):
        lines = [" ".join(line.split()) for line in ask(tmp_path).splitlines()]
    assert lines[0].startswith("agent 7 (otel-ebpf 0.0), up 1 h 2 min: 12,345 records seen")
    assert lines[2] == "shop 42 1,200 2,000 99.5 % 0.2 % 0.1 % 0.2 %"
    assert lines[3] == "parents: go.context 1,990, turn 4"
    assert lines[4] == "lacking: no_witness 2"
    assert "turns believed" in lines[5] and "turns_right 1500 of 1500" in lines[5]


def test_programs_get_all_of_it(tmp_path: Path) -> None:
    with agent(tmp_path, report([PROCESS])), agent(tmp_path, report([]), 8):
        answers = json.loads(ask(tmp_path, as_json=True))
    assert answers == [report([PROCESS]), report([])]


def test_an_answer_larger_than_a_sockets_buffer_arrives_whole(tmp_path: Path) -> None:
    many = [{**PROCESS, "pid": pid} for pid in range(5000)]
    with agent(tmp_path, report(many)):
        [answer] = json.loads(ask(tmp_path, as_json=True))
    assert len(answer["processes"]) == 5000


def test_nothing_traced_yet_is_said(tmp_path: Path) -> None:
    with agent(tmp_path, report([])):
        assert "nothing has been traced yet" in ask(tmp_path)


def test_no_agent_is_one_sentence_and_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    assert cli.main(["status"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "no agent runs on this host" in err and "mend: start one" in err


def test_what_a_killed_agent_left_is_no_agent_and_goes(tmp_path: Path) -> None:
    left = tmp_path / "agent-9.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    with agent(tmp_path, report([])):
        assert ask(tmp_path).count("agent ") == 1
    assert not left.exists()


def test_a_new_agent_takes_the_place_that_a_killed_one_with_its_number_left(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "agent-7.sock"))
    with agent(tmp_path, report([])):
        assert "agent 7" in ask(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_socket_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "redis.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(other))
        listening.listen()
        with agent(tmp_path, report([])):
            assert ask(tmp_path).count("agent ") == 1
    assert other.exists()


def test_others_may_not_ask(tmp_path: Path) -> None:
    with agent(tmp_path, report([])) as listening:
        assert stat.S_IMODE(os.stat(listening.path).st_mode) == 0o600


def test_a_folder_that_cannot_be_made_is_said_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    listening = StatusSocket(str(blocked), 7)
    listening.answer(lambda: pytest.fail("nobody can have asked"))
    listening.close()
    assert VARIABLE in caplog.text and str(blocked) in caplog.text


def test_the_folder_is_named_by_the_variable() -> None:
    assert directory({}) == directory({VARIABLE: " "}) == DIRECTORY
    assert directory({VARIABLE: "/elsewhere"}) == "/elsewhere"
