"""Go programs come, go, are upgraded and copied; the agent comes and is killed. Nobody notices."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.agent import TRUTH_ENV, Agent
from tests.e2e.raw import Connection
from tests.e2e.services import Service
from tests.e2e.traces_left import foreign_uprobes, map_keys, own_memory, trapped, wait_for
from tests.e2e.truth import TRUTH, drive, judge, pair
from tests.gobuild import build_go

MAPS = (
    "proc_info_map",
    "target_map",
    "goroutines_map",
    "go_running_map",
    "pid_tgid_callerid_map",
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A program of a path that no other test's agent looks for."""
    return Path(shutil.copy(build_go(TRUTH), tmp_path / "shop"))


@pytest.fixture
def back() -> Iterator[Service]:
    with Service("back", [build_go(TRUTH)]) as service:
        yield service


def seen(agent: Agent, *pids: int) -> None:
    """Waits until the agent has looked at these Go processes. (A uprobe says nothing: it is in
    every process that runs the file.)"""

    def known() -> bool:
        keys = map_keys(agent.pid, "proc_info_map")
        return {int.from_bytes(key, "little") for key in keys} >= set(pids)

    wait_for(known, "the kernel half knows of the processes", 60)


def test_restarted_upgraded_and_forked_programs_are_traced(shop: Path, back: Service) -> None:
    command: list[str | Path] = [shop, "-next", back.url]
    pids = []
    with Agent("--exe", str(shop), env=TRUTH_ENV) as agent:

        def work(service: Service, pid: int = 0) -> None:
            drive(service, ("seq", "ctx"), 5, 1, 1)
            pids.append(pid or service.pid)

        with Service("first", command) as first:
            seen(agent, first.pid)
            work(first)
            # Another build takes the file's name while the first goes on.
            old = shop.with_name("old")
            os.link(shop, old)
            new = shutil.copy(build_go(TRUTH, toolchain="go1.24.13"), shop.with_name("new"))
            os.replace(new, shop)
            with Service("upgraded", command) as upgraded:
                seen(agent, upgraded.pid)
                work(upgraded)
                assert first.get("/leaf") == b"leaf\n"
                drive(first, ("seq",), 5, 1, 1)
                assert trapped(first.pid, old), "the uprobes of the replaced file are gone"
        with Service("restarted", command) as restarted:
            seen(agent, restarted.pid)
            work(restarted)
        # A shell forks, and its child executes the program.
        script = f"{shop} -next {back.url}; true"
        with Service("forked", ["sh", "-c", script]) as forked:
            child = int(forked.get("/pid"))
            assert child != forked.pid
            seen(agent, child)
            work(forked, child)
            os.kill(child, signal.SIGTERM)
        spans = agent.stop()
    assert len(set(pids)) == 4
    for pid in pids:
        said = judge(spans, pid)
        assert not said.wrong
        assert said.right["seq"] + said.absent["seq"] == (10 if pid == pids[0] else 5), said
        assert said.right["seq"] >= 4 and said.right["ctx"] >= 4, (said, agent.ledger)


@contextmanager
def loaded(service: Service) -> Iterator[dict[str, int]]:
    """Requests without end from two connections; ``good`` and ``bad`` count the answers."""
    counts = {"good": 0, "bad": 0}
    lock, stop = threading.Lock(), threading.Event()

    def run(number: int) -> None:
        with Connection("127.0.0.1", service.port) as connection:
            while not stop.is_set():
                mode = ("seq", "par", "chain3")[number % 3]
                try:
                    answer = connection.get(f"/call?id={mode}.{number}&mode={mode}&n=2")
                except OSError:
                    answer = (0, b"")
                number += 2
                with lock:
                    counts["good" if answer == (200, b"2\n") else "bad"] += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def goes_on(counts: dict[str, int]) -> None:
    """Waits for a hundred answers more."""
    aim = counts["good"] + 100
    wait_for(lambda: counts["good"] >= aim, "100 requests")


def test_an_agent_that_is_killed_under_load_leaves_nothing_and_breaks_nothing(shop: Path) -> None:
    program = shop
    front, back = pair(program)
    with front, back, loaded(front) as counts:
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            # As many uprobes as there can be, on the busiest functions of the runtime.
            agent = Agent("--go-identity", "both", pids=[front.pid], keep_output=False)
            try:
                wait_for(lambda: len(trapped(front.pid, program)) == 3, "uprobes")
                goes_on(counts)
            finally:
                agent.process.send_signal(number)
                agent.process.wait(30)
                agent.kill()
            wait_for(
                lambda: not trapped(front.pid, program) or foreign_uprobes(program),
                "the program's own code again",
            )
            goes_on(counts)
    assert counts["bad"] == 0
    assert front.process.poll() == 0 or front.process.returncode == -signal.SIGTERM


def test_a_hundred_programs_at_once(shop: Path, back: Service) -> None:
    number = 100
    with Agent("--exe", str(shop), env=TRUTH_ENV) as agent, ThreadPoolExecutor(8) as pool:
        services = list(
            pool.map(lambda i: Service(f"shop-{i}", [shop, "-next", back.url]), range(number))
        )
        try:
            seen(agent, *(service.pid for service in services))
            list(pool.map(lambda service: drive(service, ("seq", "ctx"), 2, 1, 1), services))
            spans = agent.stop()
        finally:
            list(pool.map(Service.stop, services))
    right = absent = 0
    for service in services:
        said = judge(spans, service.pid)
        assert not said.wrong
        right += said.right.total()
        absent += said.absent.total()
    assert right + absent == 4 * number
    assert absent <= agent.ledger.get("go_not_parked", 0)
    assert agent.ledger["records_lost"] == 0


def test_a_thousand_short_programs_leave_no_memory_behind(shop: Path, back: Service) -> None:
    def run(_: int) -> int:
        return subprocess.run([shop, "-once", "-next", back.url], check=True).returncode

    def stale(agent: Agent) -> list[tuple[str, int]]:
        """Dead processes that the kernel half still has entries of, by map."""
        found = []
        for name in MAPS:
            for key in map_keys(agent.pid, name):
                pid = int.from_bytes(key[-4:], "little")  # behind the thread, if there is one
                if not os.path.exists(f"/proc/{pid}"):
                    found.append((name, pid))
        return found

    with Agent("--exe", str(shop), "--go-identity", "uprobe", keep_output=False) as agent:
        # One that stays: short ones may all be over before they can be looked at, and what is
        # kept of the program would come to be only while memory is compared.
        with Service("lasting", [shop, "-next", back.url]) as lasting:
            seen(agent, lasting.pid)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, range(300)))
            before = own_memory(agent.pid)
            list(pool.map(run, range(700)))
        wait_for(lambda: not stale(agent), "no more of the dead")
        grown = own_memory(agent.pid) - before
    # Some KB are kept of each of the latest 512 that have ended.
    assert grown < 10 << 20, f"{grown >> 10} KiB more after 700 processes"
    assert agent.ledger["go_processes"] >= 1, agent.ledger
