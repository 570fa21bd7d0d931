"""Where a CPython process keeps what tells its tasks apart.

`_PyRuntime` is an exported symbol of every CPython, stripped or not. From there the walk goes
to the thread state's place in thread-local storage, to the main interpreter, and through its
modules to asyncio's dict of running tasks. Offsets come from a table by minor version
(scripts/gen-python-offsets); every step is checked, and what does not fit gives nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cachetools import LRUCache

from otel_ebpf.discovery.elf import ElfError, ElfImage, identity
from otel_ebpf.discovery.memory import Mapping, Memory, mappings
from otel_ebpf.discovery.procfs import ProcFs

TABLE = Path(__file__).with_name("python_offsets.json")
_LIBRARY = re.compile(r"/libpython(\d+\.\d+)[^/]*\.so")
_MUSL = re.compile(r"/(ld-musl-|libc\.musl-)[^/]*\.so")
_NAMED = re.compile(r"/python(\d+\.\d+)$")
_FREE_THREADED = "_Py_DecRefShared"
_TYPES = {
    "list_type": "PyList_Type",
    "list_iterator_type": "PyListIter_Type",
    "tuple_type": "PyTuple_Type",
    "set_type": "PySet_Type",
    "cell_type": "PyCell_Type",
}
"""Members of struct python_info_t that are addresses of the interpreter's own types."""
_POOL_TYPES = {
    "work_type": (b"concurrent.futures.thread", b"_WorkItem"),
    "future_type": (b"concurrent.futures._base", b"Future"),
    "aio_future_type": (b"_asyncio", b"Future"),
}
"""Likewise, of types that are in a module: its name, and the type's. asyncio's is not needed."""
_SYMBOLS = ("_PyRuntime", "PyContext_Type", "Py_Version", _FREE_THREADED, *_TYPES.values())
COPY = "PyContext_CopyCurrent"
# struct pthread of glibc on x86-64: the first block of thread-specific data, {seq, data} each.
_SPECIFIC_BLOCK = 0x310
_SPECIFIC_KEYS = 32
_OB_TYPE, _TYPE_NAME, _TYPE_DICT, _MODULE_DICT = 8, 24, b"dict", 16
_DICT_KEYS = 32
_MAX_ENTRIES = 16384
_ASCII_COMPACT = 0x60  # bits of PyASCIIObject.state

_FILES: LRUCache[tuple[int, int, int, int], tuple[dict[str, int], int | None, str] | None]
_FILES = LRUCache(256)
"""What was read of a file: every process of a program maps the same, and is looked at often."""

FROM_TABLE = (
    "thread_interpreter",
    "thread_context",
    "task_context",
    "wakeup_self",
    "function_closure",
    "partial_args",
    "group_values",
    "thread_task",
    "future_awaited_by",
    "dict_keys_old",
    "frame_of_thread",
    "frame_within",
    "frame_previous",
    "frame_code",
    "frame_top",
    "frame_counts",
    "frame_locals",
    "code_locals",
    "object_values",
    "work_future",
    "future_callbacks",
    "tuple_items",
)
"""Members of struct python_info_t that are offsets of the table."""


@cache
def offsets_by_version() -> dict[str, dict[str, int]]:
    """Minor version ("3.11") -> name -> offset in bytes."""
    table: dict[str, dict[str, int]] = json.loads(TABLE.read_text())
    return table


def read_python(pid: int, proc: ProcFs | None = None) -> dict[str, int] | None:
    """Members of ``struct python_info_t``; None when this is no CPython that is known, or
    not yet: its runtime is not initialised. ``tasks`` is 0 until asyncio is imported.
    """
    proc = proc or ProcFs()
    found = _interpreter(pid, proc)
    if found is None:
        return None
    symbols, version = found
    known = offsets_by_version().get(version)
    if known is None or _for_musl(pid, proc):
        return None
    try:
        with Memory(pid, proc) as memory:
            return _walk(memory, symbols, known)
    except OSError:
        return None


