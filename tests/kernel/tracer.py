"""The loaded kernel half in this process, and the records that it gives of chosen processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from otel_ebpf.events.decode import Decoder, Record, record_at
from otel_ebpf.events.layout import DATA, VOID
from otel_ebpf.events.order import Orderer
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import Kernel

INGRESS, EGRESS = 0, 1
SEQUENCES = 1 << 32


class Tracer:
    """Attached when the constructor returns; traces only processes given to ``choose``.

    Attributes:
        kernel: the loader's object.
        records: decoded records since the last ``clear``, in the order of time, corrections
            applied as the agent applies them.
        lost: bursts that the perf buffer reported as lost.
    """

    def __init__(self, config: KernelConfig | None = None, pages: int = 4096) -> None:
        self.kernel = Kernel(config or KernelConfig(filter_processes=True))
        self.decoder = Decoder()
        self.orderer = Orderer()
        self.records: list[Record] = []
        self.lost = 0
        try:
            self.kernel.open_bursts(self._take, self._on_lost, pages)
            self.kernel.attach()
        except BaseException:
            self.kernel.close()
            raise

    def _take(self, _cpu: int, burst: bytes) -> None:
        self.orderer.feed(*self.decoder.locate(burst))

    def _on_lost(self, bursts: int) -> None:
        self.lost += bursts

    def choose(self, *pids: int) -> None:
        self.kernel.choose(pids)

    def visit(self) -> int:
        """Asks every CPU for its burst, as the agent does. Returns the time before."""
        before = time.monotonic_ns()
        cpus = os.sched_getaffinity(0)
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            os.getppid()
        os.sched_setaffinity(0, cpus)
        return before

    def flush(self) -> list[Record]:
        """Every record made so far."""
        before = self.visit()
        self.kernel.drain()
        self.records += [record_at(data, at) for _, _, data, at in self.orderer.advance(before)]
        return self.records

    def clear(self) -> None:
        """Forgets what has come so far."""
        self.flush()
        self.records = []

    def of(self, *pids: int, kind: int = DATA) -> list[Record]:
        """Records of processes, oldest first."""
        return [r for r in self.flush() if r.type == kind and r.tgid in pids]

    def wait(self, enough: Callable[[list[Record]], bool], seconds: float = 20.0) -> list[Record]:
        """Flushes until ``enough`` holds of the records so far.

        Raises:
            AssertionError: it did not come to hold in time.
        """
        deadline = time.monotonic() + seconds
        while not enough(self.flush()):
            assert time.monotonic() < deadline, f"not enough in time: {show(self.records)}"
            self.kernel.poll(20)
        return self.records

    def entries(self, *names: str) -> dict[str, int]:
        """How many entries each map holds."""
        return {name: len(list(self.kernel.table(name).keys())) for name in names}

    def close(self) -> None:
        self.kernel.close()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def show(records: Iterable[Record]) -> str:
    """For messages: what matters of each record, one a line."""
    return "\n" + "\n".join(
        f"type={r.type} pid={r.tgid} fd={r.fd} socket={r.socket_id & 0xFFFFFFFF} "
        f"{'out' if r.direction else 'in'} seq={r.tcp_seq} length={r.length} "
        f"segments={r.segments} begins={r.begins} role={r.role} flags={r.flags} "
        f"call={r.syscall} data={r.data[:40]!r}"
        for r in records
    )


class Stream:
    """One direction of one socket, put together from its records.

    Attributes:
        records: of this direction, in the order of sequence numbers' coming.
        length: bytes in all; seq: of the first byte.
    """

    def __init__(self, records: Iterable[Record], socket_id: int, direction: int) -> None:
        self.records = [
            r
            for r in records
            if r.socket_id == socket_id and r.direction == direction and r.type == DATA
        ]
        assert VOID not in {r.type for r in self.records}
        self.length = sum(r.length for r in self.records)
        self.seq = self.records[0].tcp_seq if self.records else 0

    @property
    def data(self) -> bytes:
        """Payload that was captured, without gaps between records of a complete capture."""
        return b"".join(r.data for r in self.records)

    def check(self) -> None:
        """No hole and no overlap: each record begins where the one before it ended."""
        expected = self.seq
        for r in self.records:
            assert r.tcp_seq == expected, show(self.records)
            assert r.data_len == len(r.data) <= r.length
            expected = (expected + r.length) % SEQUENCES


class Conversation:
    """Both ends of one connection, each with its own socket id.

    Args:
        records: of every socket.
        client, server: (pid, descriptor) of the two ends.
    """

    def __init__(
        self, records: list[Record], client: tuple[int, int], server: tuple[int, int]
    ) -> None:
        self.client_id = _socket(records, client)
        self.server_id = _socket(records, server)
        self.sent = Stream(records, self.client_id, EGRESS)
        self.arrived = Stream(records, self.server_id, INGRESS)
        self.answered = Stream(records, self.server_id, EGRESS)
        self.returned = Stream(records, self.client_id, INGRESS)

    def check(self) -> None:
        """The two ends agree on place and length, in both directions."""
        for one, other in ((self.sent, self.arrived), (self.answered, self.returned)):
            one.check()
            other.check()
            assert one.length == other.length, show(one.records + other.records)
            if one.records and other.records:
                assert one.seq == other.seq, show(one.records + other.records)


def _socket(records: list[Record], end: tuple[int, int]) -> int:
    ids = {r.socket_id for r in records if r.type == DATA and (r.tgid, r.fd) == end}
    assert len(ids) == 1, f"sockets of {end}: {ids}{show(records)}"
    return ids.pop()
