"""The compiled programs, from wherever they come quickest."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from otel_ebpf import __version__
from otel_ebpf.errors import KernelError
from otel_ebpf.kernel.btf import Btf
from otel_ebpf.kernel.cache import ProgramCache, cache_key, folders
from otel_ebpf.kernel.compiled import Compiled
from otel_ebpf.kernel.compiler import Compilation
from otel_ebpf.kernel.config import KernelConfig, check_neighbours
from otel_ebpf.kernel.offsets import kernel_offsets
from otel_ebpf.kernel.paths import bpf_dir
from otel_ebpf.kernel.source import divide, flatten

# Debug information is a third of the compile time, and nothing reads it.
FLAGS = (
    "-g0",
    "-Wno-unused-function",
    "-Wno-macro-redefined",
    "-Wno-unknown-attributes",
)
MOST_PARTS = 4
"""Compilers side by side; each takes 60 MB besides what they share."""
HEADERS = "BCC_KERNEL_SOURCE"
"""Names a folder of kernel headers, in place of the shim that comes with the sources."""


class Materials:
    """What a kernel half is made of: offsets and programs.

    It begins at once. Errors are kept for ``finish``, so that those of what a user typed
    can come first.
    """

    def __init__(self, config: KernelConfig) -> None:
        self._error: KernelError | None = None
        self._offsets: dict[str, int] = {}
        self._programs: Obtaining | None = None
        try:
            btf = Btf.load()
            self._offsets = kernel_offsets(btf)
            check_neighbours(self._offsets)
            flags = config.cflags() + config.task_cflags(self._offsets)
            flags += config.memory_cflags(btf)
            self._programs = Obtaining(bpf_dir(), flags)
        except KernelError as error:
            self._error = error

    def finish(self) -> tuple[dict[str, int], Compiled]:
        """Offsets of the kernel's structures, and the programs.

        Raises:
            KernelError: no type information, no BCC, or sources that do not compile.
        """
        if self._programs is None:
            raise self._error or KernelError("nothing was begun")
        return self._offsets, self._programs.result()

    def cancel(self) -> None:
        """Makes a ``finish`` that another thread waits in end soon, with an error."""
        if self._programs is not None:
            self._programs.cancel()

    def close(self) -> None:
        """Ends what goes on, when it is not wanted any more."""
        if self._programs is not None:
            self._programs.close()


class Obtaining:
    """Begins at once, in child processes where something is to be compiled; ``result`` waits.

    Args:
        sources: the folder of BPF sources.
        cflags: definitions for the compiler.
        env: the environment.

    Attributes:
        cached: whether they were kept from an earlier start.

    Raises:
        KernelError: the sources cannot be read.
    """

    def __init__(
        self, sources: Path, cflags: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        env = os.environ if env is None else env
        text, shim = flatten(sources, "main.c"), sources / "shim"
        flags = [*FLAGS, *cflags]
        self._cache: ProgramCache | None = None
        self._compiled: Compiled | None = None
        self._compilations: list[Compilation] = []
        if HEADERS not in env:  # headers of somebody else's may change without a trace
            self._cache, _ = ProgramCache.open(folders(env, os.geteuid()))
        if self._cache is not None:
            self._key = cache_key(_parts(text, flags, shim))
            self._compiled = self._cache.load(self._key)
        self.cached = self._compiled is not None
        if self._compiled is None:
            headers = env.get(HEADERS, str(shim))
            child_env = {**env, HEADERS: headers}
            # The optimizer takes most of the time, and takes each program by itself.
            parts = min(MOST_PARTS, len(os.sched_getaffinity(0)))
            for part in divide(text, parts):
                self._compilations.append(Compilation(part, flags, child_env))

    def result(self) -> Compiled:
        """The programs.

        Raises:
            KernelError: BCC is missing, or refused the sources.
        """
        try:
            if self._compilations:
                parts = [compilation.result() for compilation in self._compilations]
                self._compiled = Compiled.joined(parts)
                if self._cache is not None:
                    self._cache.store(self._key, self._compiled)
        finally:
            self.close()
        assert self._compiled is not None
        return self._compiled

    def cancel(self) -> None:
        """Makes a ``result`` that another thread waits in end soon, with an error."""
        for compilation in self._compilations:
            compilation.cancel()

    def close(self) -> None:
        """Ends what goes on; for one whose result is not wanted any more."""
        for compilation in self._compilations:
            compilation.close()
        if self._cache is not None:
            self._cache.close()
            self._cache = None


def _parts(text: str, flags: Sequence[str], shim: Path) -> list[bytes]:
    """All that the result depends on and that can be known without the compiler."""
    parts = [__version__, platform.machine(), platform.release(), text, *flags]
    found = [part.encode() for part in parts]
    # The kernel's release: BCC asks it which helpers there are.
    for module in ("compile", "compiled", "loops"):  # what is done with BCC's answer
        found.append(Path(__file__).with_name(f"{module}.py").read_bytes())
    for header in sorted(shim.rglob("*.h")):
        found += [header.relative_to(shim).as_posix().encode(), header.read_bytes()]
    return found


def main() -> None:
    """Compiles for this host ahead of the first start, which then finds it kept.

    Where that cannot be, the first start says why, or does without.
    """
    with contextlib.suppress(KernelError):
        Materials(KernelConfig()).finish()


if __name__ == "__main__":
    main()
