"""What this kernel says of each program: tried one by one, attached nowhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel import sysbpf
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import Kernel

_KINDS = {
    sysbpf.TRACEPOINT: "tracepoint",
    sysbpf.RAW_TRACEPOINT: "raw tracepoint",
    sysbpf.KPROBE: "uprobe",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One program.

    Attributes:
        kind: where it is attached: ``tracepoint``, ``raw tracepoint`` or ``uprobe``.
        instructions: as compiled.
        verified: instructions that the verifier went through; the kernel's limit is a
            million. 0 where it does not tell.
        milliseconds: that it took.
        refused: the kernel's words, or "".
    """

    name: str
    kind: str
    instructions: int = 0
    verified: int = 0
    milliseconds: float = 0.0
    refused: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def list_programs(config: KernelConfig) -> list[Listed]:
    """Every program, loaded by itself and let go; in the order of their names.

    Raises:
        KernelError: there is nothing to list: no BCC, no type information, no maps.
    """
    kernel = Kernel(config)
    try:
        found = []
        for name, kind in sorted(kernel.kinds().items()):
            try:
                program = kernel.load_one(name)
            except KernelError as error:
                found.append(Listed(name, _KINDS[kind], refused=error.what))
                continue
            found.append(
                Listed(
                    name,
                    _KINDS[kind],
                    program.instructions,
                    kernel.verified(program),
                    round(program.seconds * 1000, 1),
                )
            )
        return found
    finally:
        kernel.close()
