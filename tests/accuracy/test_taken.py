"""What is no protocol's is taken for none, and no protocol's bytes are taken for another's."""

from __future__ import annotations

import ctypes
import shutil

import pytest

from otel_ebpf.protocols.descriptor import Descriptor
from otel_ebpf.protocols.registry import PROTOCOLS, by_name
from tests.accuracy.taken import build, kinds, measure, recorded, taken

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
