"""What the tracer says happened, did: against the service's own log, and tcpdump's packets."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.agent import Agent
from tests.e2e.query import seconds_of, select
from tests.e2e.raw import Connection
from tests.e2e.services import Service
from tests.gobuild import build_go

pytestmark = [
    pytest.mark.kernel,
]
HERE = Path(__file__).resolve().parent


def test_counts_and_times_agree_with_the_services_own_log() -> None:
    count = 200
    with Service("target", [build_go(HERE / "target"), "-log"]) as service:
        with Agent(pids=[service.pid]) as agent:

            def work(first: int) -> None:
                with Connection("127.0.0.1", service.port) as connection:
                    for number in range(first, count, 8):
                        connection.get(f"/slow?ms={number % 7}&n={number}")

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(work, range(8)))
            spans = agent.stop()
        log = {}
        for _ in range(count):
            path, *moments = service.take_line().split()
            log[path.partition("?")[2]] = (int(moments[0]), int(moments[1]))
    found = {span["attributes"]["url.query"]: span for span in select(spans, "SERVER", "/slow")}
    assert set(found) == set(log)
    inside, longer = 0, []
    for query, (start, end) in log.items():
        span = found[query]
        # The span holds the handler: it opens when the request is read, and closes when the
        # response is written. The two clocks may differ by a millisecond.
        inside += int(span["start_time_unix_nano"]) <= start + 1_000_000
        inside += int(span["end_time_unix_nano"]) >= end - 1_000_000
        longer.append(seconds_of(span) - (end - start) / 1e9)
    assert inside == 2 * count
    longer.sort()
    assert longer[0] > -0.001
    assert longer[count // 2] < 0.005


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_counts_ports_and_times_agree_with_tcpdump() -> None:
    count = 40
    with Service("target", [build_go(HERE / "target")]) as service:
        # Packets whose first four payload bytes are "GET ".
        offset = "tcp[((tcp[12:1] & 0xf0) >> 2):4]"
        expression = f"dst port {service.port} and {offset} = 0x47455420"
        command = ["tcpdump", "-i", "lo", "-n", "-tt", "-l", "--immediate-mode", expression]
        dump = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        packets: list[tuple[int, float]] = []
        complete = threading.Event()

        def read() -> None:
            assert dump.stdout is not None
            for line in dump.stdout:
                seen = re.match(r"(\d+\.\d+) IP 127\.0\.0\.1\.(\d+) > ", line)
                if seen:
                    packets.append((int(seen[2]), float(seen[1])))
                if len(packets) == count:
                    complete.set()

        reader = threading.Thread(target=read, daemon=True)
        with dump:
            try:
                assert dump.stderr is not None
                while "listening on lo" not in dump.stderr.readline():
                    assert dump.poll() is None, "tcpdump ended"
                reader.start()
                with Agent(pids=[service.pid]) as agent:
                    for number in range(count // 2):
                        with Connection("127.0.0.1", service.port) as connection:
                            connection.get(f"/slow?ms=2&n={number}")
                            connection.get(f"/hello?n={number}")
                    spans = agent.stop()
                assert complete.wait(10), f"tcpdump saw {len(packets)} of {count} requests"
            finally:
                dump.terminate()
                reader.join(10)
    servers = select(spans, "SERVER")
    assert len(servers) == len(packets) == count
    packets.sort(key=lambda packet: packet[1])
    for span, (port, moment) in zip(servers, packets, strict=True):
        assert span["attributes"]["network.peer.port"] == port
        # A request is read after it was sent; on loopback within moments of it.
        assert -0.001 < int(span["start_time_unix_nano"]) / 1e9 - moment < 0.1