def why_unknown(pid: int, proc: ProcFs | None = None) -> str:
    """What keeps ``read_python`` from an answer, in words."""
    proc = proc or ProcFs()
    found = _interpreter(pid, proc)
    if found is None:
        return "no CPython is found in it"
    _, version = found
    if version.endswith("t"):
        return f"CPython {version[:-1]} without the global lock lays out its objects otherwise"
    if version not in offsets_by_version():
        return f"the layout of CPython {version or 'of this version'} is not known"
    if _for_musl(pid, proc):
        return "with musl, where a thread keeps its state is not known"
    return "its interpreter has not begun"


def _interpreter(pid: int, proc: ProcFs) -> tuple[dict[str, int], str] | None:
    """Addresses of what is asked for, and the minor version."""
    for mapping in _candidates(pid, proc):
        try:
            found = _symbols(pid, mapping, proc)
        except (ElfError, OSError):
            continue
        if found is not None:
            return found
    return None


def _for_musl(pid: int, proc: ProcFs) -> bool:
    return any(_MUSL.search(mapping.path) for mapping in mappings(pid, proc))


def place_of_copies(pid: int, proc: ProcFs | None = None) -> tuple[str, int] | None:
    """(path, file offset) of the function that copies contexts, in the file that the process
    has mapped; None when it is not to be found."""
    proc = proc or ProcFs()
    for mapping in _candidates(pid, proc):
        path = _path(pid, mapping, proc)
        try:
            with ElfImage(path) as image:
                found = image.symbols(("_PyRuntime", COPY), ".dynsym", ".dynstr")
                at = image.file_offset(found[COPY].value) if len(found) == 2 else None
        except (ElfError, OSError):
            continue
        if at is not None:
            return path, at
    return None


def place_of_runtime(pid: int, proc: ProcFs | None = None) -> tuple[int, int]:
    """Addresses where ``_PyRuntime``, which holds the interpreter's lock, begins and ends in the
    process; (0, 0) when it is no CPython."""
    proc = proc or ProcFs()
    for mapping in _candidates(pid, proc):
        try:
            with ElfImage(_path(pid, mapping, proc)) as image:
                found = image.symbols(("_PyRuntime",), ".dynsym", ".dynstr").get("_PyRuntime")
                loads = [s.vaddr for s in image.segments if s.kind == "PT_LOAD" and s.offset == 0]
        except (ElfError, OSError):
            continue
        if found is not None:
            start = found.value + (mapping.start - (loads[0] & ~0xFFF) if loads else 0)
            return start, start + found.size
    return 0, 0


def _path(pid: int, mapping: Mapping, proc: ProcFs) -> str:
    return proc.path(pid, f"map_files/{mapping.start:x}-{mapping.end:x}")


def _candidates(pid: int, proc: ProcFs) -> Iterator[Mapping]:
    """First mappings of the files that may hold the interpreter: its library, else itself."""
    firsts: dict[int, Mapping] = {}
    for mapping in mappings(pid, proc):
        if mapping.offset == 0:
            firsts.setdefault(mapping.inode, mapping)
    exe = proc.exe(pid)
    for mapping in firsts.values():
        if _LIBRARY.search(mapping.path):
            yield mapping
    for mapping in firsts.values():
        if mapping.path.removesuffix(" (deleted)") == exe:
            yield mapping


def _symbols(pid: int, mapping: Mapping, proc: ProcFs) -> tuple[dict[str, int], str] | None:
    """Addresses in the process of what is asked for, and the minor version."""
    path = _path(pid, mapping, proc)
    file = identity(path)
    if file not in _FILES:
        _FILES[file] = _read_symbols(path)
    read = _FILES[file]
    if read is None:
        return None
    values, load, version = read
    bias = mapping.start - load if load is not None else 0
    named = _LIBRARY.search(mapping.path) or _NAMED.search(mapping.path)
    if not version and named is not None:
        version = named.group(1)
    return {name: value + bias for name, value in values.items()}, version


def _read_symbols(path: str | Path) -> tuple[dict[str, int], int | None, str] | None:
    """Values of the symbols in a file, the address that its beginning is linked for, and the
    version that it tells, "" if none. None: it is no interpreter."""
    with ElfImage(path) as image:
        found = image.symbols(_SYMBOLS, ".dynsym", ".dynstr")
        if "_PyRuntime" not in found or "PyContext_Type" not in found:
            return None
        loads = [s.vaddr for s in image.segments if s.kind == "PT_LOAD" and s.offset == 0]
        version = ""
        if "Py_Version" in found:  # since 3.11
            raw = image.bytes_at(found["Py_Version"].value, 4)
            version = f"{raw[3]}.{raw[2]}" if len(raw) == 4 else ""
    if _FREE_THREADED in found:  # objects are laid out otherwise, in no version that is known
        version += "t"
    values = {name: symbol.value for name, symbol in found.items()}
    return values, loads[0] & ~0xFFF if loads else None, version


