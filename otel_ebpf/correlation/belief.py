"""Whether a rule is believed, by how often it was seen to be right."""

from __future__ import annotations

TRUST = 0.999
"""Share of its tests that a rule must have passed."""
WINDOW = 20_000
"""Tests after which older ones count half."""


class Belief:
    """How often a rule was seen to be right.

    Attributes:
        tested, right: cases in which it could be seen, and those in which it was right.
    """

    def __init__(self, grace: int = 1) -> None:
        self._grace = grace
        self.tested = 0
        self.right = 0

    @property
    def open(self) -> bool:
        """It is believed. ``grace`` failures alone do not close it."""
        wrong = self.tested - self.right
        return wrong <= self._grace + self.tested * (1 - TRUST)

    def test(self, right: bool) -> None:
        """One case more."""
        self.tested += 1
        self.right += right
        if self.tested >= WINDOW:
            self.tested >>= 1
            self.right >>= 1
