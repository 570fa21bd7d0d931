"""Calls of the kernel's own functions, as the kernel wants them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.kernel import kernel_calls, tries
from otel_ebpf.kernel.btf import Btf, MemberNotFound
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.kernel_calls import marked, mend_calls

CALL, LOAD_64 = 0x85, 0x18
FUNCTION = 65_486


class Types(Btf):
    """Type information with nothing but what is asked for."""

    def __init__(self, function: int | None = FUNCTION) -> None:
        self.function = function

    def function_id(self, name: str) -> int:
        if self.function is None:
            raise MemberNotFound(name)
        return self.function

    def struct_id(self, name: str) -> int:
        return 162


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<BBhi", *i) for i in instructions)


def test_a_marked_call_becomes_one_of_the_kernels() -> None:
    helper = (CALL, 0, 0, 113)
    assert mend_calls(program(helper, (CALL, 0, 0, marked(FUNCTION)))) == program(
        helper, (CALL, 0x20, 0, FUNCTION)
    )


def test_a_number_that_only_looks_like_a_call_stays() -> None:
    load = program((LOAD_64, 1, 0, 7), (CALL, 0, 0, marked(FUNCTION)))
    assert mend_calls(load) == load


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 1 << 20))))
def test_nothing_else_is_changed(words: list[tuple[int, int, int]]) -> None:
    code = program(*((operation, registers, 0, number) for operation, registers, number in words))
    assert mend_calls(code) == code


def test_definitions_name_the_function_and_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, int]] = []
    monkeypatch.setattr(tries, "read_words", lambda *ids: tried.append(ids))
    flags = KernelConfig().memory_cflags(Types())
    assert flags == [f"-DKERNEL_WORDS={marked(FUNCTION)}", "-DKERNEL_WORDS_TYPE=162"]
    assert tried == [(FUNCTION, 162)]


def test_without_the_function_or_the_leave_reads_are_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(22, "Invalid argument")

    assert KernelConfig(task_reads="calls").memory_cflags(Types()) == []
    assert kernel_calls.word_reads(Types(function=None)) is None
    monkeypatch.setattr(tries, "read_words", refuse)
    assert KernelConfig().memory_cflags(Types()) == []