def _walk(memory: Memory, symbols: dict[str, int], known: dict[str, int]) -> dict[str, int] | None:
    runtime = symbols["_PyRuntime"]
    key = memory.int32(runtime + known["runtime_tss_key"])
    interpreter = memory.word(runtime + known["runtime_main_interpreter"])
    if memory.int32(runtime + known["runtime_tss"]) != 1 or not 0 <= key < _SPECIFIC_KEYS:
        return None
    modules = memory.word(interpreter + known["interpreter_modules"])
    if not interpreter or _type_name(memory, modules) != _TYPE_DICT:
        return None
    old = bool(known["dict_keys_old"])
    tasks = 0
    module = dict_item(memory, modules, b"_asyncio", old)
    if module and known["thread_task"]:
        tasks = module
    elif module:
        tasks = dict_item(memory, memory.word(module + _MODULE_DICT), b"_current_tasks", old)
        if _type_name(memory, tasks) != _TYPE_DICT:
            tasks = 0
    return {
        "interpreter": interpreter,
        "context_type": symbols["PyContext_Type"],
        "tasks": tasks,
        "tls": _SPECIFIC_BLOCK + 16 * key + 8,
        **{name: known[name] for name in FROM_TABLE},
        **_pool_types(memory, symbols, modules, old),
    }


def _pool_types(memory: Memory, symbols: dict[str, int], modules: int, old: bool) -> dict[str, int]:
    """What is needed to tell for whom a worker of a pool works; nothing until the program has
    imported such pools."""
    found = {ours: symbols.get(theirs, 0) for ours, theirs in _TYPES.items()}
    for ours, (module, name) in _POOL_TYPES.items():
        thing = dict_item(memory, modules, module, old)
        place = memory.word(thing + _MODULE_DICT) if thing else 0
        found[ours] = dict_item(memory, place, name, old) if place else 0
    known = all(value for ours, value in found.items() if ours != "aio_future_type")
    return found if known else {}


def _type_name(memory: Memory, thing: int) -> bytes:
    kind = memory.word(thing + _OB_TYPE) if thing else 0
    return memory.text(memory.word(kind + _TYPE_NAME)) if kind else b""


def dict_item(memory: Memory, mapping: int, name: bytes, old: bool) -> int:
    """Address of the value of a plain ASCII key of a dict, 0 when it is not there.

    ``old`` tells the layout of a dict's keys before 3.11.
    """
    keys = memory.word(mapping + _DICT_KEYS) if mapping else 0
    header = memory.words(keys, 5)
    if not header:
        return 0
    if old:
        size, used, stride = header[1], header[4], 24
        width = 1 if size <= 0x80 else 2 if size <= 0x8000 else 4
        entries = keys + 40 + size * width
    else:
        index, kind, used = header[1] >> 8 & 0xFF, header[1] >> 16 & 0xFF, header[3]
        if index > 20:
            return 0
        entries, stride = keys + 32 + (1 << index), 16 if kind else 24
    if used > _MAX_ENTRIES:
        return 0
    table = memory.words(entries, used * stride // 8) if used else ()
    step = stride // 8
    for at in range(step - 2, len(table), step):
        if table[at] and _ascii(memory, table[at], len(name)) == name:
            return table[at + 1]
    return 0


def _ascii(memory: Memory, text: int, length: int) -> bytes:
    """The characters of a compact ASCII string of just that length, else b""."""
    head = memory.words(text, 5)
    if len(head) < 5 or head[2] != length:
        return b""
    if head[4] & _ASCII_COMPACT != _ASCII_COMPACT:
        return b""
    # Strings before 3.12 have a wide pointer behind the state.
    for start in (40, 48):
        data = memory.read(text + start, length + 1)
        if data[length:] == b"\0" and data[:length].isascii() and data[:1].strip(b"\0"):
            return data[:length]
    return b""
