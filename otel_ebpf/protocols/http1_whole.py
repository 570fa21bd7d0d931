"""Messages that are whole in one segment, as nearly all are: read without a parser's state.

Each function gives just what ``Http1Parser`` would, or None where that needs a closer look.
``tests/unit/protocols/test_whole.py`` compares the two.
"""

from __future__ import annotations

from .http1_body import DONE, ChunkedBody
from .http1_head import (
    CHUNKED,
    METHODS,
    NO_FRAMING,
    REQUEST_LINE,
    STATUS_LINE,
    HttpRequest,
    HttpResponse,
    body_framing,
    text,
)
from .http1_known import REQUESTS, RESPONSES, SECTIONS, learn_section, remember


def whole_request(data: bytes, length: int) -> HttpRequest | None:
    """The request that a segment of ``length`` bytes is, all of it and nothing more.

    ``data``: the captured beginning of the segment.
    """
    known = REQUESTS.get(data)
    if known is not None:
        return known if len(data) == length else None
    match = REQUEST_LINE.match(data)
    if match is None:
        return None
    line_end = match.end() - 1
    end = data.find(b"\n\r\n", line_end) + 3
    if end < 3:
        return None
    section = SECTIONS.get(data[line_end:end])
    if section is None and data.find(b"\n\n", line_end, end) >= 0:
        return None
    method, target, minor = match.groups()
    head = HttpRequest(
        METHODS.get(method) or text(method),
        text(target),
        "1.0" if minor == b"0" else "1.1",
        data[:end],
        section,
    )
    if section is None:
        section = learn_section(head, data[line_end:end])
    framing = section.framing
    if framing == NO_FRAMING:
        framing = 0
    if framing < 0 or end + framing != length or method == b"CONNECT":
        return None
    if not framing and len(data) == length:
        remember(REQUESTS, data, head)
    return head


def whole_response(data: bytes, length: int, method: str) -> HttpResponse | None:
    """The final response to a ``method`` request that a segment is, all of it; see
    ``whole_request``."""
    end = data.find(b"\n\r\n") + 3
    known = RESPONSES.get(data[:end])
    if known is None:
        match = STATUS_LINE.match(data)
        if match is None or end < 3 or data.find(b"\n\n", match.end() - 1, end) >= 0:
            return None
        minor, status = match.groups()
        head = HttpResponse(int(status), "1.0" if minor == b"0" else "1.1", data[:end])
        framing = body_framing(head)
        remember(RESPONSES, head.head, (head, framing))
    else:
        head, framing = known
    status_code = head.status
    if status_code < 200:
        return None
    if method == "HEAD" or status_code == 204 or status_code == 304:
        framing = 0
    if framing == CHUNKED:
        if len(data) == length and ChunkedBody().feed(data, end) == (length, DONE):
            return head
        return None
    return head if framing >= 0 and end + framing == length else None
