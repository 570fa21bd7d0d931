"""Take out of a recording what belongs to the machine and not to the traffic."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from otel_ebpf.events.capture import (
    Burst,
    CaptureReader,
    CaptureWriter,
    Clock,
    ProcessFrame,
    Stats,
    Watermark,
)
from otel_ebpf.events.decode import Decoder
from otel_ebpf.events.layout import BURST, EXEC, EXIT, FORK, RECORD

_HOST = re.compile(r"(host|os|container|k8s)\.|process\.owner|process\.parent_pid")


def scrub(source: Path, target: Path) -> None:
    """Copy a capture without the host's names, its folders, and other processes' comings
    and goings. Records of the traffic stay as they are."""
    with CaptureReader(source) as reader:
        frames = list(reader)
    # What the agent meets includes programs that were not chosen.
    talked = {
        record.tgid
        for frame in frames
        if isinstance(frame, Burst)
        for record in Decoder().feed(frame.data)
        if record.type not in (EXEC, FORK, EXIT)
    }
    header = {**reader.header, "host": "host", "kernel": "linux", "start": 0}
    written: dict[int, int] = {}
    with CaptureWriter(target, header) as out:
        for frame in frames:
            match frame:
                case Burst(cpu, data):
                    kept = _kept(data, talked)
                    if kept:
                        before = written.get(cpu, 0)
                        written[cpu] = before + len(kept)
                        out.burst(cpu, _burst(cpu, kept, before))
                case Watermark(time):
                    out.watermark(time)
                case ProcessFrame(fields):
                    if fields.get("pid") in talked:
                        out.process(_process(fields))
                case Clock(monotonic, epoch):
                    out.clock(monotonic, epoch)
                case Stats(fields):
                    out.stats({name: fields[name] for name in ("burst_lost",) if name in fields})


def _kept(data: bytes, talked: set[int]) -> list[bytes]:
    kept, at = [], BURST.size
    for record in Decoder().feed(data):
        raw = data[at : at + record.size]
        at += record.size
        if record.tgid in talked and record.type not in (EXEC, FORK):
            if record.type == EXIT:
                raw = raw[: RECORD.size - 32] + bytes(32)
            kept.append(raw)
    return kept


def _burst(cpu: int, records: list[bytes], before: int) -> bytes:
    data = b"".join(records)
    return BURST.pack(len(records), len(data), cpu, 0, 0, before, 0, 1) + data


def _process(fields: dict[str, Any]) -> dict[str, Any]:
    attributes = fields.get("attributes")
    if not isinstance(attributes, dict):
        return fields
    clean = {k: _no_folder(v) for k, v in attributes.items() if not _HOST.match(k)}
    clean["service.instance.id"] = f"instance-{fields['pid']}"
    return {**fields, "exe": _no_folder(fields.get("exe", "")), "attributes": clean}


def _no_folder(value: Any) -> Any:
    return "/srv/" + value.rpartition("/")[2] if isinstance(value, str) and "/" in value else value
