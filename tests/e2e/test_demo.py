"""The demo: its trees are whole, and the command leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.agent import ROOT, Agent
from tests.e2e.query import parent_of, path_of, select
from tests.e2e.services import Service, python_command
from tests.gobuild import build_go

DEMO = ROOT / "examples" / "demo"
pytestmark = [
    pytest.mark.kernel,
]


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, Service]]:
    with ExitStack() as stack:
        built = {name: build_go(DEMO / name) for name in ("frontend", "backend")}
        start = stack.enter_context
        back = start(Service("backend", [built["backend"]]))
        script = python_command(DEMO / "pricing.py", "--backend", back.url)
        price = start(Service("pricing", script))
        front = start(
            Service("frontend", [built["frontend"], "--pricing", price.url, "--backend", back.url])
        )
        yield {"frontend": front, "pricing": price, "backend": back}


def test_every_checkout_is_one_whole_tree(shop: dict[str, Service]) -> None:
    front, price, back = shop["frontend"], shop["pricing"], shop["backend"]
    count = 40
    with Agent(pids=[service.pid for service in shop.values()]) as agent:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: front.get("/checkout?item=lamp"), range(count)))
        spans = agent.stop()
    roots = select(spans, "SERVER", "/checkout", front.pid)
    assert len(roots) == count
    assert len({root["trace_id"] for root in roots}) == count
    expected = sorted(
        [
            ("SERVER", "/checkout", front.pid, None),
            ("CLIENT", "/price", front.pid, "/checkout"),
            ("CLIENT", "/customer", front.pid, "/checkout"),
            ("CLIENT", "/shipping", front.pid, "/checkout"),
            ("SERVER", "/price", price.pid, "/price"),
            ("CLIENT", "/stock", price.pid, "/price"),
            ("SERVER", "/customer", back.pid, "/customer"),
            ("SERVER", "/shipping", back.pid, "/shipping"),
            ("SERVER", "/stock", back.pid, "/stock"),
        ],
        key=repr,
    )
    for root in roots:
        tree = [span for span in spans if span["trace_id"] == root["trace_id"]]
        seen = []
        for span in tree:
            parent = parent_of(span, tree)
            above = path_of(parent) if parent else None
            seen.append((span["kind"], path_of(span), span["resource"]["process.pid"], above))
        assert sorted(seen, key=repr) == expected


def test_the_services_have_their_own_names(shop: dict[str, Service]) -> None:
    with Agent(pids=[service.pid for service in shop.values()]) as agent:
        shop["frontend"].get("/checkout?item=lamp")
        spans = agent.stop()
    names = {span["resource"]["process.pid"]: span["resource"]["service.name"] for span in spans}
    assert names[shop["pricing"].pid] in {"pricing", "pricing.py"}
    assert len(set(names.values())) == 3


def _descendants(pid: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid:
                found |= {int(entry.name)} | _descendants(int(entry.name))
    return found


def test_the_command_shows_trees_ends_by_itself_and_tells_of_the_collector() -> None:
    done = subprocess.run(
        [sys.executable, DEMO / "run", "--seconds", "4"],
        capture_output=True,
        text=True,
        timeout=120,
        env={k: v for k, v in os.environ.items() if not k.startswith("OTEL_")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("frontend", "pricing", "backend", "/price", "/stock", "OTEL_EXPORTER_OTLP"):
        assert word in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_ctrl_c_stops_everything_that_the_demo_started() -> None:
    command = [sys.executable, str(DEMO / "run"), "--seconds", "60"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # What a shell runs in the background ignores Ctrl-C, and so would what that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "one checkout a second" in line:
                break
        started = _descendants(process.pid)
        assert len(started) >= 4
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 130, rest
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert "Traceback" not in rest
