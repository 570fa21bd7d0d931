"""The reader of perf buffers against the kernel's writing: ends of the ring, losses, waking."""

from __future__ import annotations

import ctypes as ct
import os
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ebpf.kernel import obtain, sysbpf
from otel_ebpf.kernel.attachments import Attachments
from otel_ebpf.kernel.mounts import ensure_tracefs
from otel_ebpf.kernel.obtain import Obtaining
from otel_ebpf.kernel.paths import bpf_dir
from otel_ebpf.kernel.perf_reader import PAGE, PerfReader
from otel_ebpf.kernel.programs import Programs
from otel_ebpf.kernel.tables import Table, create

WRITER = """
struct note_t { u64 number; u64 size; char data[4096]; };
struct args { u64 common, call, size; };
BPF_PERF_OUTPUT(notes);
BPF_PERCPU_ARRAY(note_buf, struct note_t, 1);
BPF_ARRAY(writer, u32, 1);

/* getpgid(SIZE) of the process in `writer` makes a record with that many bytes. */
int on_getpgid(struct args *ctx)
{
	int zero = 0;
	u32 *pid = writer.lookup(&zero);
	struct note_t *note = note_buf.lookup(&zero);
	if (!pid || !note || *pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	u64 size = ctx->size & 4095;
	note->number += 1;
	note->size = size;
	note->data[0] = note->number;
	notes.perf_submit(ctx, note, 16 + size);
	return 0;
}
"""


class Writer:
    """The program, attached; and a reader of its records.

    Attributes:
        taken: (number, size) of each record; lost: how many the kernel told of as lost.
    """

    def __init__(self, sources: Path) -> None:
        shutil.copytree(bpf_dir() / "shim", sources / "shim")
        (sources / "main.c").write_text(WRITER)
        compiled = Obtaining(sources, []).result()
        self.tables: dict[str, Table] = {m.name: create(m) for m in compiled.maps}
        self.programs = Programs(compiled, self.tables)
        self.attachments = Attachments()
        self.reader = PerfReader()
        self.taken: list[tuple[int, int]] = []
        self.lost = 0
        self.tables["writer"][0] = os.getpid()
        event = ensure_tracefs().target / "events/syscalls/sys_enter_getpgid/id"
        program = self.programs.load("on_getpgid", sysbpf.TRACEPOINT)
        self.attachments.tracepoint(int(event.read_text()), program.fd)

    def open(self, pages: int, wakeup: int = 1) -> None:
        self.reader.open(self.tables["notes"], pages, self._take, self._on_lost, wakeup)

    def _take(self, _cpu: int, data: bytes) -> None:
        number, size = struct.unpack_from("=QQ", data)
        assert 16 + size <= len(data) <= 16 + size + 7
        assert not size or data[16] == number & 0xFF
        self.taken.append((number, size))

    def _on_lost(self, count: int) -> None:
        self.lost += count

    def write(self, size: int) -> None:
        ct.CDLL(None).getpgid(size)

    def close(self) -> None:
        self.attachments.close()
        self.reader.close()
        self.programs.close()
        for table in self.tables.values():
            table.close()


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(obtain, "folders", lambda *_: [])
    made = Writer(tmp_path / "bpf")
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})  # one ring, whose order is known
    try:
        yield made
    finally:
        os.sched_setaffinity(0, cpus)
        made.close()


def test_records_of_all_sizes_go_round_and_round(writer: Writer) -> None:
    writer.open(pages=2)
    expected = [(number, number * 13 % 3000) for number in range(1, 1500)]
    for number, size in expected:
        writer.write(size)
        if number % 2:
            writer.reader.drain()
    writer.reader.drain()
    assert sum(size for _, size in expected) > 100 * PAGE
    assert (writer.taken, writer.lost) == (expected, 0)


def test_what_is_lost_is_counted_and_the_rest_is_whole(writer: Writer) -> None:
    writer.open(pages=2)
    calls = 0
    for burst in (300, 5, 300, 40):
        for _ in range(burst):
            writer.write(200)
        calls += burst
        writer.reader.drain()
    writer.write(0)  # tells of what was lost before it
    calls += 1
    writer.reader.drain()
    numbers = [number for number, _ in writer.taken]
    assert numbers == sorted(set(numbers)) and numbers[-1] == calls
    assert writer.lost > 400
    assert len(numbers) + writer.lost == calls


def test_the_reader_is_woken_by_groups(writer: Writer) -> None:
    writer.open(pages=8, wakeup=4)
    for _ in range(3):
        writer.write(8)
    writer.reader.poll(50)
    assert writer.taken == []
    writer.write(8)
    start = time.monotonic()
    writer.reader.poll(20_000)
    assert len(writer.taken) == 4
    assert time.monotonic() - start < 10
