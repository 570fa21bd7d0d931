"""Where HotSpot keeps what runs on a thread, walked from the table that it exports."""

from __future__ import annotations

import os
import random
import struct

from otel_ebpf.discovery import java_runtime
from otel_ebpf.discovery.java_runtime import read_java

TABLE, NAMES, LIST, THREADS = 0x10000, 0x20000, 0x30000, 0x31000
FIELDS = {
    ("JavaThread", "_cont_entry"): (0, 1560),
    ("JavaThread", "_monitor_owner_id"): (0, 1312),
    ("Thread", "_osthread"): (0, 1016),
    ("OSThread", "_pthread_id"): (0, 16),
    ("ThreadsSMRSupport", "_java_thread_list"): (1, 0x3F000),
    ("ThreadsList", "_length"): (0, 4),
    ("ThreadsList", "_threads"): (0, 16),
}


class Process:
    """Memory in which two Java threads run, made of pieces at addresses."""

    def __init__(self, fields: dict[tuple[str, str], tuple[int, int]], key: int = 3) -> None:
        self.pieces: dict[int, bytes] = {}
        text, places = b"\0", {}
        for name in {part for pair in fields for part in pair}:
            places[name] = NAMES + len(text)
            text += name.encode() + b"\0"
        self.pieces[NAMES] = text + bytes(java_runtime.MAX_NAME)
        table = b""
        for (owner, field), (static, number) in fields.items():
            offset, address = (0, number) if static else (number, 0)
            entry = (places[owner], places[field], 0, static, 0, offset, address)
            table += struct.pack("<QQQiiQQ", *entry)
        self.pieces[TABLE] = table + bytes(48)
        self.pieces[0x3F000] = struct.pack("<Q", LIST)
        self.pieces[LIST] = struct.pack("<IIQQ", 0, 2, 0, THREADS)
        threads = 0x100000, 0x200000
        self.pieces[THREADS] = struct.pack("<QQ", *threads)
        for thread in threads:
            os_thread, pthread = thread + 0x10000, thread + 0x20000
            self.pieces[thread + 1016] = struct.pack("<Q", os_thread)
            self.pieces[os_thread + 16] = struct.pack("<Q", pthread)
            block = [0] * 64
            block[2 * key + 1] = thread
            self.pieces[pthread + 0x310] = struct.pack("<64Q", *block)

    def read(self, at: int, size: int) -> bytes:
        for start, piece in self.pieces.items():
            if start <= at and at + size <= start + len(piece):
                return piece[at - start : at - start + size]
        return b""


def walk(process: Process) -> dict[str, int] | None:
    return java_runtime._walk(process, TABLE)  # type: ignore[arg-type]


def test_the_key_of_a_threads_structure_is_seen_from_the_threads() -> None:
    told = {"java_thread": 0x310 + 16 * 3 + 8, "java_continuation": 1560, "java_number": 1312}
    assert walk(Process(FIELDS)) == told


def test_an_older_jvm_and_one_that_has_not_begun_are_told_apart() -> None:
    older = {pair: place for pair, place in FIELDS.items() if pair[1] != "_monitor_owner_id"}
    assert walk(Process(older)) == {}
    begins = Process(FIELDS)
    begins.pieces[LIST] = struct.pack("<IIQQ", 0, 0, 0, THREADS)
    assert walk(begins) is None
    other = Process(FIELDS)
    other.pieces[0x100000 + 0x20000 + 0x310] = bytes(512)  # a thread's data do not name it
    assert walk(other) == {}


def test_bytes_of_any_kind_are_borne() -> None:
    chance = random.Random(1)
    for _ in range(100):
        damaged = Process(FIELDS)
        for start, piece in list(damaged.pieces.items()):
            at = chance.randrange(len(piece))
            damaged.pieces[start] = piece[:at] + chance.randbytes(1) + piece[at + 1 :]
        walk(damaged)


def test_another_program_has_none() -> None:
    assert read_java(os.getpid()) is None
    assert read_java(1 << 30) is None
