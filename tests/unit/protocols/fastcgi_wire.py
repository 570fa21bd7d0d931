"""FastCGI's records, as tests write them."""

from __future__ import annotations


def record(kind: int, content: bytes = b"", request: int = 1, padding: int = 0) -> bytes:
    """One record."""
    head = bytes([1, kind]) + request.to_bytes(2, "big") + len(content).to_bytes(2, "big")
    return head + bytes([padding, 0]) + content + bytes(padding)


def begin(request: int = 1, keep: bool = False) -> bytes:
    """BEGIN_REQUEST of a responder."""
    return record(1, bytes([0, 1, keep, 0, 0, 0, 0, 0]), request)


def length(n: int) -> bytes:
    """Of a name or value."""
    return bytes([n]) if n < 128 else (n | 1 << 31).to_bytes(4, "big")


def pairs(values: dict[str, str]) -> bytes:
    """Of a PARAMS stream."""
    return b"".join(
        length(len(k)) + length(len(v)) + k.encode() + v.encode() for k, v in values.items()
    )


def variables(target: str = "/a?b=1", method: str = "GET", **more: str) -> dict[str, str]:
    """What a web server says of a request."""
    return {"REQUEST_METHOD": method, "REQUEST_URI": target, "HTTP_HOST": "shop:8080", **more}


def ask(target: str = "/a?b=1", request: int = 1, method: str = "GET", **more: str) -> bytes:
    """A whole request without a body."""
    given = pairs(variables(target, method, **more))
    return (
        begin(request)
        + record(4, given, request, padding=-len(given) % 8)
        + record(4, b"", request)
        + record(5, b"", request)
    )


def end(request: int = 1, exit_status: int = 0, status: int = 0) -> bytes:
    """END_REQUEST."""
    return record(3, exit_status.to_bytes(4, "big") + bytes([status, 0, 0, 0]), request)


def answer(output: bytes, request: int = 1) -> bytes:
    """A whole answer."""
    return record(6, output, request, padding=-len(output) % 8) + end(request)
