"""Records of all CPUs, in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from otel_ebpf.events.decode import Place, record_at, shortened
from otel_ebpf.events.layout import CORRECTION, DATA, VOID

_TS = itemgetter(0)


class Orderer:
    """Holds records, undecoded, until a watermark says that nothing older can still come.

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
        self._held: list[Place] = []
        self._corrections = False
        self._watermark = 0

    def feed(self, places: list[Place], others: Sequence[Place]) -> None:
        """Takes what :meth:`~otel_ebpf.events.decode.Decoder.locate` found in one burst."""
        self._held += places
        for _, kind, _, _ in others:
            if kind in (CORRECTION, VOID):
                self._corrections = True

    def advance(self, watermark: int) -> list[Place]:
        """Records up to ``watermark`` (ns, CLOCK_MONOTONIC), oldest first.

        A correction is applied to the send that it corrects, if that is still here.
        """
        held = self._held
        if not held:
            self._watermark = max(watermark, self._watermark)
            return []
        held.sort(key=_TS)
        cut = len(held)
        if held[-1][0] > watermark:
            cut = self._first_after(watermark)
        if len(held) - cut > self.bound:
            self.early += len(held) - cut - self.bound
            cut = len(held) - self.bound
        out = held[:cut]
        del held[:cut]
        if out and out[0][0] < self._watermark:
            self.late += sum(1 for place in out if place[0] < self._watermark)
        self._watermark = max(watermark, self._watermark)
        if self._corrections:
            self._correct(out)
        return out

    def flush(self) -> list[Place]:
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
            if self._held[middle][0] > watermark:
                high = middle
            else:
                low = middle + 1
        return low

    def _correct(self, out: list[Place]) -> None:
        """Puts right what leaves. A correction behind the watermark still reaches its send."""
        corrections = [place for place in out + self._held if place[1] == CORRECTION]
        gone = {id(place) for place in out if place[1] == VOID}
        self.corrected += len(gone)
        sends = _sends(out, {record_at(data, at).ref_ts for _, _, data, at in corrections})
        for place in corrections:
            wanted = record_at(place[2], place[3])
            number = sends.get((wanted.socket_id, wanted.ref_ts, wanted.direction))
            if number is None:
                continue
            self.corrected += 1
            gone.add(id(place))
            ts, kind, data, at = out[number]
            out[number] = send = (ts, kind, shortened(data, at, wanted.length), 0)
            if not wanted.length:
                gone.add(id(send))
        if gone:
            out[:] = [place for place in out if id(place) not in gone]
            self._held = [place for place in self._held if id(place) not in gone]
        self._corrections = any(kind in (CORRECTION, VOID) for _, kind, _, _ in self._held)


def _sends(places: list[Place], times: set[int]) -> dict[tuple[int, int, int], int]:
    """(socket, ts, direction) of data recorded at one of ``times`` -> its number in the list."""
    found = {}
    for number, (ts, kind, data, at) in enumerate(places):
        if ts in times and kind == DATA:
            record = record_at(data, at)
            found[record.socket_id, ts, record.direction] = number
    return found
