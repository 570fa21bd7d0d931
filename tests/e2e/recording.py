"""``otel-ebpf record`` of programs, and what it wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from otel_ebpf.events.capture import Burst, CaptureReader
from otel_ebpf.events.decode import Decoder
from tests.e2e.agent import Span, agent_command


@contextmanager
def recording(file: Path, pids: list[int], *words: str) -> Iterator[None]:
    """``otel-ebpf record`` of these processes and of this one."""
    for pid in (*pids, os.getpid()):
        words += ("--pid", str(pid))
    command = [*agent_command(), "record", *words, str(file)]
    agent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with agent:
        assert agent.stderr is not None
        try:
            for line in agent.stderr:
                if "ready" in line:
                    break
            else:
                raise AssertionError("the recording did not start")
            yield
        finally:
            agent.send_signal(signal.SIGINT)
            agent.communicate(timeout=60)


def recorded(file: Path) -> bytes:
    """Payloads, and the bytes that are kept of ends."""
    found = bytearray()
    with CaptureReader(file) as reader:
        for frame in reader:
            if isinstance(frame, Burst):
                for record in Decoder().feed(frame.data):
                    found += record.data + b"|" + record.tail + b"|"
    return bytes(found)


def replayed(file: Path) -> list[Span]:
    """Spans of a recording, with the internal calls."""
    command = [*agent_command(), "replay", "--internal-calls", "--output", "json", str(file)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
