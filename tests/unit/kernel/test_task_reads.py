"""How bpf/task.h is told where the running task's members are."""

from __future__ import annotations

import pytest

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import tries
from otel_ebpf.kernel.config import DIRECT, KernelConfig

OFFSETS = {member: 8 * number for number, member in enumerate(DIRECT.values())}


def refuse(*_: object) -> None:
    raise OSError(13, "Permission denied")


def test_direct_where_the_kernel_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[int]] = []
    monkeypatch.setattr(tries, "read_task", lambda offsets, size: tried.append(offsets))
    flags = KernelConfig().task_cflags(OFFSETS)
    assert sorted(flags) == sorted(f"-DDIRECT_{name}={OFFSETS[m]}" for name, m in DIRECT.items())
    assert {offset for chain in tried for offset in chain} == set(OFFSETS.values())


def test_calls_where_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "read_task", refuse)
    assert KernelConfig().task_cflags(OFFSETS) == []


def test_what_was_asked_for_and_is_refused_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "read_task", refuse)
    with pytest.raises(KernelError, match="read the task directly"):
        KernelConfig(task_reads="direct").task_cflags(OFFSETS)


def test_a_member_that_is_missing_or_a_wish_leaves_it_to_calls() -> None:
    assert KernelConfig(task_reads="calls").task_cflags(OFFSETS) == []
    assert KernelConfig().task_cflags({**OFFSETS, "task_struct.stack": -1}) == []
