"""What cannot be read is said once a program, and counted by process."""

from __future__ import annotations

import os

import pytest

from otel_ebpf.doctor_process import Notes
from otel_ebpf.not_read import NotRead
from otel_ebpf.targets import Targets


def test_a_program_is_named_once_and_each_of_its_processes_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    quic = NotRead("QUIC", "its calls")
    for pid in (os.getpid(), os.getpid(), 1 << 22, (1 << 22) + 1):
        quic.speaks(pid)
    assert quic.ever == 3
    quic.ended(1 << 22)
    assert quic.now == {os.getpid(), (1 << 22) + 1}
    mine, gone = caplog.messages
    assert f"(process {os.getpid()}) cannot be read: its calls are missing" in mine
    assert "a program that has ended" in gone


def test_all_that_a_process_speaks_is_named_together() -> None:
    targets = Targets([], openssl=False)
    targets.start(Notes(), [])
    targets.speaks_quic(5)
    targets.has_kernel_tls(5)
    targets.has_kernel_tls(6)
    targets.stop()  # and so all of it was looked at
    assert targets.tls_not_readable() == {5: "TLS by the kernel, QUIC", 6: "TLS by the kernel"}
    counts = targets.stats()
    assert (counts["processes_with_quic"], counts["processes_with_kernel_tls"]) == (1, 2)
