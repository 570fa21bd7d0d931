"""The helpers: a test that fails for its environment's sake must say so."""

from __future__ import annotations

import sys

import pytest

from tests.e2e.agent import Agent, AgentError, parse_ledger
from tests.e2e.query import parent_of, path_of
from tests.e2e.services import Service, ServiceError


def test_a_program_that_ends_instead_of_listening_is_an_error_with_its_words() -> None:
    script = "import sys; print('no such port', file=sys.stderr); sys.exit(3)"
    with pytest.raises(ServiceError, match="ended with status 3\nno such port"):
        Service("broken", [sys.executable, "-c", script])


def test_a_silent_program_is_stopped_and_named() -> None:
    script = "import time; time.sleep(600)"
    with pytest.raises(ServiceError, match=r"mute: silent for 0\.2 s"):
        Service("mute", [sys.executable, "-c", script], ready_seconds=0.2)


def test_an_agent_that_ends_before_it_is_ready_is_an_error_with_its_words() -> None:
    script = "import sys; print('mend: use sudo', file=sys.stderr); sys.exit(3)"
    with pytest.raises(AgentError, match=r"status 3 before `ready`\nmend: use sudo"):
        Agent(command=[sys.executable, "-c", script])


def test_an_agent_that_is_never_ready_is_an_error() -> None:
    with pytest.raises(AgentError, match="no line with `ready` in time"):
        Agent(command=[sys.executable, "-c", "import time; time.sleep(600)"], limit_seconds=0.3)


def test_a_ledger_is_read_by_its_names_and_repeated_names_add_up() -> None:
    text = """otel-ebpf ledger
  records seen: 1,200
  spans exported: 40
    read_fault: 3  (payloads that could not be read from the program's memory)
    read_fault: 4
  nothing here
"""
    assert parse_ledger(text) == {"records_seen": 1200, "spans_exported": 40, "read_fault": 7}


def test_paths_of_both_kinds_of_span_and_a_dangling_parent() -> None:
    server = {"attributes": {"url.path": "/a"}}
    client = {"attributes": {"url.full": "http://127.0.0.1:80/a/b?c=d"}}
    assert (path_of(server), path_of(client)) == ("/a", "/a/b")
    child = {"trace_id": "t", "span_id": "2", "parent_span_id": "1"}
    parent = {"trace_id": "t", "span_id": "1", "parent_span_id": ""}
    stranger = {"trace_id": "u", "span_id": "1", "parent_span_id": ""}
    assert parent_of(child, [stranger, parent]) is parent
    assert parent_of(parent, [child]) is None
    with pytest.raises(AssertionError, match="not among the spans"):
        parent_of(child, [stranger])
