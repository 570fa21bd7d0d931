"""What an answer of Thrift says: a result, or that the call failed."""

from __future__ import annotations

from .rpc import DONE, RpcResponse
from .thrift_head import EXCEPTION, varint

_FAULTS = (
    *("UNKNOWN", "UNKNOWN_METHOD", "INVALID_MESSAGE_TYPE", "WRONG_METHOD_NAME"),
    *("BAD_SEQUENCE_ID", "MISSING_RESULT", "INTERNAL_ERROR", "PROTOCOL_ERROR"),
    *("INVALID_TRANSFORM", "INVALID_PROTOCOL", "UNSUPPORTED_CLIENT_TYPE"),
)
"""TApplicationException's types, by number."""
DECLARED = "exception"
"""``error.type`` where a method ended with an exception that its interface declares: which one
is a number there, its class is not told."""
FIELD = "otel_ebpf.thrift.exception_field"
_STRING, _I32, _COMPACT_I32, _COMPACT_STRING = 11, 8, 5, 8


def read_answer(kind: int, body: bytes, compact: bool) -> RpcResponse:
    """``body``: the beginning of the answer's struct."""
    if kind == EXCEPTION:
        fault = _fault(body, compact)
        name = _FAULTS[fault] if 0 <= fault < len(_FAULTS) else _FAULTS[0]
        return RpcResponse(name, name)
    number = _first_field(body, compact)
    if not number:
        return DONE
    return RpcResponse("", DECLARED, notes={FIELD: number})


def _first_field(body: bytes, compact: bool) -> int:
    """The number of the struct's first field, which is 0 for a result; 0 where there is none."""
    if not body or not body[0]:
        return 0
    if not compact:
        number = int.from_bytes(body[1:3], "big", signed=True) if len(body) > 2 else 0
    elif body[0] >> 4:
        number = body[0] >> 4
    else:
        number = varint(body, 1)[0] >> 1
    return max(number, 0)


def _fault(body: bytes, compact: bool) -> int:
    """TApplicationException's type, field 2 behind a message; 0 where it was not seen."""
    return _compact_fault(body) if compact else _binary_fault(body)


def _binary_fault(body: bytes) -> int:
    at = 0
    if body[:3] == bytes((_STRING, 0, 1)):
        at = 7 + int.from_bytes(body[3:7], "big")
    if body[at : at + 3] == bytes((_I32, 0, 2)) and len(body) >= at + 7:
        return int.from_bytes(body[at + 3 : at + 7], "big", signed=True)
    return 0


def _compact_fault(body: bytes) -> int:
    at, step = 0, 2
    if body[:1] == bytes((1 << 4 | _COMPACT_STRING,)):
        size, at = varint(body, 1)
        if at <= 0:
            return 0
        at, step = at + size, 1
    if body[at : at + 1] != bytes((step << 4 | _COMPACT_I32,)):
        return 0
    value, end = varint(body, at + 1)
    return value >> 1 if end > 0 else 0
