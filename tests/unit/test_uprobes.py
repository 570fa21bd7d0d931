"""Uprobes stay as long as somebody runs the program, and half a minute more."""

from __future__ import annotations

from otel_ebpf.errors import KernelError
from otel_ebpf.uprobes import LINGER, TRIES, Uprobes

FILE, OTHER = (1, 2, 3, 4), (1, 9, 3, 4)
PLACES = [(100, "a"), (200, "b")]


class Kernel:
    """Remembers what is attached."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.attached: dict[int, tuple[str, int, str]] = {}
        self.asked = 0

    def attach_uprobe(self, path: str, offset: int, program: str) -> int:
        self.asked += 1
        if program == self.refuses:
            raise KernelError("refused", where=path)
        self.attached[self.asked] = (path, offset, program)
        return self.asked

    def detach_uprobe(self, *handles: int) -> None:
        for handle in handles:
            del self.attached[handle]


def test_a_program_s_second_process_needs_no_more() -> None:
    kernel = Kernel()
    uprobes = Uprobes(kernel)
    for pid in (1, 2):
        uprobes.runs(pid, FILE, "/app")
        assert uprobes.attach(FILE, "/proc/self/fd/9", PLACES)
    assert len(kernel.attached) == uprobes.count == kernel.asked == 2
    assert uprobes.missing(FILE, [*PLACES, (300, "c")]) == [(300, "c")]


def test_some_may_leave_before_the_others_and_come_back() -> None:
    kernel = Kernel()
    uprobes = Uprobes(kernel)
    uprobes.runs(1, FILE, "/app")
    uprobes.attach(FILE, "f", PLACES)
    uprobes.detach(FILE, [PLACES[0], (300, "never there")])
    uprobes.detach(OTHER, PLACES)
    assert list(kernel.attached.values()) == [("f", *PLACES[1])]
    assert uprobes.count == 1
    assert uprobes.attach(FILE, "f", PLACES)
    assert uprobes.count == len(kernel.attached) == 2


def test_they_leave_half_a_minute_after_the_last_process() -> None:
    kernel = Kernel()
    uprobes = Uprobes(kernel)
    for pid in (1, 2):
        uprobes.runs(pid, FILE, "/app")
    uprobes.runs(3, OTHER, "/other")
    uprobes.attach(FILE, "f", PLACES)
    uprobes.attach(OTHER, "o", PLACES)
    uprobes.ended(1, 10.0)
    uprobes.tick(10.0 + 2 * LINGER)
    assert uprobes.count == 4
    uprobes.ended(2, 100.0)
    uprobes.tick(100.0 + LINGER - 1)
    assert uprobes.count == 4
    uprobes.tick(100.0 + LINGER)
    assert {path for path, _, _ in kernel.attached.values()} == {"o"}
    assert uprobes.count == 2


def test_a_restart_within_that_time_keeps_them() -> None:
    kernel = Kernel()
    uprobes = Uprobes(kernel)
    uprobes.runs(1, FILE, "/app")
    uprobes.attach(FILE, "f", PLACES)
    uprobes.ended(1, 10.0)
    uprobes.runs(5, FILE, "/app")
    uprobes.tick(10.0 + 2 * LINGER)
    assert uprobes.count == kernel.asked == 2


def test_a_process_that_runs_another_program_leaves_the_first() -> None:
    kernel = Kernel()
    uprobes = Uprobes(kernel)
    uprobes.runs(1, FILE, "/app")
    uprobes.attach(FILE, "f", PLACES)
    uprobes.runs(1, OTHER, "/other")
    uprobes.tick(10.0)
    uprobes.tick(10.0 + LINGER)
    assert not kernel.attached


def test_an_end_that_nobody_told_of_is_noticed() -> None:
    kernel = Kernel()
    uprobes = Uprobes(kernel)
    uprobes.runs(1, FILE, "/app")
    uprobes.attach(FILE, "f", PLACES)
    uprobes.tick(10.0, lambda pid: False)
    uprobes.tick(10.0 + LINGER, lambda pid: False)
    assert not kernel.attached


def test_what_the_kernel_refuses_is_not_asked_for_ever() -> None:
    kernel = Kernel(refuses="b")
    uprobes = Uprobes(kernel)
    uprobes.runs(1, FILE, "/app")
    for _ in range(10):
        assert not uprobes.attach(FILE, "f", PLACES)
    assert kernel.asked == 1 + TRIES
    assert (uprobes.count, uprobes.refused) == (1, 1)
