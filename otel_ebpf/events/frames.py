"""The kinds of frame in a capture file; ``capture`` tells the layout."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

MAGIC = b"otel-ebpf capture\n"
VERSION = 1
BURST, WATERMARK, PROCESS, CLOCK, STATS, END = 1, 2, 3, 4, 5, 0x7F

FRAME = struct.Struct("<BI")
"""Type and length of the payload."""
U32, U64, TWO_U64 = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<QQ")

MAX_PAYLOAD = 16 << 20
"""Bytes. A frame that claims more is damage, not data."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Records of one CPU, as the kernel packed them."""

    cpu: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Watermark:
    """All records before this monotonic nanosecond have been given."""

    time: int


@dataclass(frozen=True, slots=True)
class ProcessFrame:
    """What was known of one process when it was met."""

    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Clock:
    """One moment on both clocks, in nanoseconds."""

    monotonic: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Stats:
    """The kernel side's counters."""

    fields: dict[str, Any]


Frame = Burst | Watermark | ProcessFrame | Clock | Stats
