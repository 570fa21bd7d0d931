"""Who asked, and for what, when a proxy stands in between (RFC 7239, X-Forwarded-*)."""

from __future__ import annotations

from collections.abc import Callable

from otel_ebpf.spans.authority import split_authority

Original = tuple[str, int | None, str, str]
"""Client address, client port, scheme and host; empty where the proxy did not say."""

_LONGEST = 1024


def original_request(header: Callable[[str], str | None]) -> Original:
    """The request as the first proxy saw it, from the headers it left.

    ``header`` looks a header up by its lower-case name. ``Forwarded`` wins over the
    ``X-`` family. Names that hide the client (``unknown``, ``_hidden``) count as unsaid.
    """
    forwarded = header("forwarded")
    if forwarded:
        first = forwarded[:_LONGEST].partition(",")[0]
        pairs: dict[str, str] = {}
        for pair in first.split(";"):
            key, equals, value = pair.partition("=")
            if equals:
                pairs.setdefault(key.strip().lower(), value.strip().strip('"'))
        address, port = _client(pairs.get("for", ""))
        return address, port, _scheme(pairs.get("proto")), pairs.get("host", "")
    address, port = _client(_first(header("x-forwarded-for")))
    scheme = _scheme(_first(header("x-forwarded-proto")))
    return address, port, scheme, _first(header("x-forwarded-host"))


def _first(value: str | None) -> str:
    return value[:_LONGEST].partition(",")[0].strip() if value else ""


def _client(node: str) -> tuple[str, int | None]:
    if not node or node.startswith("_") or node.lower() == "unknown":
        return "", None
    return split_authority(node)


def _scheme(value: str | None) -> str:
    scheme = (value or "").lower()
    return scheme if scheme in ("http", "https", "ws", "wss") else ""
