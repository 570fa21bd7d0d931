"""Where a Java process keeps which virtual thread a thread of the system carries now.

HotSpot exports a table of its own structures' fields for debuggers (`gHotSpotVMStructs`, see
the JDK's vmStructs.cpp). From there: whether a continuation runs on a thread, which is what a
virtual thread is, and the number of the Java thread that owns monitors there, which is never used
again (JDK 24 and later). Where a thread's structure is, is told by its thread-specific data; which
key that has is seen from some of the threads.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from otel_ebpf.discovery.elf import ElfError, ElfImage
from otel_ebpf.discovery.memory import Memory, mappings
from otel_ebpf.discovery.procfs import ProcFs

TABLE = "gHotSpotVMStructs"
MAX_ENTRIES = 8192
MAX_NAME = 64
MAX_OFFSET = 1 << 16
FEW_THREADS = 4
_ENTRY = struct.Struct("<QQQiiQQ")
_LIBRARY = re.compile(r"/libjvm\.so( \(deleted\))?$")
# struct pthread of glibc on x86-64: the first block of thread-specific data, {seq, data} each.
_SPECIFIC_BLOCK = 0x310
_SPECIFIC_KEYS = 32

_FIELDS = {
    ("JavaThread", "_cont_entry"): "continuation",
    ("JavaThread", "_monitor_owner_id"): "number",
    ("Thread", "_osthread"): "osthread",
    ("OSThread", "_pthread_id"): "pthread",
    ("ThreadsSMRSupport", "_java_thread_list"): "list",
    ("ThreadsList", "_length"): "length",
    ("ThreadsList", "_threads"): "threads",
}


def read_java(pid: int, proc: ProcFs | None = None) -> dict[str, int] | None:
    """Members ``java_...`` of ``struct proc_info_t``. Empty: no HotSpot whose virtual threads
    can be told apart (JDK 24 and later); None: it has not begun yet."""
    proc = proc or ProcFs()
    for mapping in mappings(pid, proc):
        if mapping.offset == 0 and _LIBRARY.search(mapping.path):
            break
    else:
        return None
    path = proc.path(pid, f"map_files/{mapping.start:x}-{mapping.end:x}")
    try:
        with ElfImage(path) as image:
            found = image.symbols((TABLE,), ".dynsym", ".dynstr").get(TABLE)
        if found is None:
            return {}
        with Memory(pid, proc) as memory:
            table = _word(memory, mapping.start + found.value)
            return _walk(memory, table) if table else None
    except (ElfError, OSError):
        return {}


def _word(memory: Memory, at: int) -> int:
    raw = memory.read(at, 8)
    return int.from_bytes(raw, "little") if raw else 0


def _number(memory: Memory, at: int) -> int:
    raw = memory.read(at, 4)
    return int.from_bytes(raw, "little", signed=True) if raw else -1


def _name(memory: Memory, at: int) -> str:
    raw = memory.read(at, MAX_NAME) or memory.read(at, 16)
    return raw.partition(b"\0")[0].decode("latin-1")


def _fields(memory: Memory, table: int) -> dict[str, int]:
    """Offset within its structure, or address of what is static, by our name."""
    found: dict[str, int] = {}
    types: dict[int, bool] = {}
    wanted = {owner for owner, _ in _FIELDS}
    for n in range(MAX_ENTRIES):
        raw = memory.read(table + n * _ENTRY.size, _ENTRY.size)
        if not raw:
            break
        owner, field, _, static, _, offset, address = _ENTRY.unpack(raw)
        if not owner:
            break
        if owner not in types:
            types[owner] = _name(memory, owner) in wanted
        if types[owner]:
            ours = _FIELDS.get((_name(memory, owner), _name(memory, field)))
            if ours:
                found[ours] = address if static else offset
    return found


def _threads(memory: Memory, fields: dict[str, int]) -> Iterator[int]:
    table = _word(memory, fields["list"])
    count = _number(memory, table + fields["length"])
    threads = _word(memory, table + fields["threads"])
    for n in range(min(count, FEW_THREADS)):
        yield _word(memory, threads + n * 8)


def _walk(memory: Memory, table: int) -> dict[str, int] | None:
    fields = _fields(memory, table)
    if set(_FIELDS.values()) - set(fields):
        return {}
    places = set(range(_SPECIFIC_KEYS))
    seen = 0
    for thread in _threads(memory, fields):
        pthread = _word(memory, _word(memory, thread + fields["osthread"]) + fields["pthread"])
        block = memory.read(pthread + _SPECIFIC_BLOCK, 16 * _SPECIFIC_KEYS) if pthread else b""
        if not block:
            continue
        seen += 1
        data = [value for _, value in struct.iter_unpack("<QQ", block)]
        places &= {key for key in places if data[key] == thread}
    if not seen:
        return None
    offsets = (fields["continuation"], fields["number"])
    if len(places) != 1 or not all(0 < offset < MAX_OFFSET for offset in offsets):
        return {}
    return {
        "java_thread": _SPECIFIC_BLOCK + 16 * places.pop() + 8,
        "java_continuation": fields["continuation"],
        "java_number": fields["number"],
    }
