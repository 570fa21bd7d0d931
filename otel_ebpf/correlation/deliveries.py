"""Calls made while a delivery was worked on: whether they were made for it is told at its end."""

from __future__ import annotations

from otel_ebpf.correlation.live import Live
from otel_ebpf.correlation.verdicts import Verdicts

MAX_WITHIN = 1024
"""Calls of which it is remembered that they may have been made for one delivery."""


class Deliveries:
    """Messages that a broker pushed, from their arrival to their acknowledgement.

    Args:
        verdicts: where it is settled whose children the calls are.
    """

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self._movers: set[int] = set()
        """Processes that acknowledged a delivery from another thread than had read it."""

    def process_ended(self, pid: int) -> None:
        """Forgets what is known of a process."""
        self._movers.discard(pid)

    def within(self, x: Live, delivery: Live, rule: str, own_thread: bool) -> None:
        """Who wrote ``x`` has read a delivery: who acknowledges that will tell. ``own_thread``:
        it was this very thread."""
        calls = delivery.carried_calls = delivery.carried_calls or []
        if delivery.finished and delivery.end < x.start:
            self._verdicts.abstain(x, "parent_was_over")
        elif delivery.pid != x.pid or not own_thread or len(calls) >= MAX_WITHIN:
            self._verdicts.abstain(x, "ambiguous_thread")
        else:
            x.on_trial = True
            calls.append((x, rule))

    def acknowledged(self, delivery: Live) -> None:
        """A delivery is over. What the thread that read it has called meanwhile was called for
        it, if that thread has acknowledged it, as with all deliveries of its process."""
        reply = delivery.response_message
        if reply is not None and reply.last_token.tid != delivery.tid:
            self._movers.add(delivery.pid)
        calls, delivery.carried_calls = delivery.carried_calls, None
        for x, rule in calls or ():
            if x.settled:
                continue
            if reply is None or delivery.pid in self._movers:
                self._verdicts.abstain(
                    x, "threads_change_requests" if reply else "not_acknowledged"
                )
            else:
                self._verdicts.bind_to(x, delivery, rule)
