"""Finds the bytes of a stream that are secret, piece by piece."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CONTEXT = 512
"""Bytes of the stream that are kept to recognise what the next piece goes on with."""
MOST_HELD = 16 << 10
"""The same, where something has begun of which it is not known yet what in it is secret."""
PIECES = 8
"""Of what is held, so many first and so many last ones are places where a message may begin."""

Match = re.Match[bytes]
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What comes before a secret, and how far this goes.

    Attributes:
        before: what is looked for; the secret begins behind it.
        secret: its bytes, as far as it matches, over any number of pieces; or
        find: by the match and the bytes behind it, pairs ``(skip, count)`` that follow each
            other: ``count`` bytes are secret behind ``skip`` that are not. None: too few bytes
            are there to tell.
        starts: only where a piece begins.
        escape: the byte that takes the next one into the secret.
        quote: the byte that ends it, but not twice.
    """

    before: re.Pattern[bytes]
    secret: re.Pattern[bytes] | None = None
    find: Callable[[Match, bytes], Pairs | None] | None = None
    starts: bool = False
    escape: bytes = b""
    quote: bytes = b""


class Scan:
    """One direction of one connection.

    Attributes:
        rules: of its protocol; none, while that is not known.
    """

    __slots__ = (
        *("_after", "_escaped", "_gap", "_held", "_pairs", "_pieces", "_quoted", "_until"),
        "rules",
    )

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules
        self._held = b""
        """The end of what came before."""
        self._after = 0
        """What ends behind this place of it has not been looked at."""
        self._pieces: list[int] = []
        """Where in it pieces begin, or before it."""
        self._pairs: Pairs = ()
        """Of what comes next."""
        self._until: Rule | None = None
        """What says where the secret ends that has begun."""
        self._escaped = False
        """By what came before, the next byte is the secret's."""
        self._quoted: Rule | None = None
        """Of a secret that has ended, if the same quote does not follow."""
        self._gap = False

    @property
    def inside(self) -> bool:
        """Whether what comes next is secret."""
        return self._until is not None or (bool(self._pairs) and not self._pairs[0][0])

    def feed(self, data: bytes, length: int, begins: bool) -> list[tuple[int, int]]:
        """Where ``data`` is secret: ``[from, to)``, in order.

        ``data`` are the first of ``length`` bytes that moved; ``begins``: a message's first.
        """
        if self._gap and begins:
            self._until, self._pairs = None, ()
        self._gap = False
        before = len(self._held)
        whole = self._held + data
        if len(self._pieces) >= 2 * PIECES:
            del self._pieces[PIECES]
        self._pieces = [*self._pieces, before]
        found: list[tuple[int, int]] = []
        if self._quoted is not None and data:
            if data[:1] == self._quoted.quote:
                self._until, self._escaped = self._quoted, True
            self._quoted = None
        at = self._go_on(whole, before, found)
        keep_from, after = len(whole) - CONTEXT, len(whole)
        past = max(self._after, at - 1) if at > before else self._after
        while at < len(whole) and not (self._until or self._pairs):
            best = self._first(whole, past)
            if best is None:
                break
            rule, match = best
            past = match.end()
            if rule.find is None:
                self._until = rule
            else:
                told = rule.find(match, whole[past:])
                if told is None:  # once more, with what comes
                    keep_from, after = min(keep_from, match.start()), past - 1
                    break
                self._pairs = told
            at = self._go_on(whole, past, found)
            past = max(past, at - 1)
        missing = length - len(data)
        if missing > 0:
            self._pass_over(missing)
        else:
            self._keep(whole, max(0, keep_from), after)
        return [(max(a - before, 0), b - before) for a, b in found if b > before]

    def _first(self, whole: bytes, past: int) -> tuple[Rule, Match] | None:
        """The match that ends first of those that end behind ``past``."""
        best: tuple[Rule, Match] | None = None
        for rule in self.rules:
            for match in self._matches(rule, whole, past):
                if match.end() > past and (best is None or match.end() < best[1].end()):
                    best = rule, match
                    break
        return best

    def _matches(self, rule: Rule, whole: bytes, past: int) -> Iterator[Match]:
        if not rule.starts:
            yield from rule.before.finditer(whole, max(0, past - CONTEXT))
            return
        for place in self._pieces:
            match = rule.before.match(whole, place) if place >= 0 else None
            if match is not None:
                yield match

    def _go_on(self, whole: bytes, at: int, found: list[tuple[int, int]]) -> int:
        """With the secret that has begun. Returns where it ends, or ``whole`` does."""
        rule = self._until
        if rule is None:
            for start, end in self._counted(at, len(whole) - at):
                found.append((start, end))
                at = end
            return len(whole) if self._pairs else at
        assert rule.secret is not None
        if at == len(whole):
            return at
        match = rule.secret.match(whole, at + self._escaped)
        end = match.end() if match is not None else at
        self._escaped = bool(rule.escape) and whole[end:] == rule.escape
        end += self._escaped
        if end < len(whole):
            self._until = None
            if rule.quote and whole[end:] == rule.quote:
                self._quoted = rule
        if end > at:
            found.append((at, end))
        return end

    def _counted(self, at: int, n: int) -> list[tuple[int, int]]:
        """Secrets of the next ``n`` bytes, which begin at ``at``, by the pairs that are left."""
        found = []
        end = at + n
        left = list(self._pairs)
        while left:
            skip, count = left[0]
            plain = min(skip, end - at)
            at += plain
            secret = min(count, end - at) if plain == skip else 0
            if secret:
                found.append((at, at + secret))
            at += secret
            left[0] = skip - plain, count - secret
            if left[0] != (0, 0):
                break
            del left[0]
        self._pairs = tuple(left)
        return found

    def _pass_over(self, missing: int) -> None:
        self._counted(0, missing)
        self._held, self._after, self._pieces, self._gap = b"", 0, [], True
        self._quoted, self._escaped = None, False

    def _keep(self, whole: bytes, start: int, after: int) -> None:
        if len(whole) - start > MOST_HELD:
            start = len(whole) - MOST_HELD
        self._held = whole[start:]
        self._after = max(0, after - start)
        self._pieces = [piece - start for piece in self._pieces if piece >= start]
