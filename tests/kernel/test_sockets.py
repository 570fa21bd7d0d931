"""Descriptors are copied, inherited and closed; the conversation is one."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ebpf.events import layout
from tests.kernel.tracer import Conversation, Tracer, show
from tests.kernel.traffic import REQUEST, RESPONSE, Traffic


def sockets(tracer: Tracer, *pids: int) -> dict[int, list[int]]:
    """Bytes told of each socket, by its id: [received, sent]."""
    out: dict[int, list[int]] = {}
    for r in tracer.of(*pids):
        out.setdefault(r.socket_id, [0, 0])[r.direction] += r.length
    return out


@pytest.mark.parametrize("copy", ["dup", "dup2", "dup3", "fcntl"])
def test_closing_one_of_two_copies_ends_nothing(
    copy: str, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair("tcp4")
    traffic.exchange(pair)
    other = traffic.do(copy, pair.server, 77)
    assert other >= 0
    assert traffic.do("close", pair.server) == 0
    traffic.send("write", pair.client, REQUEST)
    traffic.receive_all("read", other, len(REQUEST))
    traffic.send("write", other, RESPONSE)
    assert not tracer.of(traffic.pid, kind=layout.CLOSE)
    traffic.receive_all("read", pair.client, len(RESPONSE))
    assert len(sockets(tracer, traffic.pid)) == 2, show(tracer.records)
    assert traffic.do("close", other) == 0
    assert len(tracer.of(traffic.pid, kind=layout.CLOSE)) == 1


def test_a_child_goes_on_with_its_parents_connection(traffic: Traffic, tracer: Tracer) -> None:
    """The parent reads the request, forks and closes; the child answers and closes."""
    pair = traffic.pair("tcp4")
    traffic.send("write", pair.client, REQUEST)
    traffic.receive_all("read", pair.server, len(REQUEST))
    child = traffic.do("fork")
    assert traffic.do("close", pair.server) == 0
    assert traffic.send("write", pair.server, RESPONSE, prefix=("child",)) == len(RESPONSE)
    traffic.receive_all("read", pair.client, len(RESPONSE))
    assert not tracer.of(traffic.pid, child, kind=layout.CLOSE)
    found = sockets(tracer, traffic.pid, child)
    assert sorted(found.values()) == [
        [len(RESPONSE), len(REQUEST)],
        [len(REQUEST), len(RESPONSE)],
    ], show(tracer.records)
    assert {r.tgid for r in tracer.records if r.type == layout.FORK and r.uid == traffic.pid} == {
        child
    }
    assert traffic.do("wait") == 0
    ends = tracer.of(traffic.pid, child, kind=layout.CLOSE)
    assert len(ends) == 1, "the last holder's end is the connection's"


def test_a_program_replaced_keeps_what_it_may_and_drops_the_rest(
    traffic: Traffic, tracer: Tracer
) -> None:
    kept, gone = traffic.pair("tcp4"), traffic.pair("tcp4")
    for pair in (kept, gone):
        traffic.exchange(pair)
    traffic.do("cloexec", gone.server)
    tracer.clear()
    assert int(traffic.ask("exec")[0]) == traffic.pid
    ends = tracer.of(traffic.pid, kind=layout.CLOSE)
    assert [r.addresses()[1:3] for r in ends] == [(gone.server_port, gone.client_port)]
    assert len(tracer.of(traffic.pid, kind=layout.EXEC)) == 1
    traffic.exchange(kept)
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, kept.client), (traffic.pid, kept.server)
    )
    found.check()
    assert found.sent.length == len(REQUEST)


def test_a_process_outlives_its_main_thread(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    traffic.exchange(pair)
    traffic.process.stdin.write("leave\n")  # type: ignore[union-attr]
    traffic.exchange(pair)
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    found.check()
    assert found.sent.length == 2 * len(REQUEST), "still traced"
    assert not tracer.of(traffic.pid, kind=layout.EXIT)
    traffic.close()
    assert len(tracer.of(traffic.pid, kind=layout.EXIT)) == 1


ADDRESSES = {
    # kind: family of client, its address, family of server, its address
    "tcp4": (layout.FAMILY_IPV4, "127.0.0.1", layout.FAMILY_IPV4, "127.0.0.1"),
    "tcp6": (layout.FAMILY_IPV6, "::1", layout.FAMILY_IPV6, "::1"),
    "mapped": (layout.FAMILY_IPV4, "127.0.0.1", layout.FAMILY_IPV6, "::ffff:127.0.0.1"),
}


@pytest.mark.parametrize("kind", ADDRESSES)
def test_addresses_and_ports_are_those_of_the_sockets(
    kind: str, traffic: Traffic, tracer: Tracer
) -> None:
    pair = traffic.pair(kind)
    traffic.exchange(pair)
    found = Conversation(
        tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
    )
    client_family, client, server_family, server = ADDRESSES[kind]
    namespace = os.stat(f"/proc/{traffic.pid}/ns/net").st_ino
    for stream, family, address, ports in (
        (found.sent, client_family, client, (pair.client_port, pair.server_port)),
        (found.arrived, server_family, server, (pair.server_port, pair.client_port)),
    ):
        r = stream.records[0]
        netns, local_port, peer_port, local, peer = r.addresses()
        size = 4 if family == layout.FAMILY_IPV4 else 16
        assert r.family == family
        assert (local_port, peer_port) == ports
        assert ipaddress.ip_address(local[:size]) == ipaddress.ip_address(address)
        assert ipaddress.ip_address(peer[:size]) == ipaddress.ip_address(address)
        assert netns == namespace


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix", "socketpair"])
def test_connections_older_than_the_tracing_work_from_the_next_message(
    kind: str, tracer: Tracer
) -> None:
    with Traffic() as traffic:
        pair = traffic.pair(kind)
        traffic.exchange(pair)
        assert traffic.send("write", pair.client, REQUEST[:10]) == 10
        tracer.choose(traffic.pid)
        traffic.receive_all("read", pair.server, 10)
        traffic.send("write", pair.client, REQUEST[10:])
        traffic.receive_all("read", pair.server, len(REQUEST) - 10)
        traffic.send("write", pair.server, RESPONSE)
        traffic.receive_all("read", pair.client, len(RESPONSE))
        tracer.clear()
        traffic.exchange(pair)
        found = Conversation(
            tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
        )
        if kind.startswith("tcp"):
            found.check()
        assert found.sent.data == found.arrived.data == REQUEST
        assert found.sent.records[0].role == layout.ROLE_CLIENT
        assert found.arrived.records[0].role == layout.ROLE_SERVER


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"otel-ebpf-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (iproute2)")
def test_a_network_namespace_is_named_by_its_number(namespace: str, tracer: Tracer) -> None:
    with Traffic(["ip", "netns", "exec", namespace]) as traffic:
        tracer.choose(traffic.pid)
        pair = traffic.pair("tcp4")
        traffic.exchange(pair)
        found = Conversation(
            tracer.of(traffic.pid), (traffic.pid, pair.client), (traffic.pid, pair.server)
        )
        found.check()
        expected = Path(f"/run/netns/{namespace}").stat().st_ino
        assert expected != os.stat("/proc/self/ns/net").st_ino
        assert {r.addresses()[0] for r in found.sent.records} == {expected}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)")
def test_a_pid_namespace_shows_the_hosts_numbers(tracer: Tracer) -> None:
    with Traffic(["unshare", "--pid", "--fork"]) as traffic:
        assert traffic.pid == 1, "as it sees itself"
        children = Path(f"/proc/{traffic.process.pid}/task/{traffic.process.pid}/children")
        host = int(children.read_text().split()[0])
        tracer.choose(host)
        pair = traffic.pair("tcp4")
        traffic.exchange(pair)
        found = Conversation(tracer.of(host), (host, pair.client), (host, pair.server))
        found.check()
        assert {r.tid for r in found.sent.records} == {host}


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
def test_sequence_numbers_are_those_on_the_wire(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    command = ["tcpdump", "-S", "-l", "-nn", "-i", "lo", "-tt", "--immediate-mode"]
    with subprocess.Popen(
        [*command, f"tcp port {pair.client_port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as dump:
        assert dump.stderr is not None and dump.stdout is not None
        for line in dump.stderr:
            if "listening" in line:
                break
        for _ in range(3):
            traffic.exchange(pair)
        traffic.do("close", pair.client)
        traffic.do("close", pair.server)
        seen: list[tuple[int, int, int]] = []  # source port, sequence, length
        for line in dump.stdout:
            found = re.search(r"\.(\d+) > .* seq (\d+):(\d+),", line)
            if found:
                port, first, last = (int(group) for group in found.groups())
                seen.append((port, first, (last - first) % (1 << 32)))
            if len(seen) == 6:
                break
        dump.terminate()
    told = [
        (r.addresses()[1], r.tcp_seq, r.length) for r in tracer.of(traffic.pid) if r.direction == 1
    ]
    assert told == seen


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_lengths_are_those_that_strace_saw(tmp_path: Path, tracer: Tracer) -> None:
    calls = "write,read,sendto,recvfrom,sendmsg,recvmsg,writev,readv,sendfile"
    log = tmp_path / "strace"
    with Traffic(["strace", "-f", "-e", f"trace={calls}", "-o", str(log)]) as traffic:
        tracer.choose(traffic.pid)
        pair = traffic.pair("tcp4")
        for send, receive in (
            ("write", "read"),
            ("send", "recv"),
            ("sendmsg", "recvmsg"),
            ("writev", "readv"),
        ):
            traffic.send(send, pair.client, REQUEST + b"b" * 5000)
            traffic.receive_all(receive, pair.server, len(REQUEST) + 5000, (1500,))
            traffic.send(send, pair.server, RESPONSE)
            traffic.receive_all(receive, pair.client, len(RESPONSE))
        traffic.send("sendfile", pair.client, 9000)
        told = [0, 0]
        for r in tracer.of(traffic.pid):
            told[r.direction] += r.length
        fds = {pair.client, pair.server}
    seen = [0, 0]
    for line in log.read_text().splitlines():
        found = re.match(r"\d+ +(\w+)\((\d+),.* = (\d+)$", line)
        if found and int(found[2]) in fds:
            seen[not found[1].startswith("re")] += int(found[3])
    assert told == seen
    assert told[1] == told[0] + 9000


def test_times_lie_between_call_and_answer(traffic: Traffic, tracer: Tracer) -> None:
    pair = traffic.pair("tcp4")
    before = time.monotonic_ns()
    traffic.exchange(pair)
    after = time.monotonic_ns()
    records = tracer.of(traffic.pid)
    assert all(before <= r.ts <= r.end_ts <= after for r in records)
    order = [(r.direction, r.fd) for r in records]
    assert order == [(1, pair.client), (0, pair.server), (1, pair.server), (0, pair.client)]
