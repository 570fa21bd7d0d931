"""Capture files: what was written is read, and damage is named without losing the rest."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.errors import CaptureError
from otel_ebpf.events.capture import (
    Burst,
    CaptureReader,
    CaptureWriter,
    Clock,
    Frame,
    ProcessFrame,
    Stats,
    Watermark,
)

HEADER = {"host": "büro", "kernel": "6.1.0", "agent": "0.1", "start": 1, "seed": "00ff"}

objects = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=4)
u64 = st.integers(0, 2**64 - 1)
frames = st.lists(
    st.one_of(
        st.builds(Burst, st.integers(0, 2**32 - 1), st.binary(max_size=300)),
        st.builds(Watermark, u64),
        st.builds(ProcessFrame, objects),
        st.builds(Clock, u64, u64),
        st.builds(Stats, objects),
    ),
    max_size=12,
)


def write(writer: CaptureWriter, frame: Frame) -> None:
    match frame:
        case Burst(cpu, data):
            writer.burst(cpu, data)
        case Watermark(time):
            writer.watermark(time)
        case ProcessFrame(fields):
            writer.process(fields)
        case Clock(monotonic, epoch):
            writer.clock(monotonic, epoch)
        case Stats(fields):
            writer.stats(fields)


def captured(content: list[Frame]) -> bytes:
    file = io.BytesIO()
    with CaptureWriter(file, HEADER) as writer:
        for frame in content:
            write(writer, frame)
    return file.getvalue()


def read(data: bytes) -> tuple[list[Frame], CaptureError | None]:
    got: list[Frame] = []
    try:
        for frame in CaptureReader(io.BytesIO(data)):
            got.append(frame)
    except CaptureError as error:
        return got, error
    return got, None


@given(frames)
def test_what_was_written_is_read(content: list[Frame]) -> None:
    data = captured(content)
    assert CaptureReader(io.BytesIO(data)).header == HEADER
    assert read(data) == (content, None)
    assert read(gzip.compress(data)) == (content, None)


@given(frames, st.data())
def test_a_cut_file_gives_every_whole_frame_and_then_says_where(
    content: list[Frame], draw: st.DataObject
) -> None:
    data = captured(content)
    cut = draw.draw(st.integers(0, len(data) - 1))
    got, error = read(data[:cut])
    assert error is not None
    assert got == content[: len(got)]
    # The next frame would not have fitted, so none that did was withheld.
    if len(got) < len(content):
        assert len(captured(content[: len(got) + 1])) - 5 > cut


@given(frames, st.data())
def test_damage_is_a_capture_error_or_another_value_and_nothing_else(
    content: list[Frame], draw: st.DataObject
) -> None:
    data = bytearray(captured(content))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    read(bytes(data))
    packed = bytearray(gzip.compress(bytes(data)))
    packed[draw.draw(st.integers(2, len(packed) - 1))] ^= draw.draw(st.integers(1, 255))
    read(bytes(packed))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_capture(data: bytes) -> None:
    got, error = read(data)
    assert got == [] and error is not None
    got, error = read(b"otel-ebpf capture\n\x01" + data)
    assert error is not None or got == []


def test_the_error_names_the_file_and_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "cut.capture"
    whole = captured([Watermark(7), Burst(1, b"abc")])
    path.write_bytes(whole[:-7])
    with CaptureReader(path) as reader:
        frames = iter(reader)
        assert next(frames) == Watermark(7)
        with pytest.raises(CaptureError) as caught:
            next(frames)
    start = len(whole) - 5 - (5 + 4 + 3)
    assert caught.value.where == str(path)
    assert f"at byte {start}" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a capture"),
        (b"PK\x03\x04 something else", "not a capture"),
        (b"otel-ebpf capture\n\x09", "format version 9"),
        (b"otel-ebpf capture\n\x01\xff\xff\xff\xff", "claims 4294967295 bytes"),
        (b"otel-ebpf capture\n\x01\x02\x00\x00\x00[]", "no object"),
        (b"otel-ebpf capture\n\x01\x02\x00\x00\x00{]", "unreadable JSON"),
    ],
)
def test_what_is_no_capture_is_refused_by_name(data: bytes, says: str) -> None:
    with pytest.raises(CaptureError, match=says):
        CaptureReader(io.BytesIO(data))


def test_missing_and_unwritable_files_are_capture_errors(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        CaptureReader(tmp_path / "none")
    with pytest.raises(CaptureError, match="No such file"):
        CaptureWriter(tmp_path / "none" / "file", {})
    with pytest.raises(CaptureError, match="Is a directory"):
        CaptureWriter(tmp_path, {})


def test_a_missing_end_is_said_after_the_last_frame() -> None:
    data = captured([Watermark(1), Watermark(2)])[:-5]
    got, error = read(data)
    assert got == [Watermark(1), Watermark(2)]
    assert error is not None and "no END" in str(error)


def test_gz_by_name_is_smaller_and_the_same_each_time(tmp_path: Path) -> None:
    def record(name: str) -> bytes:
        with CaptureWriter(tmp_path / name, HEADER) as writer:
            for number in range(200):
                writer.burst(number % 2, bytes(1000))
        return (tmp_path / name).read_bytes()

    first, again, plain = record("a.gz"), record("b.gz"), record("c")
    assert first == again
    assert len(first) < len(plain) / 20
    assert list(CaptureReader(tmp_path / "a.gz")) == list(CaptureReader(tmp_path / "c"))


def test_a_cut_or_damaged_gz_gives_what_comes_before(tmp_path: Path) -> None:
    path = tmp_path / "long.gz"
    with CaptureWriter(path, HEADER) as writer:
        for _ in range(300):
            writer.burst(0, os.urandom(500))
    data = path.read_bytes()
    total = 300
    cut, error = read(data[: len(data) // 2])
    assert error is not None and abs(len(cut) - total // 2) < 6
    broken = bytearray(data)
    broken[len(data) // 2 : len(data) // 2 + 64] = b"\xff" * 64
    # Random content is stored, not coded, so damage shows at the end: in gzip's own checksum.
    got, error = read(bytes(broken))
    assert error is not None and len(got) >= total // 2


def test_a_bomb_costs_no_memory() -> None:
    head = b"otel-ebpf capture\n\x01\x02\x00\x00\x00{}"
    bomb = gzip.compress(head + b"\x01\xff\xff\xff\x00" + bytes(64 << 20))
    tracemalloc.start()
    try:
        _, error = read(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error is not None
    assert peak < 48 << 20


def test_a_killed_writer_leaves_every_frame_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "killed"
    program = (
        "import sys\n"
        "from otel_ebpf.events.capture import CaptureWriter\n"
        "w = CaptureWriter(sys.argv[1], {})\n"
        "for n in range(50): w.watermark(n)\n"
        "print('written', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)
    got, error = read(path.read_bytes())
    assert got == [Watermark(n) for n in range(50)]
    assert error is not None and "no END" in str(error)


def test_an_exception_while_recording_leaves_no_end() -> None:
    file = io.BytesIO()
    with pytest.raises(ZeroDivisionError), CaptureWriter(file, {}) as writer:
        writer.watermark(1)
        raise ZeroDivisionError
    got, error = read(file.getvalue())
    assert got == [Watermark(1)]
    assert error is not None
