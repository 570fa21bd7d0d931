"""Trace and span ids."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

_A_BLOCK = 512
"""Ids taken from the system at once."""


class Ids:
    """Random ids; the same ones again for the same seed.

    Args:
        seed: None for ids that nobody can foresee; a number for replays.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.span: Callable[[], bytes]
        """8 bytes, not all zero."""
        self.trace: Callable[[], bytes]
        """16 bytes, not all zero."""
        if seed is None:
            self.span, self.trace = _from_system(8).__next__, _from_system(16).__next__
        else:
            bits = random.Random(random.Random(seed).getrandbits(256)).getrandbits
            self.span = lambda: (bits(64) or 1).to_bytes(8, "big")
            self.trace = lambda: (bits(128) or 1).to_bytes(16, "big")


def _from_system(size: int) -> Iterator[bytes]:
    none = bytes(size)
    while True:
        block = os.urandom(size * _A_BLOCK)
        for at in range(0, len(block), size):
            found = block[at : at + size]
            if found != none:
                yield found
