"""Verdicts: an exchange's parent is bound, or is absent for a reason, once and for all."""

from __future__ import annotations

from collections import Counter, deque

from otel_ebpf.correlation.assembly import Assembly
from otel_ebpf.correlation.links import Links
from otel_ebpf.correlation.live import Done, Live
from otel_ebpf.correlation.model import SERVER

SAME_HOST = "same_host"
KEEP_DONE = 10_000_000_000
"""Nanoseconds for which an exchange that has left can still become a parent."""
MAX_DONE = 50_000


class Verdicts:
    """Knows the requests that can be parents, and settles whose children others are.

    Args:
        assembly: is told when an exchange's parent is final.
        counts: reasons why a parent is absent.
    """

    def __init__(self, assembly: Assembly, counts: Counter[str]) -> None:
        self._assembly = assembly
        self._counts = counts
        assembly.decide = self.decide
        self.requests: dict[int, Live | Done] = {}
        """By uid."""
        self._done: deque[tuple[int, int]] = deque()
        self.links = Links()
        self.callers: set[int] = set()
        """Processes that make requests."""

    def opened(self, x: Live) -> None:
        """A server exchange begins that others may name as their parent."""
        self.requests[x.uid] = x

    def withdraw(self, x: Live) -> None:
        """A server exchange can be nobody's parent from here on."""
        if x.uid and self.requests.get(x.uid) is x:
            del self.requests[x.uid]
        x.uid = 0

    def left(self, x: Live, now: int) -> None:
        """A server exchange has been handed on; a short memory of it stays."""
        if not x.uid or self.requests.get(x.uid) is not x:
            return
        if x.pid in self.callers:
            self.requests[x.uid] = Done(x)
            self._done.append((now + KEEP_DONE, x.uid))
        else:  # nothing it causes is ever seen
            del self.requests[x.uid]

    def tick(self, now: int) -> None:
        """Forgets what is too old or too much."""
        done = self._done
        while done and (done[0][0] <= now or len(done) > MAX_DONE):
            _, uid = done.popleft()
            self.requests.pop(uid, None)

    def end_of(self, uid: int) -> int:
        """When the request was over, in ns; 0: it is not, -1: it is not known."""
        request = self.requests.get(uid)
        if request is None:
            return -1
        return request.end if request.finished else 0

    def bind(self, x: Live, uid: int, rule: str) -> None:
        """Makes the request ``uid`` the parent, if it can be."""
        parent = self.requests.get(uid)
        if parent is None:
            self.abstain(x, "parent_not_seen")
        elif parent.pid != x.pid:
            self.abstain(x, "parent_of_other_process")
        elif parent.finished and parent.end < x.start:
            self.abstain(x, "parent_was_over")
        else:
            self.bind_to(x, parent, rule)

    def bind_to(self, x: Live, parent: Live | Done, rule: str) -> None:
        """Makes ``parent`` the parent."""
        x.parent = parent
        x.parent_span_id = parent.span_id
        x.rule = rule
        self.settle(x)

    def abstain(self, x: Live, reason: str) -> None:
        """It has no parent, for a reason that is counted."""
        self._counts["no_parent." + reason] += 1
        self.links.absent(x.pid, reason)
        self.settle(x)

    def carried(self, x: Live) -> None:
        """Gives ``x`` the parent that its message names (rule 1)."""
        c = x.carried
        x.sampled = c.sampled
        if not c.trace_id:  # only a decision not to sample
            return
        x.parent = None
        x.parent_span_id = c.span_id
        x.trace_id = c.trace_id
        x.trace_state = c.trace_state
        x.parent_remote = True
        x.rule = c.source

    def settle(self, x: Live) -> None:
        """What is known of its parent is final; what a message carries comes first."""
        if x.carried is not None and x.kind != SERVER:
            parent = x.parent
            before = parent.carried if parent is not None else None
            if before is not None and before.span_id == x.carried.span_id and before.span_id:
                x.passed_on = True  # the program only forwards the header it was sent
            else:
                self.carried(x)
        followers, x.followers = x.followers, None
        self._assembly.settle(x)
        for server in followers or ():
            self.joined(server, x)

    def joined(self, server: Live, client: Live) -> None:
        """Two views of one request (rule 7): ``client``'s record names ``server``'s parent."""
        if server.settled:
            return
        if server.carried is not None and server.carried.trace_id:
            if not client.settled:
                if client.followers is None:
                    client.followers = []
                client.followers.append(server)
                return
            if not client.passed_on:
                self.carried(server)
                self._assembly.settle(server)
                return
        server.parent = client
        server.parent_span_id = client.span_id
        server.rule = SAME_HOST
        self._assembly.settle(server)

    def decide(self, x: Live) -> None:
        """The wait for ``x``'s parent is over: what it carries, or a root."""
        if x.kind == SERVER:
            self.alone(x)
        else:
            self.settle(x)

    def alone(self, server: Live) -> None:
        """No client's view of this request exists here: what it carries, or a root."""
        if server.settled:
            return
        if server.carried is not None:
            self.carried(server)
        self._assembly.settle(server)
