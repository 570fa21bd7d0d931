"""BPF maps as seen from user space: created here, read and written like dictionaries.

Keys and values are ctypes objects of the C types; for plain C types numbers do as well.
Reading gives copies. Every method may be called from any thread.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otel_ebpf.kernel import sysbpf
from otel_ebpf.kernel.compiled import MapDefinition
from otel_ebpf.kernel.ctypes_of import type_of

HASH, ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY = 1, 2, 3, 4
PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH = 5, 6, 9, 10
_PER_CPU = frozenset((PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH))
_BATCHED = frozenset((HASH, LRU_HASH))
_LOOKUP, _UPDATE, _DELETE, _NEXT, _LOOKUP_BATCH = 1, 2, 3, 4, 24
_BATCH = 1024
_NOT_SUPPORTED = 524  # ENOTSUPP, which errno does not know


def cpu_list(text: str) -> list[int]:
    """The CPUs of a list such as ``0-3,8``."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found


def possible_cpus() -> int:
    """How many values a per-CPU map holds for each key."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return max(cpu_list(text)) + 1


class Table:
    """One map; made by :func:`create`.

    Attributes:
        definition: as the sources declare it.
        fd: its descriptor.
        Key, Leaf: ctypes types. For a per-CPU map ``Leaf`` is an array with a value for
            each possible CPU.
    """

    def __init__(self, definition: MapDefinition, fd: int) -> None:
        self.definition = definition
        self.fd = fd
        self._size = definition.value_size
        self._cpus = 0
        if definition.kind in _PER_CPU:
            self._cpus = possible_cpus()
            # In the kernel's copies each CPU's value begins at a multiple of eight.
            self._size = (definition.value_size + 7 & ~7) * self._cpus
        self._types: tuple[Any, Any, Any] | None = None

    @property
    def Key(self) -> Any:
        return self._known()[0]

    @property
    def Leaf(self) -> Any:
        return self._known()[1]

    def __getitem__(self, key: Any) -> Any:
        """A copy of the value.

        Raises:
            KeyError: no such key.
        """
        value = ct.create_string_buffer(self._size)
        try:
            self._call(_LOOKUP, self._key(key), value)
        except OSError as error:
            raise self._missing(key, error) from None
        return self._leaf(value.raw)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Writes one entry.

        Raises:
            OSError: the kernel refused; E2BIG when the map is full.
        """
        if self._cpus:
            data = self._spread(value)
        elif isinstance(value, self.Leaf):
            data = bytes(value)
        else:
            data = bytes(self.Leaf(value))
        self._call(_UPDATE, self._key(key), ct.create_string_buffer(data, self._size))

    def __delitem__(self, key: Any) -> None:
        """Removes one entry.

        Raises:
            KeyError: no such key.
        """
        try:
            self._call(_DELETE, self._key(key), None)
        except OSError as error:
            raise self._missing(key, error) from None

    def keys(self) -> Iterator[Any]:
        """Every key that is there all the time; others perhaps."""
        key = None
        buffer = ct.create_string_buffer(self.definition.key_size)
        while True:
            try:
                self._call(_NEXT, key, buffer)
            except FileNotFoundError:
                return
            key = ct.create_string_buffer(buffer.raw, self.definition.key_size)
            yield self.Key.from_buffer_copy(buffer)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Every key with its value, as :meth:`keys`."""
        if self.definition.kind in _BATCHED:
            try:
                yield from self._batches()
                return
            except OSError as error:  # before anything was given
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, _NOT_SUPPORTED):
                    raise
        for key in self.keys():
            try:
                yield key, self[key]
            except KeyError:
                continue  # the kernel was quicker

    def __iter__(self) -> Iterator[Any]:
        return self.keys()

    def __len__(self) -> int:
        return sum(1 for _ in self.keys())

    def close(self) -> None:
        """Lets go of the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # -- within -------------------------------------------------------------------

    def _known(self) -> tuple[Any, Any, Any]:
        if self._types is None:
            one = type_of(self.definition.value_type)
            leaf = one * self._cpus if self._cpus else one
            self._types = type_of(self.definition.key_type), leaf, one
        return self._types

    def _key(self, key: Any) -> ct.Array[ct.c_char]:
        if not isinstance(key, (ct._SimpleCData, ct.Structure, ct.Union)):
            key = self.Key(key)
        return ct.create_string_buffer(bytes(key), self.definition.key_size)

    def _leaf(self, raw: bytes) -> Any:
        _, leaf, one = self._known()
        if not self._cpus:
            return leaf.from_buffer_copy(raw)
        stride = len(raw) // self._cpus
        size = ct.sizeof(one)
        return leaf.from_buffer_copy(
            b"".join(raw[at : at + size] for at in range(0, len(raw), stride))
        )

    def _spread(self, values: Any) -> bytes:
        raw, size = bytes(values), self.definition.value_size
        stride = self._size // self._cpus
        return b"".join(raw[at : at + size].ljust(stride, b"\0") for at in range(0, len(raw), size))

    def _missing(self, key: Any, error: OSError) -> Exception:
        if error.errno == errno.ENOENT:
            return KeyError(f"{self.definition.name}: {key}")
        return error

    def _call(
        self,
        command: int,
        key: ct.Array[ct.c_char] | None,
        other: ct.Array[ct.c_char] | None,
    ) -> None:
        first = ct.addressof(key) if key is not None else 0
        second = ct.addressof(other) if other is not None else 0
        sysbpf.bpf(command, struct.pack("=IIQQQ", self.fd, 0, first, second, 0))

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        key_type, leaf, _ = self._known()
        key_size, size = self.definition.key_size, self._size
        room = min(_BATCH, self.definition.entries)
        keys = ct.create_string_buffer(room * key_size)
        values = ct.create_string_buffer(room * size)
        place = ct.create_string_buffer(max(8, key_size))
        first, more = 0, True
        while more:
            attr = struct.pack(
                "=QQQQIIQQ",
                first,
                ct.addressof(place),
                ct.addressof(keys),
                ct.addressof(values),
                room,
                self.fd,
                0,
                0,
            )
            buffer = ct.create_string_buffer(attr, 144)
            try:
                sysbpf.bpf_in_place(_LOOKUP_BATCH, buffer)
            except FileNotFoundError:
                more = False  # with the last ones
            except OSError as error:
                if error.errno != errno.ENOSPC or room >= 1 << 20:
                    raise
                room *= 4  # so many in one bucket
                keys = ct.create_string_buffer(room * key_size)
                values = ct.create_string_buffer(room * size)
                continue
            first = ct.addressof(place)
            (count,) = struct.unpack_from("=I", buffer, 32)
            found = keys.raw, values.raw
            for index in range(count):
                yield (
                    key_type.from_buffer_copy(found[0], index * key_size),
                    leaf.from_buffer_copy(found[1], index * size),
                )


def create(definition: MapDefinition) -> Table:
    """Make the map in the kernel.

    Raises:
        OSError: the kernel refused.
    """
    entries = definition.entries
    if definition.kind == PERF_EVENT_ARRAY:
        entries = possible_cpus()  # of this machine, not of the one that compiled
    name = definition.name.encode()[:15]
    attr = struct.pack(
        "=7I16s",
        definition.kind,
        definition.key_size,
        definition.value_size,
        entries,
        definition.flags,
        0,
        0,
        name,
    )
    return Table(definition, sysbpf.bpf(sysbpf.MAP_CREATE, attr)[0])
