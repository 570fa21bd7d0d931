"""Maps of every kind that is used, against the kernel's own."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from otel_ebpf.kernel import tables
from otel_ebpf.kernel.compiled import MapDefinition
from otel_ebpf.kernel.tables import Table, cpu_list, create, possible_cpus

PAIR = '["pair", [["a", "unsigned int"], ["b", "unsigned int"]], "struct"]'


@contextmanager
def table(kind: int, value: str, size: int, entries: int = 4096, key: int = 8) -> Iterator[Table]:
    key_type = {4: '"unsigned int"', 8: '"unsigned long long"'}[key]
    made = create(MapDefinition("test_map", kind, key, size, entries, 0, key_type, value))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("kind", [tables.HASH, tables.LRU_HASH])
def test_a_hash_of_structs(kind: int) -> None:
    with table(kind, PAIR, 8) as pairs:
        expected = {number << 33: (number, number + 1) for number in range(2500)}
        for key, (a, b) in expected.items():
            pairs[key] = pairs.Leaf(a, b)
        # More than one batch, and keys that are objects of the key's type.
        found = {key.value: (value.a, value.b) for key, value in pairs.items()}
        assert found == expected
        assert {key.value for key in pairs} == set(expected)
        for key in list(pairs):
            del pairs[key]
        assert len(pairs) == 0 and list(pairs.items()) == []
        with pytest.raises(KeyError):
            del pairs[ct.c_ulonglong(1 << 33)]
        with pytest.raises(KeyError):
            pairs[5]


def test_without_batches_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BATCHED", frozenset())
    with table(tables.HASH, '"unsigned int"', 4) as numbers:
        for key in range(50):
            numbers[key] = key * 2
        assert {key.value: value.value for key, value in numbers.items()} == {
            key: key * 2 for key in range(50)
        }


def test_a_full_map_says_so() -> None:
    with table(tables.HASH, '"unsigned int"', 4, entries=2) as numbers:
        numbers[1] = numbers[2] = 0
        with pytest.raises(OSError):
            numbers[3] = 0


@pytest.mark.parametrize(("value", "size"), [('"unsigned int"', 4), (PAIR, 8)])
def test_a_value_for_each_cpu(value: str, size: int) -> None:
    with table(tables.PERCPU_ARRAY, value, size, entries=1, key=4) as counters:
        values = counters.Leaf()
        assert len(values) == possible_cpus()
        for cpu in range(len(values)):
            values[cpu] = cpu + 7 if size == 4 else counters.Leaf._type_(cpu, cpu + 7)
        counters[0] = values
        again = counters[0]
        assert bytes(again) == bytes(values)


def test_lists_of_cpus() -> None:
    assert cpu_list("0-2,5,8-9\n") == [0, 1, 2, 5, 8, 9]
    assert cpu_list("0\n") == [0]
    assert cpu_list("\n") == []
