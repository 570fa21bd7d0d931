"""The maps that the kernel half and this process share: made, filled, read and written here."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import tries
from otel_ebpf.kernel.compiled import MapDefinition
from otel_ebpf.kernel.config import MEMBERS, KernelConfig
from otel_ebpf.kernel.counters import STATS
from otel_ebpf.kernel.tables import Table, create

_UID_SHIFT = 48
_HEADER_BLOCKS = "header_block_map"


class SharedMaps:
    """All of them, by name.

    Attributes:
        config: the settings that they hold.

    Raises:
        KernelError: the kernel refuses one.
    """

    def __init__(self, config: KernelConfig, definitions: Iterable[MapDefinition]) -> None:
        self.config = config
        self._tables: dict[str, Table] = {}
        self._held = contextlib.ExitStack()
        with self._held:
            self._create(definitions)
            self._held = self._held.pop_all()

    def _create(self, definitions: Iterable[MapDefinition]) -> None:
        with contextlib.suppress(OSError):
            tries.raise_memlock()  # kernels before 5.11 count maps against it
        for definition in definitions:
            if definition.name == _HEADER_BLOCKS and not self.config.header_blocks:
                definition = replace(definition, entries=1)
            try:
                table = create(definition)
            except OSError as error:
                raise KernelError(
                    f"the kernel refused the map {definition.name}: {error.strerror}",
                    mend="run `otel-ebpf doctor` as root to see what this kernel allows",
                ) from None
            self._tables[definition.name] = table
            self._held.callback(table.close)

    def _each_cpu(self, table: str, make: Callable[[int, Any], None]) -> None:
        """Writes one value per possible CPU into entry 0 of a per-CPU array."""
        array = self._tables[table]
        values = array.Leaf()  # one for each possible CPU
        for cpu in range(len(values)):
            make(cpu, values[cpu])
        array[0] = values

    def fill(self, offsets: dict[str, int]) -> None:
        """Writes the settings, and where members of the kernel's structs are (``offsets``)."""

        def members(_: int, value: Any) -> None:
            for member, name in MEMBERS.items():
                setattr(value, member, offsets[name])
            value.ready = 1

        def conf(cpu: int, value: Any) -> None:
            # Unique over CPUs and over restarts of the agent within one capture.
            value.uid = (cpu + 1 << _UID_SHIFT) + 1
            value.socket_id = (cpu + 1 << _UID_SHIFT) + 1
            value.max_age = self.config.max_age_ns
            value.self_tgid = os.getpid()
            value.filter = self.config.filter
            value.capture = self.config.capture

        self._each_cpu("__members_offset", members)
        self._each_cpu("__trace_conf_map", conf)
        for number in self.config.protocols:
            self._tables["__protocol_filter"][number] = 1
        if self.config.ports:
            bitmap = self._tables["__allow_port_bitmap"]
            value = bitmap.Leaf()
            for first, last in self.config.ports:
                for port in range(first, last + 1):
                    value.bits[port >> 3] |= 1 << (port & 7)
            bitmap[0] = value

    def update_each_cpu(self, table: str, member: str, number: int) -> None:
        """Changes one member of a per-CPU array's entry 0, everywhere. Not atomic."""
        array = self._tables[table]
        values = array[0]
        for value in values:
            setattr(value, member, number)
        array[0] = values

    def table(self, name: str) -> Table:
        """A map by its name."""
        return self._tables[name]

    def stats(self) -> dict[str, int]:
        """Sums over CPUs of ``__trace_stats_map``."""
        values = self._tables["__trace_stats_map"][0]
        return {name: sum(value.counts[i] for value in values) for i, name in enumerate(STATS)}

    def choose(self, pids: Iterable[int]) -> None:
        """Adds processes to those that are traced."""
        targets = self._tables["target_map"]
        for pid in pids:
            targets[pid] = 1

    def chosen(self, pid: int) -> bool:
        """Whether the process is among those: added, or a child of one."""
        try:
            self._tables["target_map"][pid]
        except KeyError:
            return False
        return True

    def traces(self, pid: int) -> bool:
        """Whether a process may be traced: none was chosen, this one was, or ports choose."""
        return not self.config.filter_processes or bool(self.config.ports) or self.chosen(pid)

    def forget(self, pid: int) -> None:
        """Takes back what ``choose`` and ``set_process`` said of a process that has ended."""
        for name in ("target_map", "proc_info_map", "python_info_map", "pool_map"):
            with contextlib.suppress(KeyError):
                del self._tables[name][pid]

    def set_process(
        self, pid: int, members: dict[str, int], name_of_map: str = "proc_info_map"
    ) -> None:
        """Fills a process's entry in ``proc_info_map`` or the map named; members of its
        struct (``struct proc_info_t``) by their paths in it (``h2.0.streams``)."""
        table = self._tables[name_of_map]
        value = table.Leaf()
        for path, number in members.items():
            *outer, name = path.split(".")
            into = value
            for part in outer:
                into = into[int(part)] if part.isdigit() else getattr(into, part)
            if name.isdigit():
                into[int(name)] = number
            else:
                setattr(into, name, number)
        table[pid] = value

    def believe_copies(self, pid: int, told: bool) -> None:
        """Every copy of a context that a CPython process makes from now on is told, or none is."""
        since = self._tables["python_copies_since"]
        with contextlib.suppress(KeyError, OSError):  # too many: those are not believed
            if told:
                since[pid] = time.monotonic_ns()
            else:
                del since[pid]

    def close(self) -> None:
        """The kernel forgets them as soon as no program uses them."""
        self._held.close()
