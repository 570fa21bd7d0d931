"""What is no protocol's is taken for none, and no protocol's bytes are taken for another's."""

from __future__ import annotations

import ctypes
import shutil
from itertools import islice

import pytest

from otel_ebpf.protocols.descriptor import Descriptor
from otel_ebpf.protocols.registry import PROTOCOLS, by_name
from tests.accuracy.taken import build, kinds, measure, recorded, taken
from tests.fuzz.conversation import segments as segments_of
from tests.unit.protocols import amqp_wire, mqtt_wire

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
SEGMENTS = 50_000


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(tmp_path_factory.mktemp("taken"))


@pytest.mark.parametrize("kind", [kind for kind in kinds() if "telephony" not in kind])
def test_bytes_of_no_protocol(library: ctypes.CDLL, kind: str) -> None:
    assert not measure(library, kind, SEGMENTS)


def test_only_the_options_of_telephony_look_like_those_of_http(library: ctypes.CDLL) -> None:
    assert set(measure(library, "lines of mail, chat, telephony", SEGMENTS)) == {"http"}
    assert taken(library, b"OPTIONS sip:a@b SIP/2.0\r\n")
    assert not taken(library, b"INVITE sip:a@b SIP/2.0\r\n")


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_recorded_bytes_are_their_own_protocols_or_nobodys(
    library: ctypes.CDLL, protocol: Descriptor
) -> None:
    total, found = recorded(library, protocol.number)
    # A uwsgi server answers as HTTP servers do.
    assert set(found) <= {protocol.name} | ({"http"} if protocol.name == "uwsgi" else set())
    if total and not protocol.multiplexed and not protocol.follows:
        assert found[protocol.name]  # some are known by their connections' beginning alone


def test_the_library_tells_protocols(library: ctypes.CDLL) -> None:
    assert taken(library, b"GET / HTTP/1.1\r\n\r\n") == by_name["http"].number
    assert taken(library, b"*1\r\n$4\r\nPING\r\n") == by_name["redis"].number
    assert not taken(library, b"PING\r\n")  # both Redis and NATS say so


NAMES = {"mqtt": 101, "amqp": 102}


@pytest.mark.parametrize(
    ("segments", "name"),
    [
        ((mqtt_wire.publish("a/b", 5, 1), mqtt_wire.ack(4, 5)), "mqtt"),
        ((mqtt_wire.publish("a" * 200, 5, 2), mqtt_wire.ack(5, 5, 0x10)), "mqtt"),
        ((mqtt_wire.subscribe(9, "#"), mqtt_wire.suback(9, 1)), "mqtt"),
        ((b"\xc0\0", b"\xd0\0"), "mqtt"),
        ((mqtt_wire.publish("a/b", 5, 1), mqtt_wire.ack(4, 6)), ""),
        ((mqtt_wire.publish("a/b", 5, 1), mqtt_wire.ack(4, 5) + b"\0"), ""),
        ((mqtt_wire.publish("a/b", 5, 1), mqtt_wire.suback(5, 1)), ""),
        ((mqtt_wire.publish("a/b"), mqtt_wire.ack(4, 0)), ""),
        ((mqtt_wire.publish("a/b", 5, 1)[:-1], mqtt_wire.ack(4, 5)), ""),
        ((mqtt_wire.ack(4, 5), mqtt_wire.publish("a/b", 5, 1)), ""),
        ((b"\xc0\0", b"\0\0", b"\xd0\0"), ""),
        ((amqp_wire.publish("key", "shop"),), "amqp"),
        ((amqp_wire.deliver(1 << 40, "key"),), "amqp"),
        ((amqp_wire.method((60, 70), b"\0\0\5queue\0"),), "amqp"),
        # Both sides acknowledge, and a call may be anybody's.
        ((amqp_wire.ack(7), amqp_wire.ack(7)), ""),
        ((amqp_wire.publish("key", "shop")[:-1],), ""),
        ((amqp_wire.publish("key", "shop")[1:],), ""),
        ((amqp_wire.publish("key", channel=0),), ""),
    ],
)
def test_queues_on_a_connection_that_is_older(
    library: ctypes.CDLL, segments: tuple[bytes, ...], name: str
) -> None:
    taken(library, b"\0\0")  # nothing waits for an answer
    assert taken(library, segments[-1]) == 0 or len(segments) == 1
    taken(library, b"\0\0")
    found = [taken(library, data) for data in segments]
    assert found == [0] * (len(segments) - 1) + [NAMES.get(name, 0)]


def test_what_is_taken_for_a_queue_is_no_other_protocols(library: ctypes.CDLL) -> None:
    """Each recorded segment behind one that waits for an answer."""
    for protocol in PROTOCOLS:
        for data in islice(segments_of(protocol.number), 500):
            taken(library, mqtt_wire.publish("a/b", 5, 1))
            assert taken(library, data) in (0, protocol.number, by_name["http"].number)
