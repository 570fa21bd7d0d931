"""The command's flags, variables and exit statuses. What is wrong is said in a sentence."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from otel_ebpf import __version__, agent, cli
from otel_ebpf.agent_config import AgentConfig
from otel_ebpf.errors import UsageError
from otel_ebpf.selection import chosen_globs, chosen_pids, chosen_ports
from tests.captures.replaying import can_drop, unprivileged

ABSENT = str((1 << 22) - 1)
"""A process id that the kernel never gives by itself: its limit."""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_",)):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "'frobnicate'"),
        (["run", "--bogus"], "--bogus"),
        (["run", "stray"], "stray"),
        (["run", "--pid", "x"], "'x' is not a process id"),
        (["run", "--pid", "-1"], "process id"),
        (["run", "--pid", ABSENT], f"no process {ABSENT}"),
        (["run", "--port", "0"], "'0' is not a port"),
        (["run", "--port", "70000"], "'70000' is not a port"),
        (["run", "--port", "9000-8000"], "'9000-8000' is not a port"),
        (["run", "--port", "80,81"], "'80,81' is not a port"),
        (["run", "--exe", ""], "empty pattern"),
        (["run", "--output", "yaml"], "'yaml'"),
        (["run", "--capture-bytes", "many"], "'many'"),
        (["run", "--capture-bytes", "9999"], "9999 bytes is out of range"),
        (["run", "--"], "no program behind --"),
        (["record"], "FILE"),
        (["record", "x.cap", "--"], "no program behind --"),
        (["replay", "x.cap", "--", "true"], "replay starts no program"),
        (["replay", "--output", "yaml", "x.cap"], "'yaml'"),
        (["doctor", "--bogus"], "--bogus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_named_with_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "mend:" in err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EBPF_TARGET_PID", "1,x"),
        ("OTEL_EBPF_TARGET_PID", ABSENT),
        ("OTEL_EBPF_OPEN_PORT", "http"),
        ("OTEL_EBPF_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_variable_is_named_with_status_2(
    name: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert cli.main(["run"]) == 2
    assert name in capsys.readouterr().err


def test_variables_count_where_their_flags_are_absent() -> None:
    env = {
        "OTEL_EBPF_TARGET_PID": "7, 8,",
        "OTEL_EBPF_AUTO_TARGET_EXE": "*/shop,till",
        "OTEL_EBPF_OPEN_PORT": "80,8000-8999",
    }
    assert chosen_pids([], env) == [7, 8]
    assert chosen_globs([], env) == ["*/shop", "till"]
    assert chosen_ports([], env) == [(80, 80), (8000, 8999)]
    assert chosen_pids(["9"], env) == [9]
    assert chosen_globs(["x"], env) == ["x"]
    assert chosen_ports(["1-65535"], env) == [(1, 65535)]
    assert (chosen_pids([], {}), chosen_globs([], {}), chosen_ports([], {})) == ([], [], [])


@pytest.mark.parametrize("text", ["1" * 400, "٣", "1.5", " 80", "80-", "-80", "80--81", ""])
def test_only_plain_numbers_are_ports_and_pids(text: str) -> None:
    with pytest.raises(UsageError):
        chosen_ports([text], {})
    with pytest.raises(UsageError):
        chosen_pids([text + "x"], {})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[AgentConfig]:
    """What the agent would have been started with."""
    configs: list[AgentConfig] = []

    def instead(config: AgentConfig, *_: object) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(run=lambda: 0)

    monkeypatch.setattr(agent, "Agent", instead)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return configs


def test_flags_reach_the_agent(asked: list[AgentConfig]) -> None:
    me = str(os.getpid())
    words = ["--pid", me, "--exe", "a*", "--port", "80-90", "--port", "99", "--output", "json"]
    assert cli.main(["run", *words, "--capture-bytes", "256", "--", "prog", "--pid", "--"]) == 0
    [config] = asked
    assert (config.pids, config.globs, config.output) == ([os.getpid()], ["a*"], "json")
    assert config.kernel.ports == [(80, 90), (99, 99)]
    assert (config.kernel.capture, config.kernel.filter_processes) == (256, True)
    assert config.command == ["prog", "--pid", "--"]
    assert config.record == ""


@pytest.mark.parametrize(
    "words",
    [
        ["FILE", "--port", "80", "--", "prog", "arg"],
        ["--port", "80", "FILE", "--", "prog", "arg"],
    ],
)
def test_record_takes_its_flags_before_and_after_the_file(
    words: list[str], asked: list[AgentConfig]
) -> None:
    assert cli.main(["record", *words]) == 0
    assert (asked[0].record, asked[0].command) == ("FILE", ["prog", "arg"])
    assert asked[0].kernel.ports == [(80, 80)]


def test_everything_is_traced_when_nothing_is_chosen(asked: list[AgentConfig]) -> None:
    assert cli.main(["run"]) == 0
    assert (asked[0].kernel.filter_processes, asked[0].kernel.ports) == (False, [])


@pytest.mark.skipif(not can_drop(), reason="no other user can read this checkout")
@pytest.mark.parametrize("words", [["run"], ["record", "/dev/null"]], ids=lambda words: words[0])
def test_who_may_not_load_programs_is_told_so_with_status_3(words: list[str]) -> None:
    done = unprivileged(*words)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (3, b""), said
    assert "root" in said
    assert "mend:" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 4


@pytest.mark.skipif(not can_drop(), reason="no other user can read this checkout")
def test_the_doctor_needs_no_privileges() -> None:
    done = unprivileged("doctor")
    assert b"Traceback" not in done.stderr
    assert done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"otel-ebpf {__version__}\n"
