"""Recorded conversations, however they are changed, break nothing, nor what once did."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from otel_ebpf.protocols.base import EGRESS, INGRESS, REQUEST, RESPONSE
from otel_ebpf.protocols.descriptor import Descriptor
from otel_ebpf.protocols.registry import PROTOCOLS, by_name
from tests.fuzz.conversation import FOUND, FRESH, SERVES, Player, seeds, steps
from tests.fuzz.inference import build, names

RECORDED = (
    "http",
    "http2",
    "kafka",
    "postgresql",
    "redis",
    "fastcgi",
    "uwsgi",
    "thrift",
    "dubbo",
)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_recorded_conversations_changed_at_random(protocol: Descriptor) -> None:
    chance = random.Random(protocol.name)
    player = Player(protocol)
    known = list(seeds(protocol)) or [bytes(64)]
    for _ in range(150):
        talk = bytearray(chance.choice(known)[: chance.randrange(8192)])
        for _ in range(chance.randrange(6)):
            if talk:
                talk[chance.randrange(len(talk))] = chance.randrange(256)
        player.play(bytes(talk))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_conversation_is_understood(name: str) -> None:
    kinds = {m.kind for talk in seeds(by_name[name]) for m in Player(by_name[name]).play(talk)}
    assert kinds == {REQUEST, RESPONSE}


@pytest.mark.parametrize(
    "name",
    [
        *("amqp", "dubbo", "kafka", "memcached", "mongodb", "mqtt", "mysql", "nats"),
        *("postgresql", "redis", "thrift"),
    ],
)
def test_a_recorded_conversation_is_in_step_to_its_end(name: str) -> None:
    for talk in seeds(by_name[name]):
        if talk[0] & FRESH:
            parser: Any = by_name[name].parser()
            parser.begin(INGRESS if talk[0] & SERVES else EGRESS, True)
            for _, direction, piece, length, tail, clock in steps(talk):
                parser.feed(direction, piece, length, clock, clock, 0, tail)
            assert not parser.desyncs
            assert not parser._requests.inside and not parser._replies.inside


def test_what_once_broke_does_so_no_more() -> None:
    for broke in sorted(FOUND.glob("*-*")):
        Player(by_name[broke.name.partition("-")[0]]).play(broke.read_bytes())


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
def test_inference_reads_nothing_beyond_its_bytes(tmp_path: Path) -> None:
    assert {"redis", "postgresql", "memcached", "fastcgi", "uwsgi"} <= set(names())
    done = subprocess.run(
        [build(tmp_path), "1", "/dev/null", "88172645463325252"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 10_000
