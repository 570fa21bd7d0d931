"""Keeps the kernel's maps from filling with what was forgotten."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from otel_ebpf.kernel.config import KernelConfig

if TYPE_CHECKING:
    from otel_ebpf.kernel.loader import Kernel

LOOK_EVERY = 5_000_000_000
"""Nanoseconds between two looks at the counters."""
SWEEP_ABOVE = 0.5
"""Part of a map in use above which it is swept."""
BY_NAME = -1
"""The key is a structure with a member ``tgid``."""
OF_PROCESSES = (
    ("proc_info_map", 0),
    ("python_info_map", 0),
    ("target_map", 0),
    ("goroutines_map", 32),
    ("go_running_map", 32),
    ("pid_tgid_callerid_map", 32),
    ("tls_conn_map", BY_NAME),
    ("header_block_map", BY_NAME),
    ("node_heap_map", 32),
)
"""Small maps by process, thread or goroutine, and where the process is in their keys."""
SOCKET_IDLE = 600_000_000_000
TRACE_IDLE = 120_000_000_000
"""Nanoseconds of silence after which an entry may go, when room is needed."""


class Ageing:
    """Watches ``__trace_stats_map`` and sweeps maps that grow too full.

    Entries normally go with the close of their socket or the end of their thread. What is
    left was missed: descriptors closed by close_range or by exec, or beyond those that are
    swept when a process ends. And a program of the kernel half does not run at all on a CPU
    on which a map is being changed from user space: seldom, an end goes by unseen.
    """

    def __init__(self, kernel: Kernel, config: KernelConfig) -> None:
        self._kernel = kernel
        self._config = config
        self._next = 0
        self.swept = 0

    def tick(self, now: int) -> None:
        """Looks, at most every five seconds. ``now`` is CLOCK_MONOTONIC in ns."""
        if now < self._next:
            return
        self._next = now + LOOK_EVERY
        for name, shift in OF_PROCESSES:
            self.swept += self._sweep_dead(name, shift)
        stats = self._kernel.stats()
        sockets = stats["sockets_opened"] - stats["sockets_closed"]
        traces = stats["traces_opened"] - stats["traces_closed"]
        # An entry of the descriptor map may outlive its socket's: both count.
        if sockets > self._config.max_sockets * SWEEP_ABOVE or stats["socket_map_full"]:
            self.swept += self._sweep("socket_state_map", now - SOCKET_IDLE)
            self.swept += self._sweep_dead("__socket_info_map", 32)
        if traces > self._config.max_traces * SWEEP_ABOVE or stats["trace_map_full"]:
            self.swept += self._sweep("__trace_map", now - TRACE_IDLE)

    def _sweep(self, name: str, before: int) -> int:
        table: Any = self._kernel.table(name)
        old = [key for key, value in table.items() if value.ts < before]
        return self._delete(table, old)

    def _sweep_dead(self, name: str, shift: int) -> int:
        """Entries of processes that are no more; their pid is in the key, ``shift`` bits up
        or where ``BY_NAME`` says."""
        table: Any = self._kernel.table(name)
        alive: dict[int, bool] = {}
        old = []
        for key in table:
            pid = key.tgid if shift == BY_NAME else key.value >> shift
            if pid not in alive:
                alive[pid] = os.path.exists(f"/proc/{pid}")
            if not alive[pid]:
                old.append(key)
        return self._delete(table, old)

    @staticmethod
    def _delete(table: Any, keys: list[Any]) -> int:
        for key in keys:
            try:
                del table[key]
            except KeyError:
                continue  # the kernel was quicker
        return len(keys)
