"""DNS over UDP through the correlator: pairs, retries, time-outs, late answers, both views."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.correlation.model import CLIENT, SERVER
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Record
from tests.unit.correlation.world import MS, SECOND, World, assert_child, assert_root
from tests.unit.events.records import record
from tests.unit.protocols.dns_wire import AAAA, TC, A, address, query, reply

DNS = 120
LOCAL, ANY, FAR = bytes((127, 0, 0, 1)), bytes(4), bytes((10, 9, 8, 7))


class Resolving(World):
    """Sockets of resolvers and servers. A socket is (pid, number, local address, port)."""

    def socket(self, pid: int, port: int, local: bytes = LOCAL) -> dict[str, Any]:
        return {
            "tgid": pid,
            "tid": pid,
            "socket_id": next(self.sockets),
            "local_addr": local,
            "local_port": port,
            "family": layout.FAMILY_IPV4,
        }

    def datagram(
        self,
        sock: dict[str, Any],
        direction: int,
        data: bytes,
        port: int,
        peer: bytes = LOCAL,
        **members: Any,
    ) -> Record:
        asks = not data[2] & 0x80
        values = {
            "type": layout.DATAGRAM,
            "protocol": DNS,
            "ts": self.later(),
            "begins": layout.REQUEST if asks else layout.RESPONSE,
            "uid": next(self.uids) if asks else 0,
            "tcp_seq": 0,
            "peer_addr": peer,
            "peer_port": port,
            **sock,
            **members,
        }
        made = record(data, direction=direction, **values)
        self.feed(made)
        return made

    def send(self, sock: dict[str, Any], data: bytes, port: int, **members: Any) -> Record:
        return self.datagram(sock, layout.EGRESS, data, port, **members)

    def recv(self, sock: dict[str, Any], data: bytes, port: int, **members: Any) -> Record:
        return self.datagram(sock, layout.INGRESS, data, port, **members)

    def close(self, sock: dict[str, Any]) -> None:
        self.feed(record(type=layout.CLOSE, ts=self.later(), protocol=DNS, **sock))

    def ends(self, kind: int = CLIENT) -> list[tuple[str, str]]:
        """Name and how it ended, of each that left."""
        return [
            (x.request.name, x.error or (x.response.error or "ok" if x.response else "?"))
            for x in self.out
            if x.kind == kind
        ]


@pytest.fixture
def world() -> Resolving:
    return Resolving()


def test_two_queries_at_once_pair_by_id_and_question(world: Resolving) -> None:
    here, there = world.socket(1, 40001), world.socket(2, 53, ANY)
    for data in (query(7, "www.test"), query(8, "www.test", AAAA)):
        world.send(here, data, 53)
        world.recv(there, data, 40001)
    for data in (reply(8, "www.test", AAAA), reply(7, "WWW.test", A, (address("10.0.0.1"),))):
        world.send(there, data, 40001)
        world.recv(here, data, 53)
    world.wait(SECOND)
    assert world.ends(CLIENT) == world.ends(SERVER) == [("www.test", "ok")] * 2
    for kind in ("A", "AAAA"):
        [asked, served] = sorted(
            (x for x in world.out if x.request.type == kind), key=lambda x: x.kind, reverse=True
        )
        assert_child(served, asked, "same_host")
    found = [x.response.addresses for x in world.out if x.response and x.request.type == "A"]
    assert found == [("10.0.0.1",)] * 2


def test_an_answer_from_somebody_else_is_nobodys(world: Resolving) -> None:
    here = world.socket(1, 40001, ANY)
    world.send(here, query(7, "www.test"), 53, peer=FAR)
    for data, port, peer in (
        (reply(7, "www.test"), 53, LOCAL),
        (reply(7, "www.test"), 54, FAR),
        (reply(8, "www.test"), 53, FAR),
        (reply(7, "other.test"), 53, FAR),
    ):
        world.recv(here, data, port, peer=peer)
    assert world.counts["responses_without_request"] == 4
    assert not world.out
    world.recv(here, reply(7, "www.test", code=3), 53, peer=FAR)
    assert world.ends() == [("www.test", "NXDOMAIN")]


def test_who_gets_no_answer_ends_after_five_seconds(world: Resolving) -> None:
    here = world.socket(1, 40001)
    world.send(here, query(7, "www.test"), 53, peer=FAR)
    world.wait(4 * SECOND)
    assert not world.out
    world.wait(2 * SECOND)
    assert world.ends() == [("www.test", "timeout")]
    assert world.out[0].end - world.out[0].start == 5 * SECOND
    world.recv(here, reply(7, "www.test"), 53, peer=FAR)
    assert world.counts["responses_without_request"] == 1


def test_a_retry_is_a_span_of_its_own_and_gets_the_answer(world: Resolving) -> None:
    here = world.socket(1, 40001)
    world.send(here, query(7, "www.test"), 53, peer=FAR)
    world.wait(2 * SECOND)
    world.send(here, query(7, "www.test"), 53, peer=FAR)
    world.recv(here, reply(7, "www.test"), 53, peer=FAR)
    assert world.ends() == [("www.test", "timeout"), ("www.test", "ok")]
    first, second = world.out
    assert first.end <= second.start + 1 * MS


def test_a_socket_that_is_closed(world: Resolving) -> None:
    for waited, error in ((10 * MS, "connection_closed"), (SECOND, "timeout")):
        here = world.socket(1, 40001)
        world.send(here, query(7, "www.test"), 53, peer=FAR)
        world.wait(waited)
        world.close(here)
        assert world.ends()[-1] == ("www.test", error)


def test_nobody_is_there(world: Resolving) -> None:
    here = world.socket(1, 40001)
    world.send(here, query(7, "www.test"), 53)
    world.feed(record(type=layout.ERROR, ts=world.later(), protocol=DNS, length=111, **here))
    world.send(here, query(8, "www.test"), 53, tcp_seq=101)
    assert world.ends() == [("www.test", "connection_refused"), ("www.test", "network_unreachable")]


def test_a_server_that_does_not_answer(world: Resolving) -> None:
    there = world.socket(2, 53, ANY)
    world.recv(there, query(7, "www.test"), 40001, peer=FAR)
    world.recv(there, query(7, "www.test"), 40002, peer=FAR)
    world.send(there, reply(7, "www.test", flags=TC), 40002, peer=FAR)
    world.wait(6 * SECOND)
    assert world.ends(SERVER) == [("www.test", "ok"), ("www.test", "no_response")]


# One request, seen on both sides


def two_views(world: Resolving, **client: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return world.socket(1, 40001, client.get("local", LOCAL)), world.socket(2, 53, ANY)


@pytest.mark.parametrize("local", [LOCAL, ANY])
def test_a_client_that_does_not_know_its_address(world: Resolving, local: bytes) -> None:
    here, there = two_views(world, local=local)
    data = query(7, "www.test")
    world.send(here, data, 53)
    world.recv(there, data, 40001)
    world.send(there, reply(7, "www.test"), 40001)
    world.recv(here, reply(7, "www.test"), 53)
    world.wait(SECOND)
    asked, served = sorted(world.out, key=lambda x: x.kind, reverse=True)
    assert_child(served, asked, "same_host")


def test_retries_that_all_arrived_are_joined_one_by_one(world: Resolving) -> None:
    here, there = two_views(world)
    data = query(7, "www.test")
    for _ in range(3):
        world.send(here, data, 53)
        world.recv(there, data, 40001)
        world.wait(2 * SECOND)
    world.send(there, reply(7, "www.test"), 40001)
    world.recv(here, reply(7, "www.test"), 53)
    world.wait(SECOND)
    asked = sorted((x for x in world.out if x.kind == CLIENT), key=lambda x: x.start)
    served = sorted((x for x in world.out if x.kind == SERVER), key=lambda x: x.start)
    assert len(asked) == len(served) == 3
    for client, server in zip(asked, served, strict=True):
        assert_child(server, client, "same_host")


def test_of_retries_that_arrived_together_none_is_taken_for_another(world: Resolving) -> None:
    """The server slept: its first view is that of the first, or that one was lost."""
    here, there = two_views(world)
    data = query(7, "www.test")
    world.send(here, data, 53)
    world.wait(5 * SECOND)
    world.send(here, data, 53)
    world.recv(there, data, 40001)
    world.recv(there, data, 40001)
    world.send(there, reply(7, "www.test"), 40001)
    world.recv(here, reply(7, "www.test"), 53)
    world.wait(SECOND)
    for served in (x for x in world.out if x.kind == SERVER):
        assert_root(served)


def test_an_id_and_a_port_that_are_used_again(world: Resolving) -> None:
    there = world.socket(2, 53, ANY)
    for _ in range(3):
        here = world.socket(1, 40001)
        data = query(7, "www.test")
        world.send(here, data, 53)
        world.recv(there, data, 40001)
        world.send(there, reply(7, "www.test"), 40001)
        world.recv(here, reply(7, "www.test"), 53)
        world.close(here)
    other = query(7, "other.test")
    world.recv(there, other, 40001)
    world.send(there, reply(7, "other.test"), 40001)
    world.wait(SECOND)
    for served in (x for x in world.out if x.kind == SERVER):
        if served.request.name == "other.test":
            assert_root(served)
            continue
        [asked] = [x for x in world.out if x.span_id == served.parent_span_id]
        assert asked.start < served.start < served.end < asked.end


def test_a_client_elsewhere_with_the_same_port_is_not_this_hosts(world: Resolving) -> None:
    here, there = two_views(world)
    data = query(7, "www.test")
    world.send(here, data, 53, peer=FAR)
    world.recv(there, data, 40001, peer=bytes((10, 1, 1, 1)))
    world.send(there, reply(7, "www.test"), 40001, peer=bytes((10, 1, 1, 1)))
    world.wait(SECOND)
    [served] = [x for x in world.out if x.kind == SERVER]
    assert_root(served)


# Servers that ask others


def test_who_asks_what_it_is_asked_does_so_for_that_request(world: Resolving) -> None:
    there, up = world.socket(2, 53, ANY), world.socket(2, 50000, ANY)
    world.recv(there, query(7, "www.test"), 40001, peer=FAR)
    world.recv(there, query(9, "other.test"), 40002, peer=FAR)
    world.send(up, query(70, "WWW.test"), 53, peer=FAR)
    world.recv(up, reply(70, "www.test"), 53, peer=FAR)
    world.send(there, reply(7, "www.test"), 40001, peer=FAR)
    world.send(up, query(71, "www.test"), 53, peer=FAR)
    world.recv(up, reply(71, "www.test"), 53, peer=FAR)
    world.wait(6 * SECOND)
    forwarded, later = sorted((x for x in world.out if x.kind == CLIENT), key=lambda x: x.start)
    [served] = [x for x in world.out if x.kind == SERVER and x.request.name == "www.test"]
    assert_child(forwarded, served, "same_question")
    assert_root(later)


def test_of_several_that_ask_the_same_none_is_chosen(world: Resolving) -> None:
    there, up = world.socket(2, 53, ANY), world.socket(2, 50000, ANY)
    for port in (40001, 40002):
        world.recv(there, query(7, "www.test"), port, peer=FAR)
    world.send(up, query(70, "www.test"), 53, peer=FAR)
    world.recv(up, reply(70, "www.test"), 53, peer=FAR)
    world.wait(6 * SECOND)
    [forwarded] = [x for x in world.out if x.kind == CLIENT]
    assert_root(forwarded)
    assert world.counts["no_parent.same_question_of_several"] == 1


# Bounds


def test_what_is_no_dns_is_counted(world: Resolving) -> None:
    here = world.socket(1, 40001)
    data = query(7, "www.test")[:-2] + b"zzzz"
    world.send(here, data, 53)
    assert world.counts["datagrams_not_understood"] == 1


def test_nothing_is_kept_of_what_is_over(world: Resolving) -> None:
    for n in range(3000):
        here = world.socket(1, 40001 + n % 1000)
        world.send(here, query(n, "www.test"), 53, peer=FAR)
        if n % 3:
            world.recv(here, reply(n, "www.test"), 53, peer=FAR)
        world.close(here)
    world.wait(20 * SECOND)
    held = world.correlator.datagrams
    assert held.in_flight == 0
    for name in ("_sockets", "_of_process", "_due", "_sent", "_served"):
        assert not getattr(held, name), name
    assert len(world.out) == 3000


def test_a_flood_on_one_socket_is_bounded(world: Resolving) -> None:
    there = world.socket(2, 53, ANY)
    for n in range(5000):
        world.recv(there, query(n, "www.test"), 40001, peer=FAR)
    assert world.correlator.datagrams.in_flight <= 4096
    assert world.counts["requests_given_up"] >= 900
