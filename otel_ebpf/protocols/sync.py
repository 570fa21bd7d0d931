"""Whether it is certain which reply answers which request, where they pair by counting.

On a connection that was joined midway, requests may be under way that nobody saw; their replies
would then be given to others, for ever. Clients that share a connection between callers never
show it: one request, one reply, one request, while another one is always under way. What does
show it is silence. A request after a silence, as many replies as requests, and a silence again
before the next: then nothing was under way, and from there on the count is right.
"""

from __future__ import annotations

QUIET = 20_000_000
"""Nanoseconds without a byte in either direction that count as silence."""

JOINED, TRIAL, SYNCED = range(3)
"""States. JOINED: nothing is counted. TRIAL: what is counted is not told of yet."""


class Sync:
    """One connection's state.

    Attributes:
        state: JOINED, TRIAL or SYNCED.
        last: when the latest byte passed, nanoseconds; its owner keeps it.
    """

    __slots__ = ("_extra", "last", "state")

    def __init__(self) -> None:
        self.state = JOINED
        self.last = 0
        self._extra = False

    def begin(self, fresh: bool) -> None:
        """``fresh``: the connection's first bytes follow."""
        self.state = SYNCED if fresh else JOINED

    def asks(self, begins: bool, ts: int, outstanding: bool) -> bool:
        """A segment of requests comes while the state is not SYNCED; ``begins``: it certainly
        begins with a request; ``outstanding``: requests of the trial wait for their replies.

        True: counting begins anew with it.
        """
        quiet = 0 < self.last <= ts - QUIET
        if self.state == TRIAL and not quiet:
            return False
        if self.state == TRIAL and not outstanding and not self._extra and begins:
            self.state = SYNCED
            return False
        self._extra = False
        self.state = TRIAL if quiet and begins else JOINED
        return self.state == TRIAL

    def extra(self) -> None:
        """A reply came that nobody waits for."""
        self._extra = True
        if self.state == SYNCED:
            self.state = JOINED

    def lose(self) -> None:
        """The count was lost."""
        self.state = JOINED
