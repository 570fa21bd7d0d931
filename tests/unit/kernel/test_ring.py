"""The reader of perf rings against rings that are written here, as the kernel would."""

from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Iterator

import pytest

from otel_ebpf.kernel.perf_reader import LOST, PAGE, SAMPLE, Ring

SIZE = 2 * PAGE
HEAD, TAIL = 1024, 1032


class Kernel:
    """The writing side of one ring, with the kernel's rules."""

    def __init__(self, memory: mmap.mmap, start: int = 0) -> None:
        self.memory = memory
        self.head = start
        self.lost = 0
        struct.pack_into("=QQ", memory, HEAD, start, start)

    @property
    def tail(self) -> int:
        return int(struct.unpack_from("=Q", self.memory, TAIL)[0])

    def _put(self, data: bytes) -> None:
        for index, byte in enumerate(data):
            self.memory[PAGE + (self.head + index) % SIZE] = byte
        self.head += len(data)
        struct.pack_into("=Q", self.memory, HEAD, self.head)

    def sample(self, payload: bytes) -> bytes | None:
        """What the reader is to see; None when there is no room."""
        padded = payload.ljust((len(payload) + 4 + 7 & ~7) - 4, b"\0")
        record = struct.pack("=IHHI", SAMPLE, 0, len(padded) + 12, len(padded)) + padded
        told = struct.pack("=IHHQQ", LOST, 0, 24, 5, self.lost) if self.lost else b""
        if self.head - self.tail + len(told) + len(record) > SIZE:
            self.lost += 1
            return None
        self._put(told)
        self.lost = 0
        self._put(record)
        return padded


@pytest.fixture
def memory() -> Iterator[mmap.mmap]:
    yield mmap.mmap(-1, PAGE + SIZE)


def test_bytes_come_as_they_were_written_round_and_round(memory: mmap.mmap) -> None:
    """Records of every size, so that each way to meet the ring's end comes up."""
    kernel = Kernel(memory)
    taken: list[tuple[int, bytes]] = []
    ring = Ring(memory, 3, lambda cpu, data: taken.append((cpu, data)), lambda _: None)
    chance = random.Random(1)
    expected = []
    for turn in range(400):
        for _ in range(chance.randrange(4)):
            written = kernel.sample(chance.randbytes(turn * 7 % 1500))
            assert written is not None
            expected.append((3, written))
        ring.read()
        assert kernel.tail == kernel.head
    assert taken == expected
    assert kernel.head > 20 * SIZE
    ring.close()


def test_losses_are_told_when_there_is_room_again(memory: mmap.mmap) -> None:
    kernel = Kernel(memory)
    taken: list[bytes] = []
    lost: list[int] = []
    ring = Ring(memory, 0, lambda _, data: taken.append(data), lost.append)
    written = [kernel.sample(bytes([n]) * 1000) for n in range(30)]
    held = [data for data in written if data is not None]
    assert 0 < len(held) < 30
    ring.read()
    assert (taken, lost) == (held, [])
    assert kernel.sample(b"after") is not None
    ring.read()
    assert lost == [30 - len(held)]
    assert taken[-1].startswith(b"after")
    ring.close()


def test_positions_beyond_32_bits(memory: mmap.mmap) -> None:
    kernel = Kernel(memory, (1 << 40) + SIZE - 16)
    taken: list[bytes] = []
    ring = Ring(memory, 0, lambda _, data: taken.append(data), lambda _: None)
    written = kernel.sample(b"x" * 100)
    ring.read()
    assert taken == [written]
    ring.close()


def test_room_is_given_back_before_a_record_is_worked_on(memory: mmap.mmap) -> None:
    """And what is written meanwhile is left for the next time: a busy CPU does not keep
    the reader from the others."""
    kernel = Kernel(memory)
    seen: list[int] = []

    def take(_cpu: int, _data: bytes) -> None:
        seen.append(kernel.head - kernel.tail)
        assert kernel.sample(b"y" * 1000) is not None

    ring = Ring(memory, 0, take, lambda _: None)
    kernel.sample(b"x" * 1000)
    ring.read()
    assert seen == [0]
    ring.read()
    assert seen == [0, 0]
    ring.close()


def test_an_error_of_the_taker_loses_no_position(memory: mmap.mmap) -> None:
    kernel = Kernel(memory)
    taken: list[bytes] = []

    def take(_cpu: int, data: bytes) -> None:
        taken.append(data)
        if len(taken) == 1:
            raise RuntimeError("once")

    ring = Ring(memory, 0, take, lambda _: None)
    written = [kernel.sample(b"1" * 20), kernel.sample(b"2" * 20)]
    with pytest.raises(RuntimeError):
        ring.read()
    ring.read()
    assert taken == written
    ring.close()


def test_records_of_other_kinds_are_passed_over(memory: mmap.mmap) -> None:
    kernel = Kernel(memory)
    kernel._put(struct.pack("=IHHQ", 5, 0, 16, 0))
    taken: list[bytes] = []
    ring = Ring(memory, 0, lambda _, data: taken.append(data), lambda _: None)
    written = kernel.sample(b"z")
    ring.read()
    assert taken == [written]
    ring.close()
