"""Protocols are turned on and off, by the settings file and by flag."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.agent import Agent
from tests.e2e.services import Service
from tests.gobuild import build_go

pytestmark = [pytest.mark.kernel]
HERE = Path(__file__).resolve().parent


def test_a_protocol_that_is_off_gives_no_spans(tmp_path: Path) -> None:
    settings = tmp_path / "otel-ebpf.yaml"
    settings.write_text("protocols:\n  http:\n    enabled: false\n")
    with ExitStack() as stack:
        service = stack.enter_context(Service("service", [build_go(HERE / "target")]))
        start = [("--config", str(settings)), ("--protocol", "http2"), ("--protocol", "http")]
        agents = [
            stack.enter_context(
                Agent(*words, pids=[service.pid], env={"OTEL_EBPF_RUN_DIR": str(tmp_path)})
            )
            for words in start
        ]
        service.get("/hello")
        by_file, by_flag, on = agents
        assert on.wait_spans(1)[0]["name"].startswith("GET")
        assert by_file.stop() == by_flag.stop() == []
