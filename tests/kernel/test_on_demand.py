"""Programs that only some processes need come with the first of these."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from otel_ebpf.kernel import sysbpf
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import Kernel
from otel_ebpf.kernel.plan import AWAITED_PROGRAMS, SPARED_PROGRAMS, TAIL_PROGRAMS


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel(KernelConfig(filter_processes=True, on_demand=True))
    try:
        kernel.attach()
        yield kernel
    finally:
        kernel.close()


def reached(kernel: Kernel) -> set[str]:
    """Programs that others can jump to, as the kernel has them."""
    found = set()
    ids = {sysbpf.program_info(program.fd)[0]: program.name for program in kernel.programs}
    table = kernel.table("__progs_jmp_tp_map")
    for index in range(len(TAIL_PROGRAMS)):
        try:
            found.add(ids[int.from_bytes(bytes(table[index]), "little")])
        except KeyError:
            continue  # nothing there
    return found


def test_they_are_there_before_the_process_is_described(kernel: Kernel) -> None:
    awaited = {name for names in AWAITED_PROGRAMS.values() for name in names}
    assert awaited <= set(TAIL_PROGRAMS) & SPARED_PROGRAMS.keys()
    before = reached(kernel)
    assert before == set(TAIL_PROGRAMS) - awaited
    kernel.set_process(os.getpid(), {"turns": 1})
    assert reached(kernel) == before, "this needs none of them"
    needed: set[str] = set()
    for (name_of_map, member), names in AWAITED_PROGRAMS.items():
        kernel.set_process(os.getpid(), {member: 1}, name_of_map)
        needed.update(names)
        assert reached(kernel) == before | needed, member
    assert reached(kernel) == set(TAIL_PROGRAMS)
