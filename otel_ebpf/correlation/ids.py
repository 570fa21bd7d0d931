"""Trace and span ids."""

from __future__ import annotations

import random


class Ids:
    """Random ids; the same ones again for the same seed.

    Args:
        seed: None for ids that nobody can foresee; a number for replays.
    """

    def __init__(self, seed: int | None = None) -> None:
        source = random.SystemRandom() if seed is None else random.Random(seed)
        # A generator seeded by the system: as unpredictable as trace ids must be, and
        # without a system call for each.
        self._bits = random.Random(source.getrandbits(256)).getrandbits

    def span(self) -> bytes:
        """8 bytes, not all zero."""
        return (self._bits(64) or 1).to_bytes(8, "big")

    def trace(self) -> bytes:
        """16 bytes, not all zero."""
        return (self._bits(128) or 1).to_bytes(16, "big")
