"""The reading half of ``capture``, which tells the file's layout."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from typing import IO, Any

from otel_ebpf.errors import CaptureError
from otel_ebpf.events.content import Content
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


class CaptureReader:
    """Reads a capture: ``header`` at once, frames by iterating, once.

    A truncated or damaged file gives every frame before the damage and then raises.
    Memory is bounded by one frame, whatever the file claims.

    Args:
        file: a path or a binary file, which is left open.

    Attributes:
        header: the JSON object that the writer was given.
        name: what error messages call the file.

    Raises:
        CaptureError: no such file, no capture, another version, or damage; with the
            byte offset (of the uncompressed content).
    """

    def __init__(self, file: str | os.PathLike[str] | IO[bytes]) -> None:
        self._own: IO[bytes] | None = None
        if isinstance(file, (str, os.PathLike)):
            self.name = os.fspath(file)
            try:
                self._own = open(file, "rb")  # noqa: SIM115
            except OSError as error:
                raise CaptureError(
                    f"cannot read the capture: {error.strerror or error}",
                    where=self.name,
                    mend="give a file that `otel-ebpf record` wrote",
                ) from None
            self._bytes = Content(self._own)
        else:
            self.name = str(getattr(file, "name", "capture"))
            self._bytes = Content(file)
        try:
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        try:
            while True:
                start = self._bytes.offset
                kind, length = FRAME.unpack(self._take(FRAME.size, start, "a frame's head"))
                if length > MAX_PAYLOAD:
                    raise self._damaged(f"a frame claims {length} bytes", start)
                payload = self._take(length, start, "a frame")
                if kind == END:
                    if length or self._get(1):
                        raise self._damaged("bytes follow where the capture ends", start)
                    return
                yield self._decode(kind, payload, start)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> CaptureReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_header(self) -> dict[str, Any]:
        head = self._get(len(MAGIC) + 1)
        if not head.startswith(MAGIC) or len(head) == len(MAGIC):
            raise CaptureError(
                "this is not a capture",
                where=self.name,
                mend="give a file that `otel-ebpf record` wrote",
            )
        if head[-1] != VERSION:
            raise CaptureError(
                f"the capture has format version {head[-1]}; this program reads {VERSION}",
                where=self.name,
                mend="replay it with the otel-ebpf that recorded it",
            )
        start = self._bytes.offset
        (length,) = U32.unpack(self._take(4, start, "the header"))
        if length > MAX_PAYLOAD:
            raise self._damaged(f"the header claims {length} bytes", start)
        return self._object(self._take(length, start, "the header"), start)

    def _decode(self, kind: int, payload: bytes, start: int) -> Frame:
        if kind == BURST and len(payload) >= 4:
            return Burst(U32.unpack_from(payload)[0], payload[4:])
        if kind == WATERMARK and len(payload) == 8:
            return Watermark(U64.unpack(payload)[0])
        if kind == CLOCK and len(payload) == 16:
            return Clock(*TWO_U64.unpack(payload))
        if kind == PROCESS:
            return ProcessFrame(self._object(payload, start))
        if kind == STATS:
            return Stats(self._object(payload, start))
        raise self._damaged(f"no frame has type {kind} and {len(payload)} bytes", start)

    def _object(self, text: bytes, start: int) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"unreadable JSON ({type(error).__name__})", start) from None
        if not isinstance(value, dict):
            raise self._damaged("JSON that is no object", start)
        return value

    def _take(self, size: int, start: int, what: str) -> bytes:
        data = self._get(size)
        if len(data) < size:
            raise self._damaged(f"the file ends within {what}" if data else "no END", start)
        return data

    def _get(self, size: int) -> bytes:
        at = self._bytes.offset
        try:
            return self._bytes.take(size)
        except (OSError, zlib.error) as error:
            raise self._damaged(f"unreadable: {error}", at) from None

    def _damaged(self, what: str, offset: int) -> CaptureError:
        return CaptureError(
            f"the capture is truncated or damaged: {what}, at byte {offset}",
            where=self.name,
            mend="what came before it is whole and was replayed; record it again for the rest",
        )
