"""Heads that were seen before: a busy service's are the same over and over."""

from __future__ import annotations

from typing import TypeVar

from .context import may_carry
from .http1_head import HttpRequest, HttpResponse, Section, body_framing

V = TypeVar("V")

_MAX_REMEMBERED = 512
_MAX_REMEMBERED_SIZE = 1024

SECTIONS: dict[bytes, Section] = {}
"""Header sections of requests, from their first line's end, and what they say."""
REQUESTS: dict[bytes, HttpRequest] = {}
"""Whole requests without a body. Probes and health checks repeat them for ever."""
RESPONSES: dict[bytes, tuple[HttpResponse, int]] = {}
"""Whole heads of responses and their framing; the same until a clock's next second."""


def remember(known: dict[bytes, V], head: bytes, value: V) -> None:
    """Adds to one of these, bounded."""
    if len(head) <= _MAX_REMEMBERED_SIZE:
        # Clearing all at once is the cheapest bound; a working set refills in one round.
        if len(known) >= _MAX_REMEMBERED:
            known.clear()
        known[head] = value


def learn_section(head: HttpRequest, section: bytes) -> Section:
    """What a whole request's header section says; remembered."""
    learnt = Section(body_framing(head), may_carry(head))
    head.section = learnt
    remember(SECTIONS, section, learnt)
    return learnt
