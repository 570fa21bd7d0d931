"""Messages far longer than what is captured of them, between short ones, with every protocol's
real servers and clients: what is told of is right, what cannot be is counted, and what follows is
in step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.accuracy.mixing import ENV, Speaker, Verdict, hosts, judge
from tests.e2e.agent import Agent
from tests.e2e.long_clients import AFTER, CLIENTS, ROW, SIZES, each

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

JOINED = ("redis", "postgresql", "memcached", "amqp", "nats")
"""Their clients or servers join what does not wait in one segment, of whose middle not all is
captured."""
MAY_BE_LOST = {name for name, _ in (*each(ROW), *each(AFTER)[:3])}
"""Of these, with a count: what is in such a segment, and what shows that all is in step again."""
OTHERS = ("subscribe", "basic.c", "publish", "deliver")
"""How names begin of calls that prepare; and of answers to NATS' inboxes, whose request is lost."""


class Said(NamedTuple):
    """What is known of all, when all is over."""

    verdicts: dict[str, Verdict]
    ledger: dict[str, int]


@pytest.fixture(scope="module")
def said() -> Said:
    return spoken(list(CLIENTS))


def spoken(names: Sequence[str]) -> Said:
    """What these protocols' clients say, under one agent."""
    with ExitStack() as stack:
        places = hosts(stack, names)
        speakers = {
            name: stack.enter_context(Speaker("e2e.long_clients", name, place.called))
            for name, place in places.items()
        }
        for speaker in speakers.values():
            speaker.await_prepared()
        ports = {place.port: name for name, place in places.items()}
        flags = [word for port in ports for word in ("--port", str(port))]
        agent = stack.enter_context(Agent(*flags, env=ENV))
        for speaker in speakers.values():
            speaker.go()
        made = {name: speaker.calls() for name, speaker in speakers.items()}
        spans = agent.stop(120)
    return Said(judge(spans, ports, made), agent.ledger)


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_around_a_long_message_is_right(said: Said, name: str) -> None:
    verdict = said.verdicts[name]
    assert len(verdict.made) >= len(SIZES)
    assert not verdict.wrong, (verdict.wrong, said.ledger)
    assert not {o for o in verdict.others if not o.split()[1].startswith(OTHERS)}, verdict.others
    amiss = {called for _, called in verdict.uneven()} | verdict.lost
    if name in JOINED:
        assert not amiss or said.ledger["segments_out_of_step"]
        amiss -= MAY_BE_LOST
    assert not amiss, (verdict.missing(), verdict.lost, said.ledger)
