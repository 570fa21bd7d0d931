"""Types of map entries lie in memory as the C types that they stand for."""

from __future__ import annotations

import ctypes as ct
import json

import pytest

from otel_ebpf.kernel.ctypes_of import type_of


def test_plain_types() -> None:
    assert type_of('"unsigned long long"') is ct.c_ulonglong
    assert ct.sizeof(type_of('"unsigned short"')) == 2


def test_members_arrays_and_what_is_nested() -> None:
    inner = ["inner", [["low", "unsigned int"], ["high", "unsigned int"]], "struct_packed"]
    made = type_of(
        json.dumps(
            [
                "outer",
                [
                    ["kind", "unsigned char"],
                    ["pad", "unsigned char", [7]],
                    ["both", inner],
                    ["", [["whole", "unsigned long long"], ["half", "unsigned int"]], "union"],
                    ["pairs", inner, [2]],
                ],
                "struct_packed",
            ]
        )
    )
    offsets = {name: getattr(made, name).offset for name in ("kind", "both", "whole", "pairs")}
    assert offsets == {"kind": 0, "both": 8, "whole": 16, "pairs": 24}
    assert ct.sizeof(made) == 40
    value = made()
    value.whole = 1 << 33 | 7
    value.pairs[1].high = 9
    assert value.half == 7
    assert bytes(value)[36:] == b"\x09\0\0\0"


def test_bit_fields() -> None:
    made = type_of('["f", [["a", "unsigned int", 4], ["b", "unsigned int", 28]], "struct"]')
    value = made(a=3, b=5)
    assert int.from_bytes(bytes(value), "little") == 3 | 5 << 4


def test_a_type_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="quaternion"):
        type_of('["q", [["a", "quaternion"]], "struct"]')
