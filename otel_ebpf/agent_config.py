"""What an agent is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.preparation import Preparation


@dataclass(slots=True)
class AgentConfig:
    """What the command line and the environment ask for.

    Attributes:
        kernel: settings of the kernel half.
        preparation: of the kernel half, where it was begun already.
        pids: processes chosen by number; globs: by executable.
        output: as :func:`otel_ebpf.export.factory.make_exporter` takes it.
        record: capture file to write instead of exporting, or ""; keep_secrets: in it, too.
        command: program to start and to trace alone, or empty.
        go_identity: how goroutines are told apart, one of ``go_identity.WAYS``.
        go_http2: where HTTP/2 headers of Go programs come from, one of ``go_headers.WAYS``.
        openssl: read what goes through OpenSSL.
    """

    kernel: KernelConfig
    preparation: Preparation | None = None
    pids: list[int] = field(default_factory=list)
    globs: list[str] = field(default_factory=list)
    output: str = "auto"
    record: str = ""
    keep_secrets: bool = False
    command: list[str] = field(default_factory=list)
    go_identity: str = "auto"
    go_http2: str = "passive"
    openssl: bool = True
