"""An exchange while it is being put together."""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import Endpoints, Exchange

OWN = 1 << 61
"""Numbers from here on are not the kernel half's: of client's requests behind the first of a
segment."""


def own_number(uid: int) -> bool:
    """Whether it is such a number."""
    return uid >> 61 == 1


class Done:
    """What is kept of an exchange that has left, for children that bind late."""

    __slots__ = (
        "carried",
        "end",
        "finished",
        "pid",
        "sampled",
        "settled",
        "span_id",
        "trace_id",
        "trace_state",
    )

    def __init__(self, x: Live) -> None:
        self.pid = x.pid
        self.carried = x.carried
        self.end = x.end
        self.span_id = x.span_id
        self.trace_id = x.trace_id
        self.trace_state = x.trace_state
        self.sampled = x.sampled
        self.finished = True
        self.settled = True


class Live(Exchange):
    """An :class:`Exchange` with what the correlator needs until it leaves.

    Attributes:
        uid: the kernel's number of the request; 0 where it began inside a segment.
        parent: the exchange that caused this one, once known.
        settled: the parent (or its absence) is final.
        finished: the response has ended, or never will come.
        waiters: finished exchanges that wait for this one to settle.
        followers: server exchanges that wait for this client one's verdict.
        carried: trace context found in the request, or None.
        passed_on: the request carries the context with which its cause arrived.
        pushed: a broker delivers it. The reply may be written by any part of the client's library,
            so it is no witness of what runs.
        candidate: (uid, rule, site of the goroutine) found when the request was written,
            to be confirmed.
        writer: goroutine that wrote the request; below 0: a Go program's, but not known as one yet.
        key: same-host key, see docs/correlation.md; 0: none.
        unmatched: the other side's view of it is waited for, under that key.
        stream: of a connection that carries many, the number; 0 where it does not.
        left: it has been handed on.
        relayed: whoever wrote it writes for others, too (``Descriptor.relayed``).
        request_message, response_message: as the parser gave them, until it is finished;
            None where :mod:`.usual` needed none.
        on_trial: its parent waits for what is learnt of the goroutine that called, or for a
            response of its event loop.
        identities: what ran when an event loop wrote the request; see :mod:`.anchors`.
        carried_calls: requests that its thread wrote, with the rule, until it is answered; see
            :mod:`.threads`.
        claimed: a segment of a pool's thread names its parent, which is only to be confirmed.
        disputed: another one does too.
        born: of each identity, nanoseconds when the one before it came from it; 0: it is
            waited for.
    """

    __slots__ = (
        "born",
        "candidate",
        "carried",
        "carried_calls",
        "claimed",
        "disputed",
        "finished",
        "followers",
        "identities",
        "key",
        "left",
        "on_trial",
        "parent",
        "passed_on",
        "pushed",
        "relayed",
        "request_message",
        "response_message",
        "settled",
        "stream",
        "uid",
        "unmatched",
        "waiters",
        "writer",
    )

    def __init__(
        self,
        kind: int,
        protocol: str,
        pid: int,
        tid: int,
        endpoints: Endpoints,
        start: int,
        request: Any,
        span_id: bytes,
    ) -> None:
        self.kind = kind
        self.protocol = protocol
        self.pid = pid
        self.tid = tid
        self.endpoints = endpoints
        self.start = start
        self.end = start
        self.request = request
        self.response = None
        self.span_id = span_id
        self.trace_id = b""
        self.parent_span_id = b""
        self.trace_state = ""
        self.parent_remote = False
        self.sampled = True
        self.rule = ""
        self.error = None
        self.request_truncated = False
        self.response_truncated = False
        self.request_size = 0
        self.response_size = 0
        self.secure = False
        self.process = None
        self.notes = {}
        self.draft = None
        self.request_message: Any = None
        self.response_message: Any = None
        self.uid = 0
        self.parent: Live | Done | None = None
        self.settled = False
        self.finished = False
        self.left = False
        self.on_trial = False
        self.identities: tuple[int, ...] = ()
        self.born: tuple[int, ...] = ()
        self.waiters: list[Live] | None = None
        self.followers: list[Live] | None = None
        self.carried: Any = None
        self.claimed = False
        self.disputed = False
        self.carried_calls: list[tuple[Live, str]] | None = None
        self.passed_on = False
        self.pushed = False
        self.relayed = False
        self.candidate: tuple[int, int, int] | None = None
        self.writer = 0
        self.key = 0
        self.unmatched = False
        self.stream = 0
