"""What the kernel half is told of Go processes, and when."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from otel_ebpf.discovery.processes import ProcessImage, classify
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.errors import KernelError
from otel_ebpf.go_processes import GoProcesses
from otel_ebpf.uprobes import Uprobes
from tests.gobuild import build_go

TARGET = Path(__file__).resolve().parents[1] / "targets" / "go" / "tlswrites"
TLS = "go_tls"


class Kernel:
    """Remembers what it was told, in order: programs of uprobes, and processes' members."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.told: list[str | dict[str, int]] = []

    def set_process(
        self, pid: int, members: dict[str, int], name_of_map: str = "proc_info_map"
    ) -> None:
        self.told.append(dict(members))

    def attach_uprobe(self, path: str, offset: int, program: str) -> int:
        if program == self.refuses:
            raise KernelError("refused", where=path)
        self.told.append(program)
        return len(self.told)

    def detach_uprobe(self, *handles: int) -> None:
        pass

    def armed(self) -> list[bool]:
        """Of each thing told: whether it has TLS told of."""
        return [
            isinstance(what, dict) and bool(what.get("tls_armed") or what.get("tls_write_end"))
            for what in self.told
        ]


@contextmanager
def running() -> Iterator[ProcessImage]:
    with subprocess.Popen([build_go(TARGET)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        try:
            assert p.stdout is not None and p.stdout.readline()
            image = classify(p.pid)
            assert image is not None and image.go is not None
            yield image
        finally:
            p.kill()


def processes(kernel: Kernel) -> GoProcesses:
    found = GoProcesses({}, "auto", "passive", ProcFs())
    found.start(kernel, Uprobes(kernel))
    return found


def apply(found: GoProcesses, image: ProcessImage) -> None:
    assert image.go is not None
    found.apply(image, image.go)


def test_tls_is_told_when_all_of_its_probes_are_there() -> None:
    """Of half of it a response would be taken for that of another request."""
    kernel = Kernel()
    found = processes(kernel)
    with running() as image, running() as other:
        apply(found, image)
        probes = [i for i, what in enumerate(kernel.told) if str(what).startswith(TLS)]
        assert len(probes) > 2, "Read has several ends"
        armed = kernel.armed()
        assert not any(armed[: probes[-1]])
        assert armed[-1]
        before = len(kernel.told)
        apply(found, other)
        assert kernel.armed()[before:] == [True], "the program's probes are there already"


@pytest.mark.parametrize("refused", ["go_tls_read_exit", "go_tls_handshake_enter"])
def test_tls_is_not_told_by_some_of_its_probes(refused: str) -> None:
    kernel = Kernel(refused)
    found = processes(kernel)
    with running() as image, suppress(KernelError):
        apply(found, image)
    assert kernel.told and not any(kernel.armed())
