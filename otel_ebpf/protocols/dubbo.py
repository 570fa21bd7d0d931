"""Dubbo 2's protocol, seen from outside.

A header of 16 bytes tells what a message is, its number, which its answer repeats, and its length.
Both sides ask whether the other is alive. Triple, which Dubbo 3 speaks, is HTTP/2.
"""

from __future__ import annotations

from typing import Any

from .base import Message
from .by_key import ByKey
from .descriptor import Descriptor
from .dubbo_body import read_call, thrown
from .half import Half
from .packets import Packets
from .rpc import UNLESS_FAILED, RpcRequest, RpcResponse

SYSTEM = "dubbo"
HEADER = 16
KEPT = 4096
"""Most bytes kept of a message."""
LONGEST = 1 << 30
MAX_OUTSTANDING = 4096

_ASKS, _TWO_WAY, _EVENT, _WRITTEN = 0x80, 0x40, 0x20, 0x1F
_STATUSES = {
    20: "OK",
    30: "CLIENT_TIMEOUT",
    31: "SERVER_TIMEOUT",
    35: "CHANNEL_INACTIVE",
    40: "BAD_REQUEST",
    50: "BAD_RESPONSE",
    60: "SERVICE_NOT_FOUND",
    70: "SERVICE_ERROR",
    80: "SERVER_ERROR",
    90: "CLIENT_ERROR",
    100: "SERVER_THREADPOOL_EXHAUSTED_ERROR",
    105: "SERIALIZATION_ERROR",
}
_OK = 20
_SERVERS = {31, 70, 80, 100}
"""Statuses that are failures of the server's; others are the caller's, or the way's."""
_OWN = ("org.apache.dubbo.metadata.", "org.apache.dubbo.monitor.")
"""How services begin that only the library itself calls."""
VERSION = "otel_ebpf.dubbo.service_version"
WRITTEN = "otel_ebpf.dubbo.serialization"


def measure(head: bytes) -> int:
    """Length of the message that begins so; 0: more bytes are needed, -1: none does."""
    if not b"\xda\xbb".startswith(head[:2]) or (len(head) > 2 and not head[2] & _WRITTEN):
        return -1
    if len(head) < HEADER:
        return 0
    size = int.from_bytes(head[12:16], "big")
    return HEADER + size if size < LONGEST else -1


class DubboParser(ByKey):
    """One connection.

    Memory is bounded: ``MAX_OUTSTANDING`` calls, and ``KEPT`` bytes of a message each way.
    """

    __slots__ = ("_calls", "_doubtful", "_prefix")

    _requests: Packets
    _replies: Packets

    def __init__(self) -> None:
        super().__init__(Packets(measure, KEPT), Packets(measure, KEPT))
        self._calls: dict[bytes, Message] = {}
        """By number, the oldest first."""
        self._doubtful = 0
        """Serial number of the latest call that was asked before answers were lost."""
        self._prefix: dict[bool, tuple[bytes, int, Any]] = {}
        """By whether the client says it: the beginning of a header, read alone while lost."""

    def _resumes(self, half: Half, data: bytes, length: int, ts: int) -> bool:
        prefix = self._prefix.pop(half is self._requests, None)
        for before in (prefix, None):
            head = (before[0] if before else b"") + data[:HEADER]
            if measure(head) > 0:
                half.reset()
                half.lost = False
                if before:
                    half.feed(before[0], 0, before[1], before[2])
                return True
        if len(data) == length <= HEADER and not measure(data):
            self._prefix[half is self._requests] = data, ts, self._token
        return False

    def _lose(self, half: Half, desync: bool = True) -> None:
        super()._lose(half, desync)
        if half is self._replies:
            self._doubtful = self._serial

    # Messages

    def _unit(self, packets: Packets) -> None:
        data = packets.data
        if len(data) < HEADER or data[2] & _EVENT:  # is the other side alive, and the answer
            return
        asks = packets is self._requests
        if asks != bool(data[2] & _ASKS):  # the server calls back, and what it is told
            return
        if asks:
            self._call(packets, data)
        else:
            self._end(packets, data)

    def _call(self, packets: Packets, data: bytes) -> None:
        written = data[2] & _WRITTEN
        method, version = read_call(data[HEADER:], written)
        notes: dict[str, Any] = {}
        if version:
            notes[VERSION] = version
        if not method:
            notes[WRITTEN] = written
        own = UNLESS_FAILED if method.startswith(_OWN) else 0
        message = self._asked(
            packets, packets.size, RpcRequest(SYSTEM, method, notes=notes, chatter=own)
        )
        message.oneway = not data[2] & _TWO_WAY
        self._tell(message)
        if message.oneway:
            return
        number = data[4:12]
        before = self._calls.pop(number, None)
        if before is None and len(self._calls) >= MAX_OUTSTANDING:
            before = self._calls.pop(next(iter(self._calls)))
        if before is not None:
            self._give_up(before, "response_lost")
        self._calls[number] = message

    def _end(self, packets: Packets, data: bytes) -> None:
        request = self._calls.pop(data[4:12], None)
        if request is None:  # of a request that nobody saw
            return
        if request.stream > self._doubtful > 0:
            # Younger than a loss: those before it will hardly be answered any more.
            for number, other in list(self._calls.items()):
                if other.stream > self._doubtful:
                    break
                del self._calls[number]
                self._give_up(other, "response_lost")
            self._doubtful = 0
        message = self._answer_to(request, packets, packets.size, _answer(data))
        message.complete = True
        self._tell(message)

    def close(self, ts: int, error: str | None = None) -> list[Message]:
        """See ``base.Parser.close``."""
        self._calls.clear()
        return super().close(ts, error)


def _answer(data: bytes) -> RpcResponse:
    code = data[3]
    status = _STATUSES.get(code, str(code))
    if code != _OK:
        return RpcResponse(status, status, code in _STATUSES and code not in _SERVERS)
    return RpcResponse(status, thrown(data[HEADER:], data[2] & _WRITTEN))


PROTOCOL = Descriptor(name="dubbo", number=40, parser=DubboParser, pairs=True)
