"""UDP sockets: what is told of DNS, by every call, and that nothing is of anything else."""

from __future__ import annotations

import ast
import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import (
    CLOSE,
    DATA,
    DATAGRAM,
    EGRESS,
    ERROR,
    INGRESS,
    REQUEST,
    RESPONSE,
    ROLE_CLIENT,
    ROLE_SERVER,
)
from otel_ebpf.kernel.config import KernelConfig
from tests.kernel.tracer import Tracer, show
from tests.unit.protocols.dns_wire import AAAA, address, query, reply

pytestmark = pytest.mark.kernel
DNS = 120
ASKS = query(0x1234, "www.example.com", edns=True)
ALSO = query(0x1235, "www.example.com", AAAA, edns=True)
SAYS = reply(0x1234, "www.example.com", answers=(address("10.0.0.1"),))


class Program:
    """datagram_program.py, running."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("datagram_program.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = int(self._reply())

    def _reply(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait(10)}"
        return line

    def do(self, code: str) -> Any:
        """The value of an expression; ``name := expression`` keeps it there."""
        assert self.process.stdin is not None
        self.process.stdin.write(code + "\n")
        said = self._reply().strip()
        return None if said == "ok" else ast.literal_eval(said)

    def close(self) -> None:
        self.process.communicate(timeout=20)


@pytest.fixture
def program(tracer: Tracer) -> Iterator[Program]:
    running = Program()
    tracer.choose(running.pid)
    try:
        yield running
    finally:
        running.close()


def told(tracer: Tracer, program: Program) -> list[Record]:
    return tracer.of(program.pid, kind=DATAGRAM)


def ends(record: Record) -> tuple[bytes, int, bytes, int]:
    _, local_port, peer_port, local, peer = record.addresses()
    return local, local_port, peer, peer_port


CLIENT_SENDS = {
    "write": "os.write(c.fileno(), {data!r})",
    "sendto": "c.send({data!r})",
    "sendmsg": "c.sendmsg([{data!r}[:7], {data!r}[7:]])",
    "writev": "os.writev(c.fileno(), [{data!r}[:7], {data!r}[7:]])",
    "sendmmsg": "sendmmsg(c.fileno(), [{data!r}])",
}
RECEIVES = {
    "read": "os.read({s}.fileno(), 2000)",
    "recvfrom": "{s}.recvfrom(2000)",
    "recvmsg": "{s}.recvmsg(2000)",
    "readv": "os.readv({s}.fileno(), [bytearray(7), bytearray(2000)])",
    "recvmmsg": "recvmmsg({s}.fileno(), 3)",
}


@pytest.mark.parametrize("family", ["127.0.0.1", "::1", "mapped"])
@pytest.mark.parametrize(("send", "receive"), list(zip(CLIENT_SENDS, RECEIVES, strict=True)))
def test_a_query_and_its_answer_by_every_call(
    send: str, receive: str, family: str, program: Program, tracer: Tracer
) -> None:
    host = "127.0.0.1" if family == "mapped" else family
    program.do(f"s := udp({'::' if family == 'mapped' else host!r})")
    port = program.do("s.getsockname()[1]")
    program.do(f"c := fresh({host!r}, ({host!r}, {port}))")
    mine = program.do("c.getsockname()[1]")
    program.do(CLIENT_SENDS[send].format(data=ASKS))
    program.do("s.recvfrom(2000, socket.MSG_PEEK)[0]")
    peer = program.do("c.getsockname()")
    program.do(RECEIVES["recvfrom" if receive in ("read", "readv") else receive].format(s="s"))
    where = ("::ffff:127.0.0.1", mine) if family == "mapped" else peer[:2]
    assert program.do(f"s.sendto({SAYS!r}, {where!r})") == len(SAYS)
    program.do(RECEIVES[receive].format(s="c"))
    found = told(tracer, program)
    assert [(r.direction, r.begins, r.role) for r in found] == [
        (EGRESS, REQUEST, ROLE_CLIENT),
        (INGRESS, REQUEST, ROLE_SERVER),
        (EGRESS, RESPONSE, ROLE_SERVER),
        (INGRESS, RESPONSE, ROLE_CLIENT),
    ], show(found)
    sent, taken, answered, returned = found
    for record, data in ((sent, ASKS), (taken, ASKS), (answered, SAYS), (returned, SAYS)):
        assert (record.data, record.length, record.protocol) == (data, len(data), DNS)
    assert ends(sent)[1::2] == ends(returned)[1::2] == (mine, port)
    assert ends(taken)[1::2] == ends(answered)[1::2] == (port, mine)
    assert ends(sent)[2] == ends(returned)[2]
    assert ends(taken)[2] == ends(answered)[2] != bytes(16)
    if family != "mapped":
        assert ends(sent)[0] == ends(taken)[2]
    assert sent.uid == returned.uid != 0
    assert taken.uid == answered.uid not in (0, sent.uid)
    assert len({sent.socket_id, taken.socket_id}) == 2


@pytest.mark.parametrize("way", ["sendto", "sendmsg"])
def test_a_socket_without_a_port_has_one_when_its_query_is_told_of(
    way: str, program: Program, tracer: Tracer
) -> None:
    program.do("s := udp()")
    program.do("c := fresh()")
    where = "s.getsockname()"
    call = (
        f"c.sendto({ASKS!r}, {where})"
        if way == "sendto"
        else f"c.sendmsg([{ASKS!r}], [], 0, {where})"
    )
    assert program.do(call) == len(ASKS)
    port = program.do("s.getsockname()[1]")
    mine = program.do("c.getsockname()[1]")
    [sent] = told(tracer, program)
    assert ends(sent) == (bytes(16), mine, bytes((127, 0, 0, 1)) + bytes(12), port)
    assert sent.ts <= sent.end_ts


def test_two_queries_in_one_call_and_many_in_one_receive(program: Program, tracer: Tracer) -> None:
    program.do("s := udp()")
    program.do("c := fresh('127.0.0.1', s.getsockname())")
    assert program.do(f"sendmmsg(c.fileno(), [{ASKS!r}, {ALSO!r}])") == 2
    assert program.do("recvmmsg(s.fileno(), 2, 0)") == 2
    one, two, three, four = told(tracer, program)
    assert [one.data, two.data, three.data, four.data] == [ASKS, ALSO, ASKS, ALSO]
    assert len({r.uid for r in (one, two, three, four)}) == 4
    tracer.clear()
    before = tracer.kernel.stats()["datagrams_cut"]
    many = [query(n, f"{n}.example.com") for n in range(14)]
    assert program.do(f"[c.send(data) for data in {many!r}]")
    assert program.do("recvmmsg(s.fileno(), 14, 0)") == 14
    arrived = [r.data for r in told(tracer, program) if r.direction == INGRESS]
    cut = tracer.kernel.stats()["datagrams_cut"] - before
    assert arrived == many[: len(arrived)]
    assert len(arrived) >= 10
    assert len(arrived) + cut == 14


def test_what_is_looked_at_only_or_does_not_fit(program: Program, tracer: Tracer) -> None:
    program.do("s := udp()")
    program.do("c := fresh('127.0.0.1', s.getsockname())")
    program.do(f"c.send({ASKS!r})")
    program.do("s.recvfrom(2000, socket.MSG_PEEK)[0]")
    assert program.do("s.recv_into(bytearray(20), 20, socket.MSG_TRUNC)") == len(ASKS)
    _, taken = told(tracer, program)
    assert (taken.direction, taken.data, taken.length) == (INGRESS, ASKS[:20], len(ASKS))


def test_other_datagrams_are_never_told_of_and_soon_left_alone(
    program: Program, tracer: Tracer
) -> None:
    program.do("s := udp()")
    program.do("c := fresh('127.0.0.1', s.getsockname())")
    program.do("[(c.send(bytes([0xC0 | n]) + bytes(1200)), len(s.recv(2000))) for n in range(50)]")
    quic = program.do("[(c.send(bytes([0xC0]) + bytes(1200)), len(s.recv(2000))) for _ in '12']")
    assert quic == [(1201, 1201)] * 2
    # By now the socket is known for what it is, so this one is not looked at.
    program.do(f"c.send({ASKS!r})")
    program.do("s.recv(2000)")
    assert not told(tracer, program)
    assert not tracer.of(program.pid, kind=DATA)
    known = tracer.entries("__socket_info_map")["__socket_info_map"]
    program.do("c.close()")
    program.do("s.close()")
    assert tracer.entries("__socket_info_map")["__socket_info_map"] == known - 2
    # The next sockets of these numbers are others.
    program.do("s := udp()")
    program.do("c := fresh('127.0.0.1', s.getsockname())")
    program.do(f"c.send({ASKS!r})")
    assert [r.data for r in told(tracer, program)] == [ASKS]


@pytest.mark.parametrize("port", [5353, 5355, 137])
def test_multicast_and_netbios_names_are_left_alone(
    port: int, program: Program, tracer: Tracer
) -> None:
    program.do("c := fresh()")
    program.do(f"c.sendto({ASKS!r}, ('127.0.0.1', {port}))")
    program.do(f"d := fresh('127.0.0.1', ('127.0.0.1', {port}))")
    program.do(f"d.send({ASKS!r})")
    assert not told(tracer, program)


def test_a_query_that_does_not_leave_and_one_that_nobody_takes(
    program: Program, tracer: Tracer
) -> None:
    program.do("gone := udp()")
    program.do("c := fresh('127.0.0.1', gone.getsockname())")
    program.do("gone.close()")
    program.do(f"c.send({ASKS!r})")
    assert program.do("failing(c.recv, 512)") == errno.ECONNREFUSED
    program.do(f"c.send({ALSO!r})")
    assert program.do(f"failing(c.send, {ALSO!r})") == errno.ECONNREFUSED
    first, second, third = told(tracer, program)
    assert [first.tcp_seq, second.tcp_seq, third.tcp_seq] == [0, 0, errno.ECONNREFUSED]
    assert third.data == ALSO
    [refused] = tracer.of(program.pid, kind=ERROR)
    assert (refused.length, refused.socket_id) == (errno.ECONNREFUSED, first.socket_id)


def test_a_socket_that_is_closed_connected_anew_or_inherited(
    program: Program, tracer: Tracer
) -> None:
    program.do("s := udp()")
    program.do("t := udp()")
    program.do("c := fresh('127.0.0.1', s.getsockname())")
    program.do(f"c.send({ASKS!r})")
    program.do("c.connect(t.getsockname())")
    program.do(f"c.send({ALSO!r})")
    port = program.do("t.getsockname()[1]")
    one, two = told(tracer, program)
    assert ends(two)[3] == port != ends(one)[3]
    child = program.do(f"in_child(s.sendto, {SAYS!r}, c.getsockname())")
    program.do("s.recv(512)")
    program.do(f"in_child(c.send, {ASKS!r})")
    [inherited] = [
        r
        for r in tracer.flush()
        if r.type == DATAGRAM and r.tgid > program.pid and r.begins == REQUEST
    ]
    assert inherited.socket_id == two.socket_id
    assert child > program.pid
    tracer.clear()
    program.do("c.close()")
    assert [r.socket_id for r in tracer.of(program.pid, kind=CLOSE)] == [two.socket_id]


def test_dns_that_is_switched_off() -> None:
    config = KernelConfig(filter_processes=True, protocols=(20,))
    running = Program()
    with Tracer(config) as tracer:
        tracer.choose(running.pid)
        running.do("s := udp()")
        running.do("c := fresh('127.0.0.1', s.getsockname())")
        running.do(f"c.send({ASKS!r})")
        running.do("s.recv(512)")
        assert not told(tracer, running)
    running.close()
