"""Go programs whose connections are within others of their own, or that are linked with C's."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.query import select
from tests.e2e.raw import Connection
from tests.e2e.services import Service
from tests.e2e.test_go_tls import ask, connect, joined
from tests.e2e.truth import TRUTH, judge
from tests.gobuild import build_go

MODES = ("seq", "ctx", "pool")
ROUNDS, CALLS = 10, 2


def _right(program: Path, *flags: str) -> Counter[str]:
    """Has the service call itself in every mode; how many calls have the right parent."""
    secure = "-tls" in flags
    scheme = "https" if secure else "http"
    with (
        Service("back", [program, *flags]) as back,
        Service("front", [program, *flags, "-next", f"{scheme}://{back.address}"]) as front,
        Agent(pids=[front.pid, back.pid], env=TRUTH_ENV) as agent,
    ):
        paths = [f"/call?id={m}.{n}&mode={m}&n={CALLS}" for n in range(ROUNDS) for m in MODES]
        if secure:
            with connect(front) as connection:
                for path in paths:
                    ask(connection, path)
        else:
            with Connection("127.0.0.1", front.port) as plain:
                for path in paths:
                    assert plain.get(path)
        spans = agent.stop()
    said = judge(spans, front.pid)
    # Those that have not parked yet when their responses come may be left out.
    said.check(MODES, ROUNDS * CALLS, agent.ledger)
    assert joined(spans, back.pid) == {True: len(MODES) * ROUNDS * CALLS}
    assert len(select(spans, "SERVER", "/call", front.pid)) == len(MODES) * ROUNDS
    return said.right


@pytest.mark.parametrize("flags", [("-wrap",), ("-wrap", "-tls", "1.3"), ("-wrap", "-tls", "1.2")])
def test_a_connection_within_others_is_known_by_its_socket(flags: tuple[str, ...]) -> None:
    right = _right(build_go(TRUTH), *flags)
    assert sum(right.values()) >= len(MODES) * ROUNDS * CALLS - 4


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("static", [False, True])
def test_https_beside_thread_local_variables_of_c(static: bool) -> None:
    """Where the current goroutine is kept is then not where it is in other Go programs."""
    flags = ["-tags=cvars", *["-ldflags=-linkmode=external -extldflags=-static"] * static]
    program = build_go(TRUTH, flags=tuple(flags), env={"CGO_ENABLED": "1"})
    right = _right(program, "-tls", "1.3")
    assert sum(right.values()) >= len(MODES) * ROUNDS * CALLS - 4
