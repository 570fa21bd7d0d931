"""HTTP/1.x heads: start lines, header look-ups and what they say of the body.

Source: RFC 9112 (message syntax and framing), RFC 9110 (fields and methods). A tracer
reads what real programs accept, so bare LF line ends, obs-fold and unencoded spaces in a
request target are understood; nothing here raises on any bytes.
"""

from __future__ import annotations

import re

MAX_VALUES = 128
"""The most values that ``headers()`` gives for one name."""

NO_FRAMING = -1
"""``body_framing``: neither Content-Length nor Transfer-Encoding."""
CHUNKED = -2
"""``body_framing``: chunked is the final transfer coding."""
UNTIL_CLOSE = -3
"""``body_framing``: a transfer coding that only the end of the connection ends."""
BAD_FRAMING = -4
"""``body_framing``: contradictory or malformed; the end cannot be computed."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}"
REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([^\x00-\x20\x7f]+) HTTP/1\.([0-9])\r?\n")
STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: [^\r\n]*)?\r?\n")
CUT_REQUEST_LINE = re.compile(
    rb"(" + _TOKEN + rb") ([^\x00-\x20\x7f]+)(?: (?:H[TP/]{0,4}(?:1\.?([0-9])?\r?)?)?)?\Z"
)
"""A request line without its end: the target may be cut too."""
CUT_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?:[ \r][^\n]*)?\Z")
_METHOD_START = re.compile(_TOKEN + rb"(?: [^\x00\n]*)?\Z")
KNOWN_METHOD = re.compile(rb"(?:GET|POST|PUT|HEAD|DELETE|OPTIONS|PATCH|CONNECT|TRACE) [/h*\w]")
METHODS = {
    b"GET": "GET",
    b"POST": "POST",
    b"PUT": "PUT",
    b"HEAD": "HEAD",
    b"DELETE": "DELETE",
    b"OPTIONS": "OPTIONS",
    b"PATCH": "PATCH",
    b"CONNECT": "CONNECT",
    b"TRACE": "TRACE",
}
"""The registered methods of RFC 9110 and RFC 5789."""
PREFACE_LINE = b"PRI * HTTP/2.0\r\n"
"""First line of the HTTP/2 connection preface (RFC 9113, 3.4)."""


def text(value: bytes) -> str:
    """UTF-8 where it is valid, else Latin-1: never fails, never loses a byte's value."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


class Section:
    """What the header section of a request says. Requests whose sections are the same
    bytes share one, so that whoever learns something from it need not do so again.

    Attributes:
        framing: as ``body_framing`` tells it.
        carries: a trace context may be in it.
    """

    __slots__ = ("carries", "framing")

    def __init__(self, framing: int, carries: bool) -> None:
        self.framing = framing
        self.carries = carries


class _Head:
    """Header access over the raw bytes; nothing is parsed until it is asked for."""

    __slots__ = ("head", "lower", "version")

    head: bytes
    lower: bytes
    version: str

    def __getattr__(self, name: str) -> bytes:
        # Only for what is not set yet: most heads are never searched.
        if name != "lower":
            raise AttributeError(name)
        lower = self.lower = self.head.lower()
        return lower

    def header(self, name: str) -> str | None:
        """First value of ``name`` (any case), or None.

        A header whose line was cut by truncation does not count as seen.
        """
        key = b"\n" + name.lower().encode("latin-1", "replace") + b":"
        at = self.lower.find(key)
        if at < 0:
            return None
        value = self._value(at + len(key))
        return None if value is None else text(value)

    def headers(self, name: str) -> list[str]:
        """Every value of ``name`` in order, at most ``MAX_VALUES``."""
        key = b"\n" + name.lower().encode("latin-1", "replace") + b":"
        values: list[str] = []
        at = self.lower.find(key)
        while at >= 0 and len(values) < MAX_VALUES:
            at += len(key)
            value = self._value(at)
            if value is None:
                break
            values.append(text(value))
            at = self.lower.find(key, at)
        return values

    def _value(self, start: int) -> bytes | None:
        head = self.head
        end = head.find(b"\n", start)
        if end < 0:
            return None
        if head[end + 1 : end + 2] not in (b" ", b"\t"):
            return head[start:end].strip(b" \t\r")
        while head[end + 1 : end + 2] in (b" ", b"\t"):
            end = head.find(b"\n", end + 1)
            if end < 0:
                return None
        # Not a regular expression: this must stay linear on kilobytes of spaces.
        return b" ".join(part.strip(b" \t\r") for part in head[start:end].split(b"\n")).strip()


