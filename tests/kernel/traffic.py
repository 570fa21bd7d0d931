"""The known workload: a program that makes exactly the system calls that a test names."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from tests.cbuild import build_c

MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT, MSG_ERRQUEUE = 1, 2, 0x20, 0x40, 0x2000
REQUEST = b"GET /items?id=7 HTTP/1.1\r\nHost: a.example\r\nX-Pad: 0123456789\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@dataclass(frozen=True)
class Pair:
    """A connection inside one program: descriptors and ports of its ends."""

    client: int
    server: int
    client_port: int
    server_port: int
    listener: int


class Traffic:
    """A running ``tests/targets/c/traffic.c``.

    Args:
        through: command that starts it (``ip netns exec``, ``strace``...).
        pids: how many process numbers lie between ``through`` and the program.

    Attributes:
        pid: as the program itself sees it.
        errno: of the last call that failed.
    """

    def __init__(self, through: Sequence[str] = ()) -> None:
        self.errno = 0
        self.process = subprocess.Popen(
            [*through, str(build_c("traffic"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = int(self._reply()[0])

    def _reply(self) -> list[str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait(10)}"
        return line.split()

    def ask(self, *words: object) -> list[str]:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        return self._reply()

    def do(self, *words: object) -> int:
        """Makes one call. Returns what it returned; ``errno`` says why it failed."""
        ret, errno = (int(word) for word in self.ask(*words))
        self.errno = errno
        return ret

    def pair(self, kind: str) -> Pair:
        """``tcp4``, ``tcp6``, ``mapped`` (v4 client of a dual-stack listener), ``unix``
        (a listening socket) or ``socketpair``."""
        return Pair(*(int(word) for word in self.ask("pair", kind)))

    def send(
        self,
        call: str,
        fd: int,
        data: bytes | int,
        parts: Sequence[int] = (),
        prefix: Sequence[str] = (),
    ) -> int:
        """``data`` (or that many bytes of filler), cut into ``parts`` (buffers or messages)."""
        text = f"@{data}" if isinstance(data, int) else data.hex() or "@0"
        sizes = ",".join(map(str, parts)) or "-"
        return self.do(*prefix, "send", call, fd, text, sizes)

    def receive(
        self,
        call: str,
        fd: int,
        sizes: Sequence[int] = (65536,),
        flags: int = 0,
        prefix: Sequence[str] = (),
    ) -> int:
        """Into buffers of those sizes."""
        return self.do(*prefix, "receive", call, fd, ",".join(map(str, sizes)), flags)

    def receive_all(self, call: str, fd: int, length: int, sizes: Sequence[int] = (65536,)) -> None:
        """Receives until ``length`` bytes have come; not more than one call a segment."""
        at = self.do("queued", fd)
        while at < length:  # the loopback's own work is done by another thread at times
            at = self.do("queued", fd)
        got = 0
        while got < length:
            more = self.receive(call, fd, sizes)
            assert more > 0, f"{call}: {more}, errno {self.errno}"
            if call == "recvmmsg":  # answers with a number of messages
                got = length - self.do("queued", fd)
            else:
                got += more
        assert got == length

    def exchange(self, pair: Pair) -> None:
        """One plain request and its response."""
        assert self.send("write", pair.client, REQUEST) == len(REQUEST)
        assert self.receive("read", pair.server) == len(REQUEST)
        assert self.send("write", pair.server, RESPONSE) == len(RESPONSE)
        assert self.receive("read", pair.client) == len(RESPONSE)

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Traffic:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
