"""A program that makes the calls on UDP sockets that a test names, one expression a line."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_uint64),
        ("len", ctypes.c_uint64),
    )


class Batch:
    """Buffers of one sendmmsg or recvmmsg; each message in two pieces."""

    def __init__(self, datas: list[bytes], first: int = 5) -> None:
        self.buffers = [ctypes.create_string_buffer(data, len(data)) for data in datas]
        self.iovs = (_Iovec * (2 * len(datas)))()
        self.messages = (_Message * len(datas))()
        self.names = [ctypes.create_string_buffer(128) for _ in datas]
        for n, buffer in enumerate(self.buffers):
            at, size = ctypes.addressof(buffer), len(datas[n])
            cut = min(first, size)
            self.iovs[2 * n] = _Iovec(at, cut)
            self.iovs[2 * n + 1] = _Iovec(at + cut, size - cut)
            self.messages[n].iov = ctypes.addressof(self.iovs[2 * n])
            self.messages[n].iovlen = 2


def sendmmsg(fd: int, datas: list[bytes]) -> int:
    batch = Batch(datas)
    return int(_libc.sendmmsg(fd, batch.messages, len(datas), 0))


def recvmmsg(fd: int, number: int, wait: int = 0x10000) -> int:
    """MSG_WAITFORONE, unless told otherwise."""
    batch = Batch([bytes(2000)] * number)
    for message, name in zip(batch.messages, batch.names, strict=True):
        message.name, message.namelen = ctypes.addressof(name), 128
    return int(_libc.recvmmsg(fd, batch.messages, number, wait, None))


def udp(address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A bound socket; a dual-stack one for ``::``."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if address == "::":
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind((address, port))
    return made


def fresh(address: str = "127.0.0.1", connected: Any = None) -> socket.socket:
    """A socket without a port, or connected."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if connected:
        made.connect(connected)
    return made


def failing(call: Any, *arguments: Any) -> int:
    """The errno with which a call fails."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


def in_child(call: Any, *arguments: Any) -> int:
    """Made by a forked process; its number."""
    pid = os.fork()
    if not pid:
        call(*arguments)
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


if __name__ == "__main__":
    names: dict[str, Any] = dict(globals())
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        left, sign, right = line.partition(":=")
        value = eval(right if sign else line, names)
        if sign:
            names[left.strip()] = value
        print("ok" if sign else repr(value), flush=True)
