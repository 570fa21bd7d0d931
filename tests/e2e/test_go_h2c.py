"""Go servers of HTTP/2 without TLS whose connections begin as HTTP/1."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.e2e import relay
from tests.e2e.agent import Agent

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
CURL = ["curl", "-sSf", "--max-time", "30", "-o", "/dev/null"]


@needs_curl
@pytest.mark.parametrize(
    ("flag", "served"),
    [("--http2-prior-knowledge", "x"), ("--http2-prior-knowledge", "h2"), ("--http2", "x")],
)
def test_the_first_request_of_a_connection_is_known_as_well(flag: str, served: str) -> None:
    """Its handler calls others before the server has read anything as HTTP/2."""
    requests = 30
    front, back = relay.pair(relay.build())
    address = dict(part.split("=") for part in front.address.split(","))[served]
    with front, back, Agent(pids=[front.pid], env=relay.ENV) as agent:
        for number in range(requests):
            name = f"ctx.2.h2+grpc.{number}"
            url = f"http://{address}/call"
            subprocess.run([*CURL, flag, "-H", f"x-truth-id: {name}", url], check=True)
        spans = agent.stop()
    said = relay.judge(spans, front.pid)
    assert said.served == requests
    assert not said.wrong, said
    assert sum(said.right.values()) == 2 * requests, f"{said}\n{agent.ledger}"
