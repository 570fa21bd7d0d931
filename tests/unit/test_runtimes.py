"""Interpreters and loops are followed: looked at again, copied, and let go of."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf import copy_probes, runtimes
from otel_ebpf.copy_probes import IDLE
from otel_ebpf.discovery.processes import ProcessImage
from otel_ebpf.runtimes import FIRST_LOOK, PYTHON_MAP, Runtimes


class Kernel:
    def __init__(self) -> None:
        self.set: list[tuple[int, str, dict[str, int]]] = []
        self.followed = 0
        self.uprobes: dict[int, int] = {}
        self.detached = 0
        self.believed: set[int] = set()
        """Processes whose copies of contexts are believed."""

    def set_process(
        self, pid: int, members: dict[str, int], name_of_map: str = "proc_info_map"
    ) -> None:
        self.set.append((pid, name_of_map, members))

    def follow_turns(self) -> None:
        self.followed += 1

    def follow_pools(self) -> None:
        self.pools_followed = True

    def attach_uprobe(self, path: str, offset: int, program: str, **how: Any) -> int:
        assert (path, offset, program, how.get("returns", False)) in (
            ("/python", 64, "python_copied", True),
            ("/node", 64, "node_collected", False),
        )
        self.uprobes[len(self.uprobes) + 1] = how["pid"]
        return len(self.uprobes)

    def detach_uprobe(self, *handles: int) -> None:
        self.detached += 1
        for handle in handles:
            assert self.uprobes[handle] not in self.believed, "from here on copies are missed"
            del self.uprobes[handle]

    def believe_copies(self, pid: int, told: bool) -> None:
        if told:
            assert pid in self.uprobes.values(), "some are missed still"
            self.believed.add(pid)
        else:
            self.believed.remove(pid)


def image(pid: int, language: str, exe: str, runtime: str = "") -> ProcessImage:
    return ProcessImage(pid, 1, exe, None, language, runtime)


def test_a_python_is_looked_at_until_its_tasks_are_found() -> None:
    all_of_it = {"tasks": 7, "work_type": 8}
    kernel, answers = Kernel(), [None, {"tasks": 0}, {"tasks": 7}, all_of_it]
    followed = Runtimes(kernel, lambda _: answers.pop(0))
    followed.runs(image(5, "python", "/usr/bin/python3.11", "cpython"), 0.0)
    assert followed.next_look() == FIRST_LOOK
    followed.tick(FIRST_LOOK)
    assert (followed.python, followed.tasks) == ({5}, set())
    followed.tick(FIRST_LOOK * 3)
    assert followed.tasks == {5}
    followed.tick(FIRST_LOOK * 7)  # and what its pools' workers are at
    assert followed.next_look() is None
    maps = [(name, members) for _, name, members in kernel.set]
    assert maps == [
        (PYTHON_MAP, {"tasks": 0}),
        ("proc_info_map", {"python": 1}),
        (PYTHON_MAP, {"tasks": 7}),
        (PYTHON_MAP, all_of_it),
    ]


def test_a_fork_goes_on_where_its_parent_stood() -> None:
    kernel, answers = Kernel(), [{"tasks": 0}, {"tasks": 7}]
    followed = Runtimes(kernel, lambda _: answers.pop(0))
    followed.runs(image(5, "python", "/usr/bin/python3.11"), 0.0)
    followed.forked(5, 6, 0.0)
    followed.ended(5)
    followed.tick(FIRST_LOOK)
    assert followed.python == followed.tasks == {6}


def test_loops_with_turns_are_told_to_the_kernel_half() -> None:
    kernel = Kernel()
    followed = Runtimes(kernel, lambda _: None)
    followed.runs(image(5, "nodejs", "/usr/bin/node"), 0.0)
    followed.runs(image(6, "", "/usr/sbin/nginx"), 0.0)
    followed.runs(image(7, "", "/usr/bin/sleep"), 0.0)
    followed.forked(6, 8, 0.0)
    followed.runs(image(9, "", "/usr/sbin/haproxy"), 0.0)
    assert followed.turns == {5, 6, 8, 9}
    assert kernel.followed == 1
    told = [(5, 1), (6, 2), (9, 3)]
    assert kernel.set == [(pid, "proc_info_map", {"turns": kind}) for pid, kind in told]


def test_node_is_looked_at_until_it_waits_in_its_loop() -> None:
    kernel, answers = Kernel(), [None, {"loop_slot": 64, "loop_polls": 128}]
    frame = {"node_isolate": -160, "node_data": 632}
    followed = Runtimes(kernel, node=lambda _: frame, loop=lambda _: answers.pop(0))
    followed.runs(image(5, "nodejs", "/usr/bin/node"), 0.0)
    assert followed.next_look() == FIRST_LOOK
    followed.tick(FIRST_LOOK)
    assert followed.next_look() is None
    plain = {"turns": 1, **frame}
    assert [members for _, _, members in kernel.set] == [
        plain,
        {**plain, "loop_slot": 64, "loop_polls": 128},
    ]


def test_frames_are_followed_once_where_they_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[tuple[str, int] | None] = [("/node", 64), None]
    monkeypatch.setattr(runtimes, "place_of_collections", lambda _: places.pop(0))
    frame = {"node_isolate": -160, "node_data": 632}
    loop = {"loop_slot": 64, "loop_polls": 128}
    kernel, known = Kernel(), {5: frame, 6: {}, 7: frame}
    followed = Runtimes(kernel, node=known.__getitem__, loop=lambda _: loop)
    for pid in known:
        followed.runs(image(pid, "nodejs", "/usr/bin/node"), 0.0)
    before = len(kernel.set)
    for pid in (5, 5, 6, 7):  # one of which the frames are not known, and one that is stripped
        followed.need_frames(pid)
    assert kernel.uprobes == {1: 5}
    assert followed.frames == 1
    assert [(pid, members) for pid, _, members in kernel.set[before:]] == [
        (5, {"turns": 1, **frame, **loop, "node_follows": 1})
    ]
    followed.forked(5, 8, 0.0)  # the uprobe is not the child's
    followed.tick(FIRST_LOOK)
    assert kernel.set[-1][0] == 8
    assert kernel.set[-1][2]["node_follows"] == 0
    followed.ended(5)
    assert kernel.uprobes == {}


def test_java_is_looked_at_until_its_virtual_threads_are_known() -> None:
    known = {"java_thread": 8, "java_continuation": 16, "java_number": 24}
    kernel, answers = Kernel(), [None, known]
    followed = Runtimes(kernel, java=lambda _: answers.pop(0), runtime=lambda _: (0, 0))
    followed.runs(image(5, "java", "/usr/bin/java"), 0.0)
    followed.tick(FIRST_LOOK)
    assert followed.next_look() is None
    followed.need_workers(5)
    told = [members for _, name, members in kernel.set if name == "proc_info_map"]
    identity = {"python": runtimes.IDENTITY_JAVA, **known}
    assert told == [identity, {"pools": 1, **identity}]


def test_tokios_tasks_are_told_apart_in_programs_of_no_known_language_and_in_their_forks() -> None:
    kernel = Kernel()
    followed = Runtimes(kernel, runtime=lambda _: (0, 0), tokio=lambda pid: -168 * (pid == 5))
    followed.runs(image(5, "", "/srv/rust"), 0.0)
    followed.runs(image(6, "", "/usr/bin/tool"), 0.0)
    identity = {"python": runtimes.IDENTITY_TOKIO, "tokio_task": -168}
    assert kernel.set == [(5, "proc_info_map", identity)]
    followed.forked(5, 7, 0.0)
    followed.need_workers(7)
    assert kernel.set[-1] == (7, "proc_info_map", {"pools": 1, **identity})
    followed.ended(5)
    followed.runs(image(5, "nodejs", "/usr/bin/node"), 0.0)
    assert set(followed.tokio) == {7}


def test_copies_are_followed_once_and_as_long_as_they_are_of_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copy_probes, "place_of_copies", lambda _: ("/python", 64))
    kernel = Kernel()
    followed = Runtimes(kernel, lambda _: {"tasks": 0})
    followed.need_copies(5)  # not known as a Python
    followed.runs(image(5, "python", "/usr/bin/python3.11"), 0.0)
    assert kernel.uprobes == {}
    followed.need_copies(5)
    followed.need_copies(5)
    assert kernel.uprobes == {1: 5}
    assert kernel.believed == {5}
    assert followed.copies == 1
    followed.drop_copies(5)
    assert kernel.uprobes == {}
    followed.need_copies(5)
    assert kernel.uprobes == {1: 5}
    followed.ended(5)
    assert kernel.uprobes == {}


def test_copies_of_a_program_with_tasks_are_followed_for_a_while_until_it_shows_the_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copy_probes, "place_of_copies", lambda _: ("/python", 64))
    kernel = Kernel()
    followed = Runtimes(kernel, lambda _: {"tasks": 7, "work_type": 8})
    followed.runs(image(5, "python", "/usr/bin/python3.11"), 0.0)
    followed.runs(image(6, "python", "/usr/bin/python3.11"), 0.0)
    followed.runs(image(7, "python", "/usr/bin/python3.11"), 0.0)
    assert kernel.uprobes == {1: 5, 2: 6, 3: 7}
    followed.need_copies(6)
    assert followed.next_look() == IDLE
    followed.tick(IDLE)
    assert kernel.uprobes == {2: 6}
    assert kernel.detached == 1, "a call for all: each makes the kernel wait"
    followed.tick(IDLE * 2)
    assert kernel.uprobes == {2: 6}
    assert followed.next_look() is None


def test_where_copies_name_parents_the_jobs_of_pools_are_looked_for_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copy_probes, "place_of_copies", lambda _: None)
    kernel, answers = Kernel(), [{"tasks": 7}, {"tasks": 7, "work_type": 8}]
    followed = Runtimes(kernel, lambda _: answers.pop(0))
    followed.runs(image(5, "python", "/usr/bin/python3.11"), 0.0)
    followed.need_copies(5)  # by now the program has imported its pools
    assert kernel.set[-1] == (5, PYTHON_MAP, {"tasks": 7, "work_type": 8})


def test_threads_are_followed_without_the_lock_that_all_of_a_pythons_threads_take() -> None:
    kernel = Kernel()
    followed = Runtimes(kernel, lambda _: {"tasks": 7}, lambda _: (64, 128))
    followed.runs(image(5, "python", "/usr/bin/python3.11", "cpython"), 0.0)
    followed.need_workers(5)
    followed.need_workers(5)
    assert kernel.pools_followed
    assert kernel.set[-2:] == [
        (5, "pool_map", {"ignore_from": 64, "ignore_to": 128}),
        (5, "proc_info_map", {"python": 1, "pools": 1}),
    ]
    followed.forked(5, 6, 0.0)
    assert set(followed.pools) == {5, 6}
    followed.ended(5)
    assert set(followed.pools) == {6}


def test_loops_with_turns_are_not_followed_as_pools() -> None:
    kernel = Kernel()
    followed = Runtimes(kernel)
    followed.runs(image(5, "nodejs", "/usr/bin/node"), 0.0)
    followed.need_workers(5)
    assert not followed.pools
