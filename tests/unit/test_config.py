"""otel-ebpf.yaml: it says what variables say, loses against them, and errors name its lines."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from otel_ebpf import cli
from otel_ebpf.config.document import MAX_BYTES, PROTOCOLS_VARIABLE, keys, read
from otel_ebpf.config.effective import VARIABLE, effective
from otel_ebpf.errors import UsageError
from otel_ebpf.export.otlp_settings import OtlpSettings
from otel_ebpf.protocols.registry import PROTOCOLS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "config.md"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def written(folder: Path, text: str) -> str:
    path = folder / "otel-ebpf.yaml"
    path.write_text(text)
    return str(path)


def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_documentation_s_example_is_right_and_has_every_key(tmp_path: Path) -> None:
    said = read(written(tmp_path, example()))
    every = {key.key for key in keys()} - {"protocols.*.enabled", "protocols.http2.enabled"}
    assert {s.key for s in said.values()} - {"protocols.http2.enabled"} == every
    for key in keys():
        assert key.variable in DOCS.read_text() or key.variable.startswith(
            ("OTEL_EXPORTER_OTLP_", "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_")
        )


def test_each_value_is_what_its_variable_would_say(tmp_path: Path) -> None:
    said = read(written(tmp_path, example()))
    told = {variable: s.value for variable, s in said.items()}
    assert told["OTEL_EBPF_AUTO_TARGET_EXE"] == "*/shop,till"
    assert told["OTEL_EBPF_OPEN_PORT"] == "80,8000-8999"
    assert told["OTEL_EXPORTER_OTLP_INSECURE"] == "false"
    assert told["OTEL_TRACES_SAMPLER_ARG"] == "0.25"
    others = ",".join(p.name for p in PROTOCOLS if p.name != "http2")
    assert told[PROTOCOLS_VARIABLE] == others
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": told["OTEL_EXPORTER_OTLP_HEADERS"]}
    assert OtlpSettings.from_env(headers).headers == (("authorization", "Bearer 1234"),)


def test_a_value_may_hold_what_separates_values_in_a_variable(tmp_path: Path) -> None:
    path = written(tmp_path, "export:\n  headers: {x-key: 'a,b=c %41'}\n")
    settings = effective(path, {})
    assert OtlpSettings.from_env(settings.env).headers == (("x-key", "a,b=c %41"),)


def test_a_variable_wins_over_the_file_and_an_empty_one_does_not(tmp_path: Path) -> None:
    path = written(tmp_path, "log_level: info\nselect: {port: [80]}\n")
    env = {"OTEL_EBPF_LOG_LEVEL": "error", "OTEL_EBPF_OPEN_PORT": "", VARIABLE: path}
    settings = effective(None, env)
    assert settings.env["OTEL_EBPF_LOG_LEVEL"] == "error"
    assert settings.env["OTEL_EBPF_OPEN_PORT"] == "80"
    assert settings.places == {"OTEL_EBPF_OPEN_PORT": ("select.port", f"{path}:2")}
    assert effective(None, {}, exists=lambda _: False).env == {}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("exports:\n  endpoint: x\n", 1, "exports: no such key"),
        ("export:\n  endpont: x\n", 2, "export.endpont: no such key"),
        ("\n\nprotocols:\n  gopher:\n    enabled: true\n", 4, "protocols.gopher: no such key"),
        ("protocols:\n  http2:\n    known_methods: [GET]\n", 3, "known_methods: no such key"),
        ("select:\n  pid: [1, two]\n", 2, "select.pid[1]: expected int"),
        ("select:\n  pid:\n    - 1\n    - two\n", 4, "select.pid[1]: expected int"),
        ("select: [1]\n", 1, "select: expected object"),
        ("export:\n  timeout_ms: soon\n", 2, "export.timeout_ms: expected int"),
        ("export:\n  compression: off\n", 2, "in quotes"),
        ("export:\n  headers:\n    a: 1\n", 2, "export.headers: expected str"),
        ("select:\n  exe: ['a,b']\n", 2, "holds a comma"),
        ("log_level: info\ngo: {}\nlog_level: warn\n", 3, "there twice (first in line 1)"),
        ("a: &x {b: 1}\nc: *x\n", 2, "anchors"),
        ("export:\n\tendpoint: x\n", 2, "is no YAML"),
        ("- just\n- a list\n", 1, "the file: expected object"),
        ("text\n", 1, "the file: expected object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_line_and_key(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as wrong:
        read(path)
    assert wrong.value.where == f"{path}:{line}"
    assert said in str(wrong.value) and wrong.value.mend


@pytest.mark.parametrize(
    "data", [b"\x00\x01", b"\xff\xfe\xfa", b"[" * 5000, b"{" * 5000 + b"}", b"!!python/object:x"]
)
def test_bytes_that_are_no_yaml_are_an_error_in_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="no YAML"):
        read(str(path))


def test_an_empty_file_says_nothing_and_a_huge_one_is_refused(tmp_path: Path) -> None:
    assert read(written(tmp_path, "# nothing\n")) == {}
    with pytest.raises(UsageError, match="larger than"):
        read(written(tmp_path, "#" * (MAX_BYTES + 1)))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("select:\n  port: [80, 99999]\n", 2, "select.port: '99999' is not a port"),
        ("go: {identity: guess}\n", 1, "go.identity: 'guess'"),
        ("\nsampling:\n  sampler: often\n", 3, "sampling.sampler: 'often'"),
        ("export:\n  compression: 'off'\n", 2, "export.compression: 'off'"),
        ("export: {queue: {max_size: 0}}\n", 1, "export.queue.max_size: '0'"),
        ("export: {output: paper}\n", 1, "export.output: 'paper'"),
        ("tls: {openssl: maybe}\n", 1, "tls.openssl: 'maybe'"),
        ("log_level: loud\n", 1, "log_level: 'loud'"),
        ("capture: {bytes: -1}\n", 1, "capture.bytes: '-1'"),
    ],
)
def test_a_value_that_makes_no_sense_is_named_by_its_line(
    tmp_path: Path, text: str, line: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    assert cli.main(["config", "--config", path]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{path}:{line}: {said}" in err and "mend:" in err


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--config", "/nowhere/x.yaml"]) == 2
    assert "/nowhere/x.yaml: No such file" in capsys.readouterr().err


def test_print_shows_what_is_in_force_and_who_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "export:\n  endpoint: http://a:4317\n  headers: {k: secret}\nselect: {exe: [shop]}\n"
    path = written(tmp_path, text)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "7")
    words = ["config", "--print", "--config", path, "--port", "80", "--protocol", "http"]
    assert cli.main(words) == 0
    out, _ = capsys.readouterr()
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert lines["select.port"] == ["80", "--port"]
    assert lines["select.exe"] == ["shop", f"{path}:4"]
    assert lines["export.endpoint"] == ["http://a:4317", f"{path}:2"]
    assert lines["export.headers"] == ["k=...", f"{path}:3"]
    assert lines["sampling.sampler"] == ["always_on", "OTEL_TRACES_SAMPLER"]
    assert lines["export.timeout_ms"] == ["7", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"]
    assert lines["protocols.*.enabled"] == ["http", "--protocol"]
    assert lines["log_level"] == ["warn", "default"]
    assert "secret" not in out


def test_one_sentence_says_that_all_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "log_level: info\n")
    assert cli.main(["config", "--config", path]) == 0
    assert capsys.readouterr().out == f"The settings make sense ({path}).\n"
