"""What bytes the kernel half takes for FastCGI and uwsgi, its header compiled with gcc."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_ebpf.events.layout import MAYBE, NOTHING, REQUEST, RESPONSE

BPF = Path(__file__).resolve().parents[2] / "bpf"
COMPILER = shutil.which("gcc") or shutil.which("cc")
UNKNOWN, SERVER, CLIENT = range(3)

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")

_SOURCE = """
#define OTEL_EBPF_HOST_COMPILE
#include "infer_fastcgi.h"
#include "infer_uwsgi.h"
u8 uwsgi(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_uwsgi(p, n, towards, start);
}
u8 fastcgi(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	return infer_fastcgi(p, n, towards, start);
}
"""
Infer = Callable[..., int]


@pytest.fixture(scope="module")
def infer(tmp_path_factory: pytest.TempPathFactory) -> Infer:
    folder = tmp_path_factory.mktemp("infer")
    (folder / "infer.c").write_text(_SOURCE)
    assert COMPILER is not None
    command = [COMPILER, "-shared", "-fPIC", "-O2", "-I", str(BPF), "-o", str(folder / "infer.so")]
    subprocess.run([*command, str(folder / "infer.c")], check=True)
    library = ctypes.CDLL(str(folder / "infer.so"))

    def run(protocol: str, data: bytes, towards: int = UNKNOWN, start: bool = True) -> int:
        n = min(len(data), 16)
        function = getattr(library, protocol)
        function.argtypes = [ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint64]
        function.argtypes += [ctypes.c_uint64, ctypes.c_uint8, ctypes.c_bool]
        function.restype = ctypes.c_uint8
        return int(function(data[:16] + bytes(16 - n), n, len(data), 0, towards, start))

    return run


BEGIN = bytes((1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (BEGIN, REQUEST),
        (BEGIN + b"\x01\x04\0\1", REQUEST),
        (BEGIN[:8], MAYBE),  # php-fpm reads headers by themselves
        (BEGIN[:1], MAYBE),
        (BEGIN[:9] + b"\0" + BEGIN[10:], NOTHING),
        (BEGIN[:9] + b"\4" + BEGIN[10:], NOTHING),
        (BEGIN[:15] + b"\1", NOTHING),
        (BEGIN[:2] + bytes(2) + BEGIN[4:], NOTHING),
        (b"\1\4" + BEGIN[2:], NOTHING),
        (b"\1\6\0\1\0\4\4\0<p>a", NOTHING),
        (b"\1" + bytes(15), NOTHING),
    ],
)
def test_fastcgi_on_an_unknown_connection(infer: Infer, data: bytes, begins: int) -> None:
    assert infer("fastcgi", data) == begins


def test_fastcgi_on_a_known_one(infer: Infer) -> None:
    for start in (True, False):
        assert infer("fastcgi", BEGIN, SERVER, start) == REQUEST
        assert infer("fastcgi", BEGIN[:8], SERVER, start) == REQUEST
        assert infer("fastcgi", b"\1\4" + BEGIN[2:], SERVER, start) == NOTHING
        assert infer("fastcgi", b"\1\6" + BEGIN[2:], CLIENT, start) == (
            RESPONSE if start else NOTHING
        )


PACKET = b"\0\x40\1\0\x0c\0QUERY_STRING\0\0"


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (PACKET, REQUEST),
        (b"\x05" + PACKET[1:], REQUEST),  # Perl's
        (b"\0\x40\1\0\5\0HTTPS\2\0on.....", REQUEST),
        (PACKET[:4], MAYBE),  # uWSGI reads the header by itself
        (PACKET[:3], NOTHING),
        (PACKET[:10], NOTHING),
        (b"\0\x40\1\0\x0c\0Query_STRING\0\0", NOTHING),
        (b"\0\x40\1\0\x0c\1QUERY_STRING\0\0", NOTHING),
        (b"\0\x08\0\0\x0c\0QUERY_STRING\0\0", NOTHING),
        (b"\xc8" + PACKET[1:], NOTHING),
        (b"\0\0\0\x40", NOTHING),  # another protocol's length
        (b"\x40\0\0\0", NOTHING),
        (b"HTTP/1.1 200 OK\r\n", NOTHING),
    ],
)
def test_uwsgi_on_an_unknown_connection(infer: Infer, data: bytes, begins: int) -> None:
    assert infer("uwsgi", data) == begins


def test_random_and_compressed_bytes_begin_nothing(infer: Infer) -> None:
    generator = random.Random(1)
    packed = zlib.compress(bytes(generator.choices(range(64), k=1_000_000)))
    hits = 0
    for number in range(40_000):
        size = generator.choice((6, 8, 16, 24, 100))
        data = generator.randbytes(size)
        if number & 1:
            at = generator.randrange(len(packed) - size)
            data = packed[at : at + size]
        hits += infer("fastcgi", data) == REQUEST
        hits += infer("uwsgi", data) == REQUEST
    assert hits == 0
