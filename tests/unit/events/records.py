"""Records and bursts as the kernel half packs them, from named members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_ebpf.events.decode import Decoder, Record
from otel_ebpf.events.layout import BURST, DATA, FAMILY_IPV4, RECORD, RECORD_MEMBERS

_ADDRESS = {
    "netns": 1,
    "local_addr": bytes((127, 0, 0, 1)),
    "peer_addr": bytes((127, 0, 0, 1)),
    "local_port": 8080,
    "peer_port": 50000,
}


def pack(data: bytes = b"", **members: Any) -> bytes:
    """One record, 8-aligned. ``length`` is that of ``data`` unless it is given."""
    values: dict[str, Any] = {name: 0 for name, _ in RECORD_MEMBERS}
    values |= {"tail": b"", "type": DATA, "family": FAMILY_IPV4, "segments": 1, **_ADDRESS}
    values |= {"data_len": len(data), "length": len(data), "end_ts": members.get("ts", 0)}
    size = (RECORD.size + len(data) + 7) & ~7
    values |= {"size": size, **members}
    return (RECORD.pack(*values.values()) + data).ljust(size, b"\0")


def burst(records: Sequence[bytes], *, cpu: int = 0, before: int = 0, seq: int = 0) -> bytes:
    """A burst of ``cpu``, which had written ``before`` records earlier."""
    data = b"".join(records)
    return BURST.pack(len(records), len(data), cpu, 0, seq, before, 0, 1) + data


def record(data: bytes = b"", **members: Any) -> Record:
    """One record, decoded."""
    [made] = Decoder().feed(burst([pack(data, **members)]))
    return made
