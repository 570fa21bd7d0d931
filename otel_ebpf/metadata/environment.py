"""OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, as the SDK specification reads them."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

MAX_ATTRIBUTES = 128
MAX_VALUE = 4096
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def parse_resource_attributes(text: str) -> tuple[dict[str, str], list[str]]:
    """Pairs of ``key=value,key=value`` with percent-decoded values, and what was refused.

    A refused pair is named by its key only (values may be secrets) with the reason.
    Later pairs win; empty items are no error.
    """
    pairs: dict[str, str] = {}
    refused: list[str] = []
    for item in text.split(","):
        if not item.strip():
            continue
        key, mark, value = item.partition("=")
        key, value = key.strip(), value.strip()
        label = key[:64] or "(no key)"
        if not mark:
            refused.append(f"{label}: no '='")
        elif not key or not key.isprintable() or len(key) > 256:
            refused.append(f"{label!r}: not a key")
        elif _BAD_ESCAPE.search(value):
            refused.append(f"{label}: a '%' that begins no escape")
        elif len(pairs) >= MAX_ATTRIBUTES and key not in pairs:
            refused.append(f"{label}: more than {MAX_ATTRIBUTES} attributes")
        else:
            try:
                decoded = unquote_to_bytes(value).decode("utf-8")
            except UnicodeDecodeError:
                refused.append(f"{label}: not UTF-8 after decoding")
                continue
            pairs[key] = decoded[:MAX_VALUE]
    return pairs, refused