class HttpRequest(_Head):
    """A request's head.

    Attributes:
        method: as sent (``GET``); target: origin, absolute, authority or asterisk form.
        version: ``"1.1"``, ``"1.0"``; empty when the line was cut before it.
        head: the captured bytes of the head, bounded; lower: the same in lower case.
        section: what is known of its headers, when they were all seen at once; else None.
    """

    __slots__ = ("method", "section", "target")

    scheme = ""
    """Not in the head; HTTP/2's says it."""

    def __init__(
        self, method: str, target: str, version: str, head: bytes, section: Section | None = None
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.head = head
        self.section = section

    def asking(self, target: str) -> HttpRequest:
        """The same head with another target."""
        return HttpRequest(self.method, target, self.version, self.head)

    def __repr__(self) -> str:
        return f"HttpRequest({self.method!r}, {self.target!r}, {self.version!r})"


class HttpResponse(_Head):
    """A response's head: ``status`` 100-999, ``version``, ``head`` bytes and ``lower``."""

    __slots__ = ("status",)

    def __init__(self, status: int, version: str, head: bytes) -> None:
        self.status = status
        self.version = version
        self.head = head

    def __repr__(self) -> str:
        return f"HttpResponse({self.status}, {self.version!r})"


def loose_request_line(line: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Method, target and minor version of a line whose target holds spaces.

    Such a line is wrong, but clients send it and servers answer it.
    """
    method, _, rest = line.rstrip(b" \t\r\n").partition(b" ")
    target, _, version = rest.rpartition(b" ")
    target = target.strip(b" ")
    if not (method.isalpha() and method.isupper() and len(method) <= 32) or not target:
        return None
    if len(version) != 8 or version[:7] != b"HTTP/1." or not version[7:].isdigit():
        return None
    return None if b"\0" in target or b"\r" in target else (method, target, version[7:])


def head_end(data: bytes | bytearray, start: int) -> int:
    """Position after the empty line that ends a head, or -1. ``start``: a line's LF or before."""
    crlf = data.find(b"\n\r\n", start)
    if crlf < 0:
        bare = data.find(b"\n\n", start)
        return bare + 2 if bare >= 0 else -1
    bare = data.find(b"\n\n", start, crlf)
    return bare + 2 if bare >= 0 else crlf + 3


def could_start(kind: int, data: bytes | bytearray, strict: bool) -> bool:
    """Whether ``data``, which holds no whole line yet, may be the start of a head.

    ``kind``: 0 either, 1 request, 2 response. ``strict`` asks for a well-known method, for
    places where anything may begin (after bytes that were not understood).
    """
    if kind != 1 and b"HTTP/1."[: len(data)] == data[:7]:
        return True
    if kind == 2:
        return False
    if PREFACE_LINE.startswith(data[: len(PREFACE_LINE)]):
        return True
    if strict:
        word = bytes(data[:8]).partition(b" ")
        if word[1]:
            return word[0] in METHODS
        return any(method.startswith(word[0]) for method in METHODS)
    return _METHOD_START.match(data) is not None


def body_framing(head: _Head) -> int:
    """Body length in bytes, or one of the constants above (RFC 9112, 6.3)."""
    lower = head.lower
    at = lower.find(b"\ncontent-length:")
    if b"\ntransfer-encoding:" in lower:
        codings = [
            coding
            for value in head.headers("transfer-encoding")
            for coding in (part.strip().lower() for part in value.split(","))
            if coding and coding != "identity"
        ]
        if codings:
            return CHUNKED if codings[-1].partition(";")[0].strip() == "chunked" else UNTIL_CLOSE
    if at < 0:
        return NO_FRAMING
    # The usual head has one such line and no fold: cut it out without the general look-up.
    end = lower.find(b"\n", at + 16)
    value = lower[at + 16 : end].strip()
    if (
        value.isdigit()
        and len(value) < 19
        and lower.find(b"\ncontent-length:", end) < 0
        and lower[end + 1] not in b" \t"
    ):
        return int(value)
    return _content_length(head)


def cut_framing(head: HttpRequest | HttpResponse) -> int:
    """``body_framing`` by the whole lines of a head whose end was not captured."""
    raw = head.head
    lines = raw[: raw.rfind(b"\n") + 1] + b"\r\n"
    return body_framing(HttpResponse(0, head.version, lines))


def _content_length(head: _Head) -> int:
    """Several values are well only when they are the same one (RFC 9110, 8.6)."""
    found = {part.strip() for value in head.headers("content-length") for part in value.split(",")}
    if len(found) != 1:
        return BAD_FRAMING
    value = found.pop()
    if not (value.isascii() and value.isdigit()) or len(value) > 18:
        return BAD_FRAMING
    return int(value)
