"""The compiled programs, from wherever they come quickest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otel_ebpf.kernel.compiled import Compiled
from otel_ebpf.kernel.compiler import Compilation
from otel_ebpf.kernel.source import flatten

# Debug information is a third of the compile time, and nothing reads it.
FLAGS = (
    "-g0",
    "-Wno-unused-function",
    "-Wno-macro-redefined",
    "-Wno-unknown-attributes",
)


class Obtaining:
    """Begins at once; ``result`` waits.

    Args:
        sources: the folder of BPF sources.
        cflags: definitions for the compiler.

    Raises:
        KernelError: the sources cannot be read.
    """

    def __init__(self, sources: Path, cflags: Sequence[str]) -> None:
        text = flatten(sources, "main.c")
        self._compilation = Compilation(text, [*FLAGS, *cflags], sources / "shim")

    def result(self) -> Compiled:
        """The programs.

        Raises:
            KernelError: BCC is missing, or refused the sources.
        """
        return self._compilation.result()
