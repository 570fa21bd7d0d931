"""Bodies of hundreds of megabytes: one span, its whole duration, and no memory for them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agent import Agent
from tests.e2e.query import only, seconds_of
from tests.e2e.raw import Connection
from tests.e2e.services import Service
from tests.gobuild import build_go

pytestmark = [
    pytest.mark.kernel,
]
HERE = Path(__file__).resolve().parent
SIZE = 300_000_000


@pytest.fixture
def target() -> Iterator[Service]:
    with Service("target", [build_go(HERE / "target")]) as service:
        yield service


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise AssertionError("no VmRSS")


def curl(*arguments: str) -> str:
    command = ["curl", "--silent", "--fail", "--noproxy", "*", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_big_answer_is_one_span_that_lasts_as_long_as_it_took(
    target: Service, framing: str
) -> None:
    query = f"bytes={SIZE}" + ("&chunked=1" if framing == "chunked" else "")
    with Agent(pids=[target.pid]) as agent:
        before = resident_mb(agent.pid)
        took = float(
            curl("--output", "/dev/null", "--write-out", "%{time_total} %{size_download}",
                 f"{target.url}/big?{query}").split()[0]
        )  # fmt: skip
        with Connection("127.0.0.1", target.port) as connection:
            connection.get("/hello")
        agent.wait_spans(2)
        after = resident_mb(agent.pid)
        spans = agent.stop()
    span = only(spans, "SERVER", "/big")
    assert span["attributes"]["http.response.status_code"] == 200
    # The handler's last write ends when the last bytes fit into the socket's buffers.
    assert 0.5 * took < seconds_of(span) <= took + 0.01
    assert after - before < 30
    assert only(spans, "SERVER", "/hello")


def test_requests_after_a_chunked_body_on_the_same_connection_are_seen(target: Service) -> None:
    with (
        Agent(pids=[target.pid]) as agent,
        Connection("127.0.0.1", target.port) as connection,
    ):
        for number in range(3):
            assert len(connection.get("/big?bytes=5000000&chunked=1")[1]) == 5_000_000
            assert connection.get(f"/hello?n={number}")[0] == 200
        spans = agent.stop()
    assert len([span for span in spans if span["kind"] == "SERVER"]) == 6


@pytest.mark.parametrize("chunked", [False, True])
def test_a_big_upload_is_one_span_from_its_first_byte(
    target: Service, chunked: bool, tmp_path: Path
) -> None:
    body = tmp_path / "body"
    with body.open("wb") as file:
        file.truncate(SIZE)
    extra = ["--header", "Transfer-Encoding: chunked"] if chunked else []
    with Agent(pids=[target.pid]) as agent:
        answer = curl(
            "--upload-file", str(body), "--header", "Expect:", *extra,
            "--write-out", "%{time_total}", f"{target.url}/upload",
        )  # fmt: skip
        spans = agent.stop()
    length, took = answer.split()
    assert int(length) == SIZE
    span = only(spans, "SERVER", "/upload")
    assert span["attributes"]["http.request.method"] == "PUT"
    assert 0.5 * float(took) < seconds_of(span) <= float(took) + 0.01


def test_expect_100_continue_is_one_request(target: Service, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 5_000_000)
    with Agent(pids=[target.pid]) as agent:
        curl("--upload-file", str(body), "--header", "Expect: 100-continue",
             f"{target.url}/upload")  # fmt: skip
        spans = agent.stop()
    span = only(spans, "SERVER", "/upload")
    assert span["attributes"]["http.response.status_code"] == 200


def test_times_agree_with_the_wall_clock(target: Service) -> None:
    with (
        Agent(pids=[target.pid]) as agent,
        Connection("127.0.0.1", target.port) as connection,
    ):
        connection.get("/hello")
        before = time.time_ns()
        connection.get("/slow?ms=100")
        after = time.time_ns()
        spans = agent.stop()
    span = only(spans, "SERVER", "/slow")
    start, end = int(span["start_time_unix_nano"]), int(span["end_time_unix_nano"])
    # Outside of this window by more than a millisecond would be another clock.
    assert before - 1_000_000 <= start < end <= after + 1_000_000
    assert 0.1 <= seconds_of(span) <= (after - before) / 1e9 + 0.002
