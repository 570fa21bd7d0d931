"""Text that every consumer can take."""

from __future__ import annotations


def valid_text(text: str) -> str:
    """``text`` with surrogates put right, so that it can be encoded as UTF-8.

    A high and a low surrogate become the character that they stand for; one alone
    becomes U+FFFD. Other text is returned as it is.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def printable(text: str, limit: int = 200) -> str:
    """One line for a person: control characters escaped, no longer than ``limit``.

    What came over the network must not be able to move a terminal's cursor.
    """
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text
    )
