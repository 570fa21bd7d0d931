"""Processes in PID and network namespaces of their own, as containers have them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.agent import Agent
from tests.e2e.query import only, parent_of, select
from tests.e2e.services import Service
from tests.gobuild import build_go

pytestmark = [
    pytest.mark.kernel,
]
HERE = Path(__file__).resolve().parent


def only_child(pid: int) -> int:
    """The host's pid of the one child of ``pid``."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_a_process_in_a_pid_namespace_is_known_by_its_host_pid() -> None:
    target = build_go(HERE / "target")
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", str(target)]
    with ExitStack() as stack:
        back = stack.enter_context(Service("back", [target]))
        front = stack.enter_context(Service("front", [*command, "-next", back.url]))
        pid = only_child(front.pid)
        inside = Path(f"/proc/{pid}/status").read_text()
        assert f"NSpid:\t{pid}\t1\n" in inside, "the service is not pid 1 of a namespace"
        with Agent(pids=[pid, back.pid]) as agent:
            for _ in range(5):
                front.get("/hop")
            spans = agent.stop()
    roots = select(spans, "SERVER", "/hop")
    assert [root["resource"]["process.pid"] for root in roots] == [pid] * 5
    servers = select(spans, "SERVER", "/hello", back.pid)
    assert len(servers) == 5
    for server in servers:
        client = parent_of(server, spans)
        assert client is not None
        assert client["resource"]["process.pid"] == pid
        assert parent_of(client, spans) in roots


@pytest.fixture
def two_namespaces() -> Iterator[list[str]]:
    names = [f"otel-ebpf-{os.getpid()}-{letter}" for letter in "ab"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def test_the_same_addresses_in_two_network_namespaces_do_not_mix(
    two_namespaces: list[str],
) -> None:
    target = str(build_go(HERE / "target"))
    with ExitStack() as stack:
        fronts, backs = [], []
        for name in two_namespaces:
            enter = ["ip", "netns", "exec", name]
            # The same ports in both: an address alone does not tell them apart.
            back = Service("back", [*enter, target, "-listen", "127.0.0.1:7001"])
            backs.append(stack.enter_context(back))
            front = Service(
                "front",
                [*enter, target, "-listen", "127.0.0.1:7002", "-next", "http://127.0.0.1:7001"],
            )
            fronts.append(stack.enter_context(front))
        pids = [service.pid for service in fronts + backs]
        with Agent(pids=pids) as agent:
            clients = [
                subprocess.Popen(
                    ["ip", "netns", "exec", name, "curl", "--silent", "--fail", "--noproxy", "*",
                     *["http://127.0.0.1:7002/hop"] * 30],
                    stdout=subprocess.DEVNULL,
                )
                for name in two_namespaces
            ]  # fmt: skip
            assert [client.wait(60) for client in clients] == [0, 0]
            spans = agent.stop()
    for front, back in zip(fronts, backs, strict=True):
        servers = select(spans, "SERVER", "/hello", back.pid)
        assert len(servers) == 30
        for server in servers:
            client = parent_of(server, spans)
            assert client is not None
            assert client["resource"]["process.pid"] == front.pid
            assert client["attributes"]["server.port"] == 7001


def test_one_namespace_calls_another_over_a_veth(two_namespaces: list[str]) -> None:
    one, two = two_namespaces
    link = f"v{os.getpid() % 100000}"
    commands = [
        f"ip -n {one} link add {link}a type veth peer name {link}b netns {two}",
        f"ip -n {one} address add 10.203.0.1/24 dev {link}a",
        f"ip -n {two} address add 10.203.0.2/24 dev {link}b",
        f"ip -n {one} link set {link}a up",
        f"ip -n {two} link set {link}b up",
    ]
    for command in commands:
        subprocess.run(command.split(), check=True)
    target = str(build_go(HERE / "target"))
    with ExitStack() as stack:
        back_command = ["ip", "netns", "exec", two, target, "-listen", "10.203.0.2:7001"]
        back = stack.enter_context(Service("back", back_command))
        front_command = ["ip", "netns", "exec", one, target, "-next", back.url]
        front = stack.enter_context(Service("front", front_command))
        with Agent(pids=[front.pid, back.pid]) as agent:
            subprocess.run(
                ["ip", "netns", "exec", one, "curl", "--silent", "--fail", front.url + "/hop"],
                check=True, stdout=subprocess.DEVNULL, timeout=60,
            )  # fmt: skip
            spans = agent.stop()
    server = only(spans, "SERVER", "/hello", back.pid)
    assert server["attributes"]["network.peer.address"] == "10.203.0.1"
    client = parent_of(server, spans)
    assert client is not None
    assert client["attributes"]["server.address"] == "10.203.0.2"
    root = parent_of(client, spans)
    assert root is not None
    assert root["resource"]["process.pid"] == front.pid
