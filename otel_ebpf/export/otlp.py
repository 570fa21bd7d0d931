"""OTLP over any transport: batches, sizes, retries.

A receiver that is away costs delay and no spans: a batch is tried again, with growing
pauses, until it is accepted, refused for good, or the tracer shuts down.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Any, Protocol

from otel_ebpf import __version__
from otel_ebpf.export.base import Counters, Result
from otel_ebpf.export.otlp_encoding import SpanEncoder
from otel_ebpf.export.text import printable
from otel_ebpf.spans.model import Span

_log = logging.getLogger("otel_ebpf.export")

Item = tuple[Any, bytes]
"""A span's resource and its encoded form."""

USER_AGENT = f"otel-ebpf/{__version__}"

# A Collector refuses gRPC messages above 4 MiB unless told otherwise.
_MAX_REQUEST = 3_500_000
_ENCODED = itemgetter(1)
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
_LONGEST_ASKED_PAUSE = 60.0


class Outcome(Enum):
    """What a receiver did with a request."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    TOO_LARGE = "too_large"
    REFUSED = "refused"


@dataclass(slots=True)
class Reply:
    """A receiver's answer.

    Attributes:
        rejected: spans of an accepted request that the receiver left out.
        reason: a short stable word for a refusal (``http_404``, ``grpc_unauthenticated``).
        detail: text for a person; may be the receiver's.
        pause: seconds that the receiver asked to wait, or None.
    """

    outcome: Outcome
    rejected: int = 0
    reason: str = ""
    detail: str = ""
    pause: float | None = None


class Transport(Protocol):
    """Carries one request and its answer."""

    where: str
    """The endpoint, for messages."""

    def send(self, body: bytes) -> Reply:
        """Send an ExportTraceServiceRequest. Never raises for the receiver's failures."""
        ...

    def abort(self) -> None:
        """End a ``send`` that waits, from another thread, and refuse further ones."""
        ...


class OtlpExporter(Counters):
    """Sends spans over a transport. ``export`` returns when their fate is known."""

    def __init__(self, transport: Transport, *, first_pause: float = _FIRST_PAUSE) -> None:
        super().__init__()
        self._transport = transport
        self.encoder = SpanEncoder("otel_ebpf", __version__)
        self._first_pause = first_pause
        self._stop = threading.Event()
        self._told: set[str] = set()

    def prepare(self, span: Span) -> Item:
        """The span as it will travel: a fraction of the memory of the span itself."""
        return span.resource, self.encoder.encode(span)

    def export(self, spans: Sequence[Span]) -> Result:
        """Encode and send the spans."""
        return self.export_prepared([self.prepare(span) for span in spans])

    def export_prepared(self, items: Sequence[Item]) -> Result:
        """Send encoded spans, in requests that a Collector's defaults accept."""
        total = Result()
        for chunk in _chunks(items):
            result = self._deliver(chunk)
            self.count(result)
            total.add(result)
        return total

    def shutdown(self) -> None:
        """Give up what is under way. Spans not yet sent count as dropped for ``shutdown``."""
        self._stop.set()
        self._transport.abort()

    def _deliver(self, items: Sequence[Item]) -> Result:
        body = self._request(items)
        pause = self._first_pause
        failing_since = 0.0
        while not self._stop.is_set():
            self.bump("export_requests")
            reply = self._transport.send(body)
            if reply.outcome is Outcome.ACCEPTED:
                if failing_since:
                    away = time.monotonic() - failing_since
                    _log.warning("%s accepts spans again after %.1f s", self._transport.where, away)
                return self._accepted(reply, len(items), len(body))
            if reply.outcome is Outcome.TOO_LARGE and len(items) > 1:
                half = len(items) // 2
                result = self._deliver(items[:half])
                result.add(self._deliver(items[half:]))
                return result
            if reply.outcome is not Outcome.RETRY:
                reason = reply.reason or reply.outcome.value
                self._tell_once(reason, "refuses spans for good", reply)
                return Result(dropped={reason: len(items)})
            if self._stop.is_set():
                break
            if not failing_since:
                failing_since = time.monotonic()
                _log.warning(
                    "%s does not take spans now (%s); they are kept and sent again",
                    self._transport.where,
                    printable(reply.detail or reply.reason),
                )
            self.bump("export_retries")
            wait = pause * random.uniform(0.8, 1.2)
            if reply.pause is not None:
                wait = min(max(reply.pause, 0.0), _LONGEST_ASKED_PAUSE)
            self._stop.wait(wait)
            pause = min(pause * 1.6, _LONGEST_PAUSE)
        return Result(dropped={"shutdown": len(items)})

    def _accepted(self, reply: Reply, spans: int, size: int) -> Result:
        self.bump("export_bytes", size)
        rejected = min(max(reply.rejected, 0), spans)
        if rejected:
            self._tell_once("rejected", f"left out {rejected} of {spans} spans", reply)
            return Result(spans - rejected, {"rejected": rejected})
        if reply.detail:
            self._tell_once("warning", "accepted spans with a warning", reply)
        return Result(spans)

    def _tell_once(self, reason: str, what: str, reply: Reply) -> None:
        # One line for each reason: a log that grows with the traffic helps nobody.
        if reason not in self._told:
            self._told.add(reason)
            detail = printable(reply.detail) or reason
            _log.warning("%s %s (%s)", self._transport.where, what, detail)

    def _request(self, items: Sequence[Item]) -> bytes:
        groups: dict[int, tuple[Any, list[bytes]]] = {}
        latest: Any = None
        spans: list[bytes] = []
        for resource, encoded in items:
            # Spans of one process come together, mostly.
            if resource is not latest:
                latest = resource
                _, spans = groups.setdefault(id(resource), (resource, []))
            spans.append(encoded)
        encode = self.encoder.resource_spans
        return b"".join(encode(resource, spans) for resource, spans in groups.values())


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    if sum(map(len, map(_ENCODED, items))) <= _MAX_REQUEST:
        if items:
            yield items
        return
    begin = size = 0
    for index, (_, encoded) in enumerate(items):
        if size and size + len(encoded) > _MAX_REQUEST:
            yield items[begin:index]
            begin, size = index, 0
        size += len(encoded)
    if begin < len(items):
        yield items[begin:]
