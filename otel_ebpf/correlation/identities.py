"""What runs when a request or a response is written, by a number, and how far that tells requests
apart."""

from __future__ import annotations

from otel_ebpf.correlation.live import Live

SHARED_AT_LEAST = 16
"""Exchanges that shared an identity with one they overlapped, before that counts."""
SHARED_AT_MOST = 0.05
"""Share of exchanges that may. Addresses that are used again share by chance, as if."""
MAX_LAST = 4096
"""Identities of one process whose latest response is known."""

CONTEXT = "python.context"
VIRTUAL = "java.virtual_thread"
TASK = "rust.tokio_task"
CONTEXT_BITS = (1 << 48) - 1
"""Of an identity: a context's address. Above them is the number of its task, if it has one."""


def numbered(identity: int) -> bool:
    """Whether it is a virtual thread's of Java, or a task's of tokio: one or two of the highest
    bits, then its number, which is small. CPython's are addresses below the task's number, and old
    recordings have 16 bits of that."""
    return identity >> 32 in (1 << 31, 3 << 30)


def own_rule(identity: int) -> str:
    """The rule by which a request belongs to whoever answers under this identity."""
    if numbered(identity):
        return TASK if identity >> 62 == 3 else VIRTUAL
    return CONTEXT


class Sharing:
    """Whether one process' exchanges share identities.

    Attributes:
        answered, shared: responses that were compared, and those that shared one.
        alone: identities tell its requests apart.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}
        """Identity -> (ns of its latest response, hash of the connection)."""
        self.answered = 0
        self.shared = 0
        self.alone = True

    def compare(self, server: Live, identity: int, born: int, ts: int) -> None:
        """Two exchanges that overlapped, on two connections, under one identity: then it does
        not tell requests apart. By chance (an address used again) that is rare."""
        last = self._last
        self.answered += 1
        connection = id(server.endpoints)
        before = last.get(identity)
        if before is not None and before[0] > max(server.start, born) and before[1] != connection:
            self.shared += 1
        last[identity] = (ts, connection)
        if len(last) > MAX_LAST:
            del last[next(iter(last))]
        if self.answered >= 1 << 20:
            self.answered >>= 1
            self.shared >>= 1
        few = self.shared < SHARED_AT_LEAST
        self.alone = few or self.shared <= self.answered * SHARED_AT_MOST
