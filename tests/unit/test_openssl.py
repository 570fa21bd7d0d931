"""Which copies of OpenSSL are probed, and for how long."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from otel_ebpf.discovery import openssl
from otel_ebpf.discovery.procfs import ProcFs
from otel_ebpf.errors import KernelError
from otel_ebpf.openssl import FIRST_LOOK, LINGER, OpenSsl

KEY, OTHER = (1, 2, 3, 4), (5, 6, 7, 8)


class Kernel:
    """Notes what is attached; refuses when told to."""

    def __init__(self) -> None:
        self.attached: dict[int, tuple[str, int, str, bool]] = {}
        self.refuses = False

    def attach_uprobe(
        self, path: str, offset: int, program: str, *, returns: bool = False, pid: int = 0
    ) -> int:
        if self.refuses:
            raise KernelError("refused")
        self.attached[len(self.attached) + 1] = (path, offset, program, returns)
        return len(self.attached)

    def detach_uprobe(self, *handles: int) -> None:
        for handle in handles:
            del self.attached[handle]


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[tuple[openssl.Key, str, str]]]:
    """What each process has mapped."""
    found: dict[int, list[tuple[openssl.Key, str, str]]] = {}
    places = ((10, "ssl_read_exit", True), (10, "ssl_read_enter", False))
    monkeypatch.setattr("otel_ebpf.openssl.mapped", lambda pid, _: found.get(pid, []))
    monkeypatch.setattr("otel_ebpf.openssl.places_of", lambda *_: places)
    monkeypatch.setattr("otel_ebpf.openssl.usual", lambda: [(OTHER, "/usual", "/usual")])
    return found


Maps = dict[int, list[tuple[openssl.Key, str, str]]]


def test_one_copy_is_probed_once_and_left_alone_after_its_last_process(maps: Maps) -> None:
    kernel = Kernel()
    follower = OpenSsl(kernel)
    maps[7] = maps[8] = [(KEY, "/lib", "/lib")]
    follower.runs(7, 0.0)
    follower.runs(8, 0.0)
    follower.forked(8, 9)
    assert list(kernel.attached.values()) == [
        ("/lib", 10, "ssl_read_exit", True),
        ("/lib", 10, "ssl_read_enter", False),
    ]
    assert (follower.processes, follower.uprobes) == (3, 2)
    for pid in (7, 8, 9):
        follower.tick(100.0)
        assert kernel.attached
        follower.ended(pid, 100.0)
    assert follower.next_look() == 100.0 + LINGER
    follower.tick(100.0 + LINGER)
    assert not kernel.attached and follower.uprobes == 0


def test_a_library_that_comes_later_is_found(maps: Maps) -> None:
    kernel = Kernel()
    follower = OpenSsl(kernel)
    follower.runs(7, 0.0)
    assert follower.next_look() == FIRST_LOOK
    maps[7] = [(KEY, "/lib", "/lib")]
    follower.tick(FIRST_LOOK)
    assert {path for path, *_ in kernel.attached.values()} == {"/lib"}
    # One that comes with a module, beside the interpreter's.
    maps[7] = [(KEY, "/lib", "/lib"), (OTHER, "/wheel", "/wheel")]
    when = follower.next_look()
    assert when is not None
    follower.tick(when)
    assert {path for path, *_ in kernel.attached.values()} == {"/lib", "/wheel"}


def test_looking_ends_and_begins_again_when_tls_is_spoken(maps: Maps) -> None:
    kernel = Kernel()
    follower = OpenSsl(kernel)
    follower.runs(7, 0.0)
    looks = 0
    while (when := follower.next_look()) is not None:
        follower.tick(when)
        looks += 1
    assert looks < 10
    follower.speaks_tls(7, 1000.0)
    assert follower.opaque == 1 and follower.opaque_now() == {7: ""}
    maps[7] = [(KEY, "/lib", "/lib")]
    follower.speaks_tls(7, 1000.0)
    assert kernel.attached and follower.opaque == 0 and not follower.opaque_now()


def test_where_everything_is_traced_the_host_s_copy_is_probed_at_once(maps: Maps) -> None:
    kernel = Kernel()
    follower = OpenSsl(kernel, always=True)
    assert {path for path, _, _, _ in kernel.attached.values()} == {"/usual"}
    follower.tick(1e9)
    assert kernel.attached


def test_a_refusal_is_said_once_and_counted(maps: Maps, caplog: pytest.LogCaptureFixture) -> None:
    kernel = Kernel()
    kernel.refuses = True
    follower = OpenSsl(kernel)
    maps[7] = maps[8] = [(KEY, "/proc/7/map_files/x", "/lib/libssl.so.3")]
    follower.runs(7, 0.0)
    follower.runs(8, 0.0)
    assert follower.refused == 1
    assert caplog.text.count("/lib/libssl.so.3") == 1


def test_the_running_interpreter_s_openssl_is_found_where_it_is() -> None:
    assert ssl.OPENSSL_VERSION_INFO >= (1, 1)
    found = openssl.mapped(os.getpid(), ProcFs())
    assert found
    for key, path, _ in found:
        places = openssl.places_of(key, path)
        programs = [program for _, program, _ in places]
        assert {"ssl_read_enter", "ssl_read_exit", "ssl_write_enter", "ssl_write_exit"} <= {
            *programs
        }
        # An end whose beginning was not seen does nothing; who sees a handshake sees all of it.
        assert [at_return for _, _, at_return in places] == sorted(
            (at_return for _, _, at_return in places), reverse=True
        )
        assert programs[-1] == "ssl_handshake_enter"


def test_a_process_without_it_has_none() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        found = openssl.mapped(child.pid, ProcFs())
        child.kill()
    assert not found
    assert openssl.mapped(1 << 22, ProcFs()) == []


def test_a_damaged_library_is_passed_by(tmp_path: Path) -> None:
    damaged = tmp_path / "libssl.so.3"
    damaged.write_bytes(b"\x7fELF" + bytes(100))
    assert list(openssl._with_openssl([(str(damaged), "x"), ("/nowhere", "y")])) == []
