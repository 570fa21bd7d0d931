"""Compiles BPF C with BCC: the program of a process of its own.

The only module that uses BCC. It runs as a child, for the compiler's libraries take
60 MB of memory that cannot be given back while they are loaded; nothing of the agent's
imports it. Input: a JSON object with ``text`` and ``cflags``. Output: a JSON line, empty
or an error's fields, and then the bytes of a :class:`Compiled`. Without a text the output
is BCC's version.
"""

from __future__ import annotations

import contextlib
import ctypes as ct
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel.binding import import_bcc
from otel_ebpf.kernel.compiled import (
    INSTRUCTION,
    MAP_BY_DESCRIPTOR,
    Compiled,
    Function,
    MapDefinition,
)
from otel_ebpf.kernel.kernel_calls import BY_ID, CALL, mend_calls
from otel_ebpf.kernel.loops import mend_loops

_LOAD_64 = 0x18
_COMPILER = ("libbcc", "libLLVM", "libclang", "libbpf")
_MEND = "reinstall otel-ebpf; if it stays, report it with `otel-ebpf doctor`"


def compile_text(text: str, cflags: list[str]) -> Compiled:
    """Compile one text. What the compiler says goes to descriptor 2.

    BCC makes the maps as it compiles; they go when this process ends.

    Raises:
        KernelError: no BCC, or the compiler refused.
    """
    bcc = import_bcc()
    try:
        module = bcc.BPF(text=text, cflags=cflags).module
    except Exception as error:  # BCC raises bare Exception
        raise KernelError(
            f"the BPF programs do not compile: {error}", where="bpf/main.c", mend=_MEND
        ) from None
    maps, indices = _maps(bcc.lib, module)
    return Compiled(maps, _functions(bcc.lib, module, indices), _files(Path(str(bcc.__file__))))


def _maps(lib: Any, module: int) -> tuple[tuple[MapDefinition, ...], dict[int, int]]:
    """The maps, and the index of each by the descriptor that it has here."""

    def ask(question: str, index: int, answer: Any = ct.c_size_t) -> Any:
        function = getattr(lib, question)
        function.argtypes, function.restype = [ct.c_void_p, ct.c_size_t], answer
        return function(module, index)

    lib.bpf_num_tables.argtypes, lib.bpf_num_tables.restype = [ct.c_void_p], ct.c_size_t
    found = []
    indices: dict[int, int] = {}
    for index in range(lib.bpf_num_tables(module)):
        indices[ask("bpf_table_fd_id", index, ct.c_int)] = index
        found.append(
            MapDefinition(
                ask("bpf_table_name", index, ct.c_char_p).decode(),
                ask("bpf_table_type_id", index, ct.c_int),
                ask("bpf_table_key_size_id", index),
                ask("bpf_table_leaf_size_id", index),
                ask("bpf_table_max_entries_id", index),
                ask("bpf_table_flags_id", index, ct.c_int),
                (ask("bpf_table_key_desc_id", index, ct.c_char_p) or b"").decode(),
                (ask("bpf_table_leaf_desc_id", index, ct.c_char_p) or b"").decode(),
            )
        )
    return tuple(found), indices


def _functions(lib: Any, module: int, indices: dict[int, int]) -> tuple[Function, ...]:
    found = []
    for index in range(lib.bpf_num_functions(module)):
        name = lib.bpf_function_name(module, index)
        size = lib.bpf_function_size(module, name)
        code = mend_calls(mend_loops(ct.string_at(lib.bpf_function_start(module, name), size)))
        found.append(Function(name.decode(), code, _used_maps(name.decode(), code, indices)))
    return tuple(found)


def _used_maps(name: str, code: bytes, indices: dict[int, int]) -> tuple[tuple[int, int], ...]:
    used = []
    second_half = False
    for at in range(len(code) // INSTRUCTION):
        if second_half:  # a 64-bit load has two places
            second_half = False
            continue
        operation, registers, _, number = struct.unpack_from("=BBhi", code, at * INSTRUCTION)
        source = registers >> 4
        second_half = operation == _LOAD_64
        if operation == _LOAD_64 and source == MAP_BY_DESCRIPTOR and number in indices:
            used.append((at, indices[number]))
        elif source and (operation == _LOAD_64 or (operation == CALL and source != BY_ID)):
            # A global variable, say, or a call of a function that was not inlined.
            raise KernelError(
                f"instruction {at} of {name} refers to something that is no map "
                f"({operation:#x}, {source}, {number})",
                where=f"bpf program {name}",
                mend=_MEND,
            )
    return tuple(used)


def _files(binding: Path) -> tuple[tuple[str, int, int], ...]:
    """What compiled: the libraries that are mapped here, and the binding."""
    paths = {str(binding)}
    for line in Path("/proc/self/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and os.path.basename(words[5]).startswith(_COMPILER):
            paths.add(words[5])
    found = []
    for path in sorted(paths):
        with contextlib.suppress(OSError):
            status = os.stat(path)
            found.append((path, status.st_size, status.st_mtime_ns))
    return tuple(found)


def main() -> None:
    """Serves one request."""
    # Libraries may print: the answer has a descriptor of its own.
    answer = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    try:
        if "text" in request:
            made = compile_text(request["text"], request["cflags"]).encode()
        else:
            made = str(getattr(import_bcc(), "__version__", "of unknown version")).encode()
        result = b"{}\n" + made
    except KernelError as error:
        fields = {"what": error.what, "where": error.where, "mend": error.mend}
        result = json.dumps(fields).encode() + b"\n"
    with open(answer, "wb") as out:
        out.write(result)
    # What BCC would do at its exit, the kernel does.
    os._exit(0)
