"""Records of all CPUs, in the order of time."""

from __future__ import annotations

from operator import attrgetter

from otel_ebpf.events.decode import Record
from otel_ebpf.events.layout import CORRECTION, VOID

_TS = attrgetter("ts")


class Orderer:
    """Holds records until a watermark says that nothing older can still come.

    The agent visits every CPU and empties its burst; what was recorded before a round
    of visits began has arrived when the round is over. That moment is the watermark, so
    the wait is one round: bounded, and no guess. A record that comes later all the same
    (a CPU that could not be visited, a send recorded at its exit) is let through at
    once and counted.

    Attributes:
        late: records that came behind the watermark.
        corrected: sends that were shortened or taken back while they were held.
        bound: most records held; above it the oldest leave early, counted in ``early``.
    """

    def __init__(self, bound: int = 500_000) -> None:
        self.late = 0
        self.corrected = 0
        self.early = 0
        self.bound = bound
        self._held: list[Record] = []
        self._watermark = 0

    def feed(self, records: list[Record]) -> None:
        """Takes records of one burst."""
        self._held += records

    def advance(self, watermark: int) -> list[Record]:
        """Records up to ``watermark`` (ns, CLOCK_MONOTONIC), oldest first.

        A correction is applied to the send that it corrects, if that is still here.
        """
        held = self._held
        if not held:
            self._watermark = max(watermark, self._watermark)
            return []
        held.sort(key=_TS)
        cut = len(held)
        if held[-1].ts > watermark:
            cut = self._first_after(watermark)
        if len(held) - cut > self.bound:
            self.early += len(held) - cut - self.bound
            cut = len(held) - self.bound
        out = held[:cut]
        del held[:cut]
        if out and out[0].ts < self._watermark:
            self.late += sum(1 for r in out if r.ts < self._watermark)
        self._watermark = max(watermark, self._watermark)
        if any(r.type == CORRECTION or r.type == VOID for r in out):
            out = self._correct(out)
        if held and any(r.type == CORRECTION for r in held):
            self._correct_from_held(out)
        return out

    def flush(self) -> list[Record]:
        """Everything that is held."""
        return self.advance(1 << 63)

    @property
    def held(self) -> int:
        """Records waiting."""
        return len(self._held)

    def _first_after(self, watermark: int) -> int:
        low, high = 0, len(self._held)
        while low < high:
            middle = (low + high) // 2
            if self._held[middle].ts > watermark:
                high = middle
            else:
                low = middle + 1
        return low

    def _correct(self, records: list[Record]) -> list[Record]:
        sends: dict[tuple[int, int], Record] = {}
        out: list[Record] = []
        for r in records:
            if r.type == VOID:
                self.corrected += 1
                continue
            if r.type == CORRECTION and self._apply(r, sends):
                continue
            sends[r.socket_id, r.ts] = r
            out.append(r)
        return [r for r in out if r.length or r.type != 1]

    def _correct_from_held(self, out: list[Record]) -> None:
        """A correction just behind the watermark still reaches its send."""
        sends = {(r.socket_id, r.ts): r for r in out}
        self._held = [r for r in self._held if not (r.type == CORRECTION and self._apply(r, sends))]
        if any(r.type == 1 and not r.length for r in out):
            out[:] = [r for r in out if r.length or r.type != 1]

    def _apply(self, correction: Record, sends: dict[tuple[int, int], Record]) -> bool:
        send = sends.get((correction.socket_id, correction.ref_ts))
        if send is None or send.direction != correction.direction:
            return False
        self.corrected += 1
        send.length = correction.length
        if send.data_len > send.length:
            send.data = send.data[: send.length]
            send.data_len = send.length
        return True
