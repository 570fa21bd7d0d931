"""Real recordings, written again without their secrets, give the same spans."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from otel_ebpf.events.capture import (
    Burst,
    CaptureReader,
    CaptureWriter,
    Clock,
    ProcessFrame,
    Stats,
    Watermark,
)
from otel_ebpf.recording.secrets import SecretlessWriter
from tests.captures.replaying import command
from tests.e2e.agent import TRUTH_ENV

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
SECRETS = {"mqtt": b"s3cr3t-password", "nats": b"s3cr3t-password"}
NAMES = ("amqp", "mongodb", "mqtt", "mysql", "nats", "postgresql", "redis", "web", "all-services")


def written_again(source: Path, target: Path) -> bytes:
    """Without secrets. Returns the bytes of all bursts."""
    data = b""
    with CaptureReader(source) as reader, CaptureWriter(target, reader.header) as out:
        writer = SecretlessWriter(out)
        for frame in reader:
            match frame:
                case Burst(cpu, burst):
                    writer.burst(cpu, burst)
                case Watermark(time):
                    writer.watermark(time)
                case ProcessFrame(fields):
                    out.process(fields)
                case Clock(monotonic, epoch):
                    out.clock(monotonic, epoch)
                case Stats(fields):
                    writer.finish()
                    out.stats(fields)
        writer.finish()
    with CaptureReader(target) as reader:
        data = b"".join(frame.data for frame in reader if isinstance(frame, Burst))
    return data


@pytest.mark.parametrize("name", NAMES)
def test_spans_are_the_same(name: str, tmp_path: Path) -> None:
    source, target = CAPTURES / f"{name}.cap.gz", tmp_path / "again.cap"
    data = written_again(source, target)
    done = subprocess.run(
        [*command(), "replay", "--output", "json", target],
        capture_output=True,
        env={**os.environ, **TRUTH_ENV},
    )
    assert done.returncode == 0, done.stderr
    told = gzip.decompress((CAPTURES / f"{name}.jsonl.gz").read_bytes())
    assert sorted(done.stdout.splitlines()) == sorted(told.splitlines())
    if name in SECRETS:
        assert SECRETS[name] not in data
        assert SECRETS[name] in gzip.decompress(source.read_bytes())
