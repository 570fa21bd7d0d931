"""Writes a capture: all that reaches the pipeline, and what replaying it needs beside that."""

from __future__ import annotations

import os
import socket
import time

from otel_ebpf import __version__
from otel_ebpf.events.capture import CaptureWriter
from otel_ebpf.events.layout import LAYOUT
from otel_ebpf.metadata.process import Process
from otel_ebpf.recording.secrets import SecretlessWriter
from otel_ebpf.spans.clock import WallClock


class Recorder:
    """One capture file. Not for several threads.

    Args:
        path: of the file, as :class:`CaptureWriter` takes it.
        clock: tells the wall's time.
        keep_secrets: passwords and tokens are written too.

    Raises:
        OtelEbpfError: the file cannot be written.
    """

    def __init__(self, path: str, clock: WallClock, keep_secrets: bool) -> None:
        self._clock = clock
        self._written_offset = 0
        header = {
            "agent": __version__,
            "layout": LAYOUT,
            "host": socket.gethostname(),
            "kernel": os.uname().release,
            "start": clock.to_epoch(time.monotonic_ns()),
            "seed": int.from_bytes(os.urandom(6), "big"),
        }
        self._file = CaptureWriter(path, header)
        self._secretless = None if keep_secrets else SecretlessWriter(self._file)
        bursts = self._secretless or self._file
        self.burst, self.watermark = bursts.burst, bursts.watermark

    def tick(self) -> None:
        """Writes the wall's time where it has moved against the monotonic clock."""
        if self._clock.offset != self._written_offset:
            self._written_offset = self._clock.offset
            now = time.monotonic_ns()
            self._file.clock(now, self._clock.to_epoch(now))

    def described(self, process: Process) -> None:
        """A process that was met for the first time."""
        self._file.process(
            {
                "pid": process.pid,
                "start_ticks": process.start_ticks,
                "exe": process.exe,
                "language": process.language,
                "service_name": process.service_name,
                "attributes": process.attributes,
            }
        )

    def go_process(self, pid: int) -> None:
        """It runs a Go program."""
        self._file.process({"pid": pid, "go": True})

    def close(self, stats: dict[str, int]) -> None:
        """Nothing more will come; ``stats`` are the kernel half's."""
        if self._secretless is not None:
            self._secretless.finish()
        self._file.stats(stats)
        self._file.close()
