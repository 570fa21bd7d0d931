"""The capture file: what the kernel side gave, frame by frame, for replay.

Layout, all integers little-endian::

    magic    19 bytes   b"otel-ebpf capture\\n" and the format's version, 1
    header   u32 length, JSON object (host, kernel, agent version, start, id seed)
    frame    u8 type, u32 length of the payload, payload      (any number)
    END      a frame of type 0x7f without payload

    type 1 BURST      u32 cpu, then the records as the kernel packed them
         2 WATERMARK  u64 nanoseconds: everything earlier has been written
         3 PROCESS    JSON object
         4 CLOCK      u64 monotonic, u64 epoch nanoseconds, of one moment
         5 STATS      JSON object

A name that ends in ``.gz`` is compressed as a whole; readers tell by the content.
"""

from __future__ import annotations

import gzip
import json
import os
from types import TracebackType
from typing import IO, Any

from otel_ebpf.errors import CaptureError
from otel_ebpf.events.frames import (
    BURST,
    CLOCK,
    END,
    FRAME,
    MAGIC,
    MAX_PAYLOAD,
    PROCESS,
    STATS,
    TWO_U64,
    U32,
    U64,
    VERSION,
    WATERMARK,
    Burst,
    Clock,
    Frame,
    ProcessFrame,
    Stats,
    Watermark,
)
from otel_ebpf.events.reading import CaptureReader

__all__ = [
    "Burst",
    "CaptureReader",
    "CaptureWriter",
    "Clock",
    "Frame",
    "ProcessFrame",
    "Stats",
    "Watermark",
]

_FLUSH_BYTES = 64 << 10


class CaptureWriter:
    """Writes a capture as it happens; what was written survives a crash of the agent.

    A plain file has every frame in the kernel's hands at once. A compressed one is
    flushed at each 64 KiB of frames and at ``flush()``.

    Args:
        file: a path (``.gz`` compresses) or a binary file, which ``close`` leaves open.
        header: JSON-able facts of this recording.

    Raises:
        CaptureError: the file cannot be written.
    """

    def __init__(self, file: str | os.PathLike[str] | IO[bytes], header: dict[str, Any]) -> None:
        self.frames = 0
        self._pending = 0
        self._own: IO[bytes] | None = None
        self._gzip: gzip.GzipFile | None = None
        self._closed = False
        if isinstance(file, (str, os.PathLike)):
            self._name = os.fspath(file)
            try:
                self._own = open(file, "wb")  # noqa: SIM115
            except OSError as error:
                raise self._failed(error) from None
            self._out: IO[bytes] = self._own
            if self._name.endswith(".gz"):
                # No name and time within: the same recording gives the same bytes.
                self._gzip = gzip.GzipFile("", "wb", 6, self._own, mtime=0)
        else:
            self._name = str(getattr(file, "name", "capture"))
            self._out = file
        head = _json(header)
        self._write(MAGIC + bytes((VERSION,)) + U32.pack(len(head)) + head)
        self.flush()

    def burst(self, cpu: int, data: bytes) -> None:
        """One flush of a CPU's buffer."""
        self._frame(BURST, U32.pack(cpu) + data)

    def watermark(self, time: int) -> None:
        """Monotonic nanoseconds before which nothing more will come."""
        self._frame(WATERMARK, U64.pack(time))

    def process(self, fields: dict[str, Any]) -> None:
        """A process's identity, JSON-able."""
        self._frame(PROCESS, _json(fields))

    def clock(self, monotonic: int, epoch: int) -> None:
        """The same moment on both clocks, nanoseconds."""
        self._frame(CLOCK, TWO_U64.pack(monotonic, epoch))

    def stats(self, fields: dict[str, Any]) -> None:
        """Counters, JSON-able."""
        self._frame(STATS, _json(fields))

    def flush(self) -> None:
        """Give the kernel everything that was written so far."""
        self._pending = 0
        try:
            if self._gzip is not None:
                self._gzip.flush()
            self._out.flush()
        except OSError as error:
            raise self._failed(error) from None

    def close(self, *, complete: bool = True) -> None:
        """Write END and close the file, if it was opened here. May be called again.

        Without ``complete`` there is no END, and readers will say that the end is missing.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if complete:
                self._frame(END, b"")
            if self._gzip is not None:
                self._gzip.close()
            self._out.flush()
        except OSError as error:
            raise self._failed(error) from None
        finally:
            if self._own is not None:
                self._own.close()

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(complete=kind is None)

    def _frame(self, kind: int, payload: bytes) -> None:
        if len(payload) > MAX_PAYLOAD:
            raise CaptureError(
                f"a frame of {len(payload)} bytes is more than the format's {MAX_PAYLOAD}",
                where=self._name,
                mend="give the records in smaller bursts",
            )
        self._write(FRAME.pack(kind, len(payload)) + payload)
        self.frames += 1
        if self._gzip is None or self._pending >= _FLUSH_BYTES:
            self.flush()

    def _write(self, data: bytes) -> None:
        self._pending += len(data)
        try:
            (self._gzip or self._out).write(data)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> CaptureError:
        return CaptureError(
            f"cannot write the capture: {error.strerror or error}",
            where=self._name,
            mend="choose a folder that exists, may be written to and has room",
        )


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
