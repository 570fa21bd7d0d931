"""HTTP requests as web servers hand them on to programs: CGI's variables (RFC 3875).

FastCGI and uwsgi carry them. The heads here can be asked like those of HTTP.
"""

from __future__ import annotations

import re

from .http1_head import HttpResponse, text

MAX_VARIABLES = 512
"""Variables of one request that are kept."""

_STATUS = re.compile(r"[1-9][0-9]{2}(?![0-9])")


class CgiRequest:
    """A request's variables.

    Attributes:
        variables: name -> value, as sent.
        method, target, scheme: of the HTTP request; ``target`` is path and query.
        version: empty; that of HTTP is the web server's matter.
        lower: the names of its HTTP headers, each as ``\\nname:``.
        chatter: 0; see ``base.PairingParser``.
    """

    __slots__ = ("lower", "method", "scheme", "target", "variables")

    version = ""
    chatter = 0

    def __init__(self, variables: dict[bytes, bytes]) -> None:
        self.variables = variables
        get = variables.get
        self.method = text(get(b"REQUEST_METHOD", b""))
        target = get(b"REQUEST_URI", b"")
        if not target:
            path = get(b"DOCUMENT_URI") or get(b"SCRIPT_NAME", b"") + get(b"PATH_INFO", b"")
            query = get(b"QUERY_STRING", b"")
            target = path + b"?" + query if query else path
        self.target = text(target)
        secure = get(b"HTTPS", b"").lower() in (b"on", b"1")
        self.scheme = text(get(b"REQUEST_SCHEME", b"")) or ("https" if secure else "http")
        names = (name[5:] for name in variables if name[:5] == b"HTTP_")
        self.lower = b"".join([b"\n" + n.lower().replace(b"_", b"-") + b":" for n in names])

    def __repr__(self) -> str:
        return f"CgiRequest({self.method!r}, {self.target!r})"

    def variable(self, name: bytes) -> str:
        """A variable's text, empty where there is none."""
        return text(self.variables.get(name, b""))

    def header(self, name: str) -> str | None:
        """The value of an HTTP header, or None."""
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        value = self.variables.get(key.encode("latin-1", "replace"))
        return None if value is None else text(value)

    def headers(self, name: str) -> list[str]:
        """The same as a list; web servers join several of one name."""
        value = self.header(name)
        return [] if value is None else [value]


class CgiResponse(HttpResponse):
    """A response's head; ``error`` as ``base.PairingParser`` asks for."""

    __slots__ = ("error",)

    def __init__(self, status: int, head: bytes, error: str = "") -> None:
        super().__init__(status, "", head)
        self.error = error


def cgi_response(head: bytes) -> CgiResponse:
    """From a program's header lines, whose end may be missing."""
    found = CgiResponse(0, b"CGI\r\n" + head)
    said = found.header("status")
    if said is None:
        found.status = 200 if found.header("location") is None else 302
    else:
        match = _STATUS.match(said)
        found.status = int(match[0]) if match else 0
    return found
