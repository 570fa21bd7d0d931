"""Places of Node's async context, read off machine code as V8's functions have it."""

from __future__ import annotations

import os
import random

import pytest

from otel_ebpf.discovery.node_runtime import place_of_collections, places, read_node

CURRENT = bytes.fromhex(
    "b800000000 4885c0 7416 55 4889e5 e800000000 5d 64488b042560ffffff c3 90 64488b042560ffffff c3"
)
DATA = bytes.fromhex("55 4889e5 4154 4883ec18 4c8ba778020000 488b8730020000 483b8738020000")


def test_the_isolate_is_in_a_thread_local_and_its_member_is_read_first() -> None:
    assert places(CURRENT, DATA) == {"node_isolate": -0xA0, "node_data": 0x278}


@pytest.mark.parametrize(
    ("current", "data"),
    [
        (b"", DATA),
        (CURRENT, b""),
        (CURRENT.replace(b"\x60\xff\xff\xff\xc3\x90", b"\x50\xff\xff\xff\xc3\x90"), DATA),
        (bytes.fromhex("488b052eb68a05 5d 64488b00 c3"), DATA),  # the place is not in the code
        (CURRENT, bytes.fromhex("4c8ba779020000 c3")),  # no word begins there
    ],
)
def test_what_does_not_look_so_gives_nothing(current: bytes, data: bytes) -> None:
    assert places(current, data) == {}


def test_bytes_of_any_kind_are_borne() -> None:
    chance = random.Random(1)
    for _ in range(300):
        places(chance.randbytes(40), chance.randbytes(40))


def test_another_program_has_none() -> None:
    assert read_node(os.getpid()) == {}
    assert read_node(1 << 30) == {}
    assert place_of_collections(os.getpid()) is None
    assert place_of_collections(1 << 30) is None
