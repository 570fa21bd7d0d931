"""Take secrets out of URLs before they become attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

from otel_ebpf.spans.semconv import REDACTED, SENSITIVE_QUERY_KEYS


class QueryRedactor:
    """Replaces the values of sensitive query parameters with ``REDACTED``.

    Keys match case-sensitively and also when they are percent-encoded. A value ends at
    ``&`` or ``#`` only, so a secret that holds a ``;`` does not leak its tail.
    """

    __slots__ = ("_keys", "_search", "_sub")

    def __init__(self, keys: Iterable[str] = SENSITIVE_QUERY_KEYS) -> None:
        self._keys = frozenset(keys)
        # "(?!)" matches nothing: an empty list turns redaction off.
        names = "|".join(re.escape(key) for key in sorted(self._keys)) or "(?!)"
        pattern = re.compile(rf"((?:^|[?&;])(?:{names})=)[^&#]*")
        self._search = pattern.search
        self._sub = pattern.sub

    def redact(self, query: str) -> str:
        """``query`` without its leading ``?``, secrets replaced, the rest untouched."""
        if self._search(query) is not None:
            query = self._sub(rf"\g<1>{REDACTED}", query)
        if "%" in query or "+" in query:
            query = self._redact_encoded_keys(query)
        return query

    def _redact_encoded_keys(self, query: str) -> str:
        pairs = query.split("&")
        for index, pair in enumerate(pairs):
            key, equals, _ = pair.partition("=")
            if equals and "%" in key and unquote_plus(key) in self._keys:
                pairs[index] = f"{key}={REDACTED}"
        return "&".join(pairs)


def redact_userinfo(authority: str) -> str:
    """``user:password@host`` as ``REDACTED:REDACTED@host``; other authorities unchanged.

    The last ``@`` divides: a password may hold one that was not encoded.
    """
    userinfo, at, host = authority.rpartition("@")
    if not at:
        return authority
    return f"{REDACTED}:{REDACTED}@{host}" if ":" in userinfo else f"{REDACTED}@{host}"
