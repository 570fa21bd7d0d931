"""Where a position-independent program was loaded, from the kernel's own note to it.

The auxiliary vector holds the address of the program's entry point; less the entry point
as linked, that is what must be added to every address of the file. Source: getauxval(3).
"""

from __future__ import annotations

import struct

from otel_ebpf.discovery.procfs import ProcFs

_AT_ENTRY = 9
_MAX = 4096
_PAGE = 4096


def load_bias(pid: int, entry: int, proc: ProcFs | None = None) -> int | None:
    """Bytes to add to the file's addresses in this process.

    ``entry`` is the file's entry point as linked. None when the process is gone or may
    not be read, or what is read makes no sense.
    """
    raw = (proc or ProcFs()).read(pid, "auxv", _MAX) or b""
    for kind, value in struct.iter_unpack("<QQ", raw[: len(raw) // 16 * 16]):
        if kind == _AT_ENTRY:
            bias = int(value) - entry
            return bias if bias >= 0 and bias % _PAGE == 0 else None
    return None
