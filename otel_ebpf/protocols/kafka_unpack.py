"""Record batches unpacked, into as much memory as is allowed and no more."""

from __future__ import annotations

import zlib

import cramjam

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
NAMES = ("", "gzip", "snappy", "lz4", "zstd", "other", "other", "other")
"""By a batch's number for it."""
_FRAMED = b"\x82SNAPPY\0"
_FRAMED_HEADER = 16
"""Java's framing: behind it each block with its length."""


def unpack(how: int, data: bytes, most: int) -> bytes | None:
    """The first ``most`` bytes at most of what was packed; fewer where ``data`` was not captured
    whole, None where nothing can be had."""
    if how == GZIP:
        try:
            return zlib.decompressobj(31).decompress(data, most) if most > 0 else b""
        except zlib.error:
            return None
    if how == SNAPPY:
        return _snappy(data, most)
    if how in (LZ4, ZSTD):
        into = cramjam.lz4.decompress_into if how == LZ4 else cramjam.zstd.decompress_into
        out = bytearray(most)
        try:
            return bytes(out[: into(data, out)])
        except Exception:
            # There is no room for all of it, and nobody tells how far it came; or it was cut.
            return bytes(out) if any(out[:64]) else None
    return None


def _snappy(data: bytes, most: int) -> bytes | None:
    if not data.startswith(_FRAMED):
        return _block(data, most)
    parts = []
    at = _FRAMED_HEADER
    while at + 4 <= len(data) and most > 0:
        length = int.from_bytes(data[at : at + 4], "big")
        part = _block(data[at + 4 : at + 4 + length], most)
        if part is None:
            break
        parts.append(part)
        most -= len(part)
        at += 4 + length
    return b"".join(parts) if parts else None


def _block(data: bytes, most: int) -> bytes | None:
    """One block of snappy, which says its length first and has to fit as a whole."""
    size = shift = 0
    for byte in data[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if not 0 < size <= most:
        return None
    out = bytearray(size)
    try:
        return bytes(out[: cramjam.snappy.decompress_raw_into(data, out)])
    except Exception:
        return None
