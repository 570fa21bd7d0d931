"""Reads perf buffers: rings that the kernel fills, one for each CPU.

The layout is that of perf_event_open(2): a page of positions, then a power of two of
pages of data. The kernel moves ``data_head``, the reader ``data_tail``; both only grow,
and a position is taken modulo the size. Records are aligned to eight bytes and may go on
at the ring's beginning. A record that finds no room is not written; the next one that
does is preceded by one that tells how many were lost.
"""

from __future__ import annotations

import mmap
import os
import platform
import select
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from otel_ebpf.kernel import sysbpf
from otel_ebpf.kernel.tables import Table, cpu_list

Take = Callable[[int, bytes], None]
Lost = Callable[[int], None]

PAGE = mmap.PAGESIZE
LOST, SAMPLE = 2, 9
"""Types of records (enum perf_event_type)."""
_HEAD, _TAIL = 1024 // 8, 1032 // 8
"""Words of the first page (struct perf_event_mmap_page)."""
_RECORD = struct.Struct("=IHH")  # type, misc, size with this header
_DATA = 12
"""Where a sample's bytes begin, after the header and their number."""
_LOST = struct.Struct("=IHHQQ")  # the same, the event's id, how many


class Ring:
    """One CPU's ring.

    Args:
        memory: the mapping: one page and the data.
        cpu: whose it is.
        take: is given the CPU and each record's bytes, with up to seven bytes of padding
            that the kernel adds.
        lost: is given how many records found no room.
    """

    def __init__(self, memory: mmap.mmap, cpu: int, take: Take, lost: Lost) -> None:
        self._memory = memory
        self._view = memoryview(memory)
        self._words = self._view[:PAGE].cast("Q")
        self._size = len(memory) - PAGE
        self.cpu = cpu
        self._take = take
        self._lost = lost

    def read(self) -> None:
        """Hands over what is there now. What comes meanwhile is left for the next time.

        Each record's room is given back before the record is handed over: what becomes of
        it may take long.
        """
        words, memory, size, take = self._words, self._memory, self._size, self._take
        tail, head = words[_TAIL], words[_HEAD]
        if tail == head:
            return
        _fence()
        while tail < head:
            at = tail % size
            kind, _, length = _RECORD.unpack_from(memory, PAGE + at)
            start, end = PAGE + at, PAGE + at + length
            if at + length <= size:
                # The number of a sample's bytes counts the padding too: it says no more
                # than the record's size does.
                data = memory[start + _DATA : end] if kind == SAMPLE else memory[start:end]
            else:
                data = memory[start:] + memory[PAGE : PAGE + at + length - size]
                if kind == SAMPLE:
                    data = data[_DATA:]
            tail += length
            _fence()
            words[_TAIL] = tail
            if kind == SAMPLE:
                take(self.cpu, data)
            elif kind == LOST:
                self._lost(_LOST.unpack_from(data)[4])

    def close(self) -> None:
        """Lets go of the mapping."""
        self._words.release()
        self._view.release()
        self._memory.close()


class PerfReader:
    """The rings of any number of perf buffers, and the wait for them."""

    def __init__(self) -> None:
        self._rings: dict[int, Ring] = {}
        self._epoll = select.epoll()

    def open(self, table: Table, pages: int, take: Take, lost: Lost, wakeup: int) -> None:
        """Give ``table``, a BPF_MAP_TYPE_PERF_EVENT_ARRAY, a ring on each online CPU.

        Args:
            pages: of data in each ring, a power of two.
            wakeup: records of one CPU after which :meth:`poll` returns.

        Raises:
            OSError: the kernel refused.
        """
        for cpu in cpu_list(Path("/sys/devices/system/cpu/online").read_text()):
            event = sysbpf.perf_event_open(
                sysbpf.PERF_TYPE_SOFTWARE, sysbpf.PERF_COUNT_SW_BPF_OUTPUT, cpu=cpu, wakeup=wakeup
            )
            try:
                memory = mmap.mmap(event, PAGE * (pages + 1))
            except BaseException:
                os.close(event)
                raise
            self._rings[event] = Ring(memory, cpu, take, lost)
            self._epoll.register(event, select.EPOLLIN)
            table[cpu] = event

    def poll(self, timeout_ms: int) -> None:
        """Wait until the kernel wakes the reader, or the time is up; read what woke it."""
        for event, _ in self._epoll.poll(max(0, timeout_ms) / 1000):
            self._rings[event].read()

    def drain(self) -> None:
        """Read every ring, without waiting."""
        for ring in self._rings.values():
            ring.read()

    def close(self) -> None:
        """Let go of every ring."""
        self._epoll.close()
        while self._rings:
            event, ring = self._rings.popitem()
            ring.close()
            os.close(event)


def _no_fence() -> None:
    """Loads and stores are kept in this order by the processor itself."""


def _two_locks() -> None:
    """What a weaker processor needs: the positions and the data in their order. Between the
    release of one lock and the acquisition of the next nothing passes either way."""
    for _ in range(2):
        with _LOCK:
            pass


_LOCK = threading.Lock()
_fence = _no_fence if platform.machine() == "x86_64" else _two_locks
