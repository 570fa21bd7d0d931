"""Programs in the kernel: loaded, several at a time, and described."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import sysbpf
from otel_ebpf.kernel.compiled import INSTRUCTION, Compiled, Function
from otel_ebpf.kernel.parallel import each
from otel_ebpf.kernel.tables import Table

_LOG = 1 << 20
"""Bytes for what the verifier says of a program that it refuses."""
_SHOWN = 1500
_STATS = 4096
_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded program.

    Attributes:
        kind: number of enum bpf_prog_type.
        fd: its descriptor.
        instructions: as compiled.
        seconds: that the kernel took to verify it.
    """

    name: str
    kind: int
    fd: int
    instructions: int
    seconds: float


class Programs:
    """The functions of a compiled text, each loaded at its first use.

    Args:
        tables: the text's maps by their names, made already.
    """

    def __init__(self, compiled: Compiled, tables: Mapping[str, Table]) -> None:
        self._functions = {function.name: function for function in compiled.functions}
        self._map_names = [definition.name for definition in compiled.maps]
        self._maps = [tables[name].fd for name in self._map_names]
        self._loaded: dict[str, Program] = {}
        self._lock = threading.Lock()
        self.refused: dict[str, KernelError] = {}

    @property
    def loaded(self) -> list[Program]:
        """Those that are in the kernel, by name."""
        with self._lock:
            return sorted(self._loaded.values(), key=lambda program: program.name)

    @property
    def names(self) -> list[str]:
        """Every program that there is, loaded or not."""
        return list(self._functions)

    def uses(self, name: str, table: str) -> bool:
        """Whether a program, if there is one of this name, uses that map."""
        function = self._functions.get(name)
        return function is not None and any(
            self._map_names[index] == table for _, index in function.maps
        )

    def load(self, name: str, kind: int, expected_attach: int = 0) -> Program:
        """The program, loaded now if it was not.

        Raises:
            KernelError: there is none of that name, or the kernel refused it; with the
                verifier's last words.
        """
        with self._lock:
            known = self._loaded.get(name)
            function = self._functions.get(name)
        if known is not None:
            return known
        if function is None:
            raise KernelError(f"the BPF sources have no program {name}", mend="reinstall otel-ebpf")
        program = self._load(function, kind, expected_attach)
        with self._lock:
            known = self._loaded.setdefault(name, program)
        if known is not program:  # another thread was quicker
            os.close(program.fd)
        return known

    def load_all(
        self,
        wanted: Iterable[tuple[str, int]],
        expected_attach: int = 0,
        spared: Container[str] = (),
    ) -> None:
        """Load programs, (name, kind) each, on several processors.

        Args:
            spared: names of those that may be refused; they are in ``refused`` then.

        Raises:
            KernelError: as :meth:`load`.
        """

        def load(pair: tuple[str, int]) -> None:
            try:
                self.load(*pair, expected_attach)
            except KernelError as error:
                if pair[0] not in spared:
                    raise
                with self._lock:
                    self.refused[pair[0]] = error

        # The longest first: one that is begun last would be waited for alone.
        pairs = sorted(set(wanted), key=lambda pair: -self._length(pair[0]))
        tried = {*self._loaded, *self.refused}
        pairs = [pair for pair in pairs if pair[0] not in tried]
        threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)), len(pairs))
        each(load, pairs, threads)

    def verified(self, program: Program, expected_attach: int = 0) -> int:
        """Instructions that the verifier went through for a loaded program; 0 where the kernel
        does not tell. Kernels before 5.16 tell only as they load it: there it is loaded again.
        """
        _, count = sysbpf.program_info(program.fd)
        if count:
            return count
        log = bytearray(_STATS)
        code = self._functions[program.name].bound(self._maps)
        try:
            os.close(
                sysbpf.load_program(
                    program.kind,
                    code,
                    expected_attach=expected_attach,
                    log=log,
                    log_level=sysbpf.LOG_STATS,
                )
            )
        except OSError:
            return 0
        said = re.search(rb"processed (\d+) insns", log)
        return int(said[1]) if said else 0

    def close(self) -> None:
        """Let go of them. Those that are attached stay until they are detached."""
        with self._lock:
            while self._loaded:
                os.close(self._loaded.popitem()[1].fd)

    def _length(self, name: str) -> int:
        function = self._functions.get(name)
        return len(function.code) if function is not None else 0

    def _load(self, function: Function, kind: int, expected_attach: int) -> Program:
        code = function.bound(self._maps)
        begin = time.perf_counter()
        try:
            fd = sysbpf.load_program(
                kind, code, name=function.name, expected_attach=expected_attach
            )
        except OSError as error:
            raise self._refused(function, kind, code, expected_attach, error) from None
        taken = time.perf_counter() - begin
        return Program(function.name, kind, fd, len(code) // INSTRUCTION, taken)

    def _refused(
        self, function: Function, kind: int, code: bytes, expected_attach: int, error: OSError
    ) -> KernelError:
        """Asks again, for words."""
        log = bytearray(_LOG)
        try:
            os.close(
                sysbpf.load_program(
                    kind, code, name=function.name, expected_attach=expected_attach, log=log
                )
            )
        except OSError as again:
            error = again
        said = bytes(log).partition(b"\0")[0].decode(errors="replace").strip()
        return KernelError(
            f"the kernel refused the program {function.name}: "
            f"{error.strerror}\n{said[-_SHOWN:]}".rstrip(),
            where=f"bpf program {function.name}",
            mend="run `otel-ebpf doctor` as root to see what this kernel allows",
        )
