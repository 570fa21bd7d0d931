"""A process's end is told once, however many of its threads end at that moment."""

from __future__ import annotations

import select
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from otel_ebpf.events import layout
from tests.cbuild import build_c
from tests.kernel.tracer import Tracer

ROUNDS = 300
_LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


@pytest.mark.parametrize("threads", [1, 16])
def test_threads_that_end_together_end_their_process_once(tracer: Tracer, threads: int) -> None:
    """Besides the first: with two in all, most rounds have both find that none is left."""
    children: set[int] = set()
    exits: Counter[int] = Counter()
    with subprocess.Popen(
        [str(build_c("threads")), str(ROUNDS), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None and program.stdout is not None
        pid = int(program.stdout.readline())
        tracer.choose(pid)
        program.stdin.write("\n")
        program.stdin.flush()
        done = False
        while not done:
            done = bool(select.select([program.stdout], [], [], 0)[0])
            tracer.kernel.poll(20)
            for r in tracer.flush():
                if r.type == layout.FORK and r.uid == pid:
                    children.add(r.tgid)
                elif r.type == layout.EXIT:
                    exits[r.tgid] += 1
            tracer.records = []
        assert int(program.stdout.readline()) == ROUNDS
    assert len(children) == ROUNDS
    assert {child: exits[child] for child in children if exits[child] != 1} == {}


@pytest.mark.skipif(not _LAST_PID.exists(), reason="the kernel lets nobody choose a number")
def test_a_number_that_is_given_again_is_not_chosen(tracer: Tracer) -> None:
    """What was chosen was the process before."""
    with Talker() as first:
        tracer.choose(first.pid)
        first.talk()
    assert tracer.of(first.pid), "a process that is chosen is seen"
    tracer.wait(lambda records: any(r.type == layout.EXIT for r in records))
    tracer.clear()
    second = Talker.of_number(first.pid)
    with second:
        second.talk()
    assert tracer.of(second.pid) == []


class Talker:
    """A process that talks with itself when it is told to."""

    _PROGRAM = """
import socket
one, other = socket.socketpair()
while input():
    one.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
    other.recv(100)
    print(flush=True)
"""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", self._PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    @classmethod
    def of_number(cls, pid: int) -> Talker:
        """One that has this number, which must be free. Others may be quicker: then again."""
        for _ in range(1000):
            _LAST_PID.write_text(str(pid - 1))
            talker = cls()
            if talker.pid == pid:
                return talker
            talker.__exit__()
        raise AssertionError(f"the number {pid} is not to be had")

    def talk(self) -> None:
        """Sends a request and receives it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("now\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "\n"

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipes and waits
            self._process.kill()
