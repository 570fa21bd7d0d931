"""SQL's tokens, dialect by dialect: where literals, names and comments begin and end."""

from __future__ import annotations

import re

POSTGRESQL, MYSQL, MYSQL_PLAIN, MYSQL_UNSURE = range(4)
"""Dialects. PLAIN: a backslash is a character like any other (``NO_BACKSLASH_ESCAPES``).
UNSURE: it may be; behind a literal where that matters all is left out."""

_EXPONENT = r"(?:[eE][+-]?\d+)?"
_NUMBER = (
    rf"(?P<literal>(?:0[xX][\da-fA-F_]+|\d[\d_]*(?:\.\d*)?{_EXPONENT}"
    rf"|\.\d[\d_]*{_EXPONENT})\w*)"
)
_WORD = r"[^\W\d][\w$]*"


def _mysql(single: str, double: str) -> re.Pattern[str]:
    """The tokens; what may be within quotes of either kind."""
    return re.compile(
        r"(?P<space>\s+|--(?=\s|$)[^\n]*|\#[^\n]*)"
        r"|(?P<comment>/\*)"
        rf"|(?P<escaped>(?:[bBxXnN]|_\w+\s*)?(?:'(?:{single}|'')*'|\"(?:{double}|\"\")*\"))"
        r"|(?P<string>(?!))"
        r"|(?P<cut>[bBxXnN]?['\"])"
        r"|(?P<dollar>\$(?:[^\W\d]\w*)?\$)"
        r"|(?P<parameter>\?)"
        rf"|(?P<name>`(?:[^`]|``)+`|@{{0,2}}{_WORD})"
        r"|(?P<unclosed>`)"
        rf"|{_NUMBER}"
        r"|(?P<other>.)",
        re.DOTALL,
    )


_ESCAPING = _mysql(r"[^'\\]|\\.", r"[^\"\\]|\\.")
TOKENS = {
    POSTGRESQL: re.compile(
        r"(?P<space>\s+|--[^\n]*)"
        r"|(?P<comment>/\*)"
        r"|(?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')"
        r"|(?P<string>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')"
        r"|(?P<cut>(?:[eEbBxXnN]|[uU]&)?')"
        r"|(?P<dollar>\$(?:[^\W\d]\w*)?\$)"
        r"|(?P<parameter>\$\d+)"
        rf'|(?P<name>"(?:[^"]|"")+"|{_WORD})'
        r'|(?P<unclosed>")'
        rf"|{_NUMBER}"
        r"|(?P<other>::|.)",
        re.DOTALL,
    ),
    MYSQL: _ESCAPING,
    MYSQL_UNSURE: _ESCAPING,
    MYSQL_PLAIN: _mysql("[^']", '[^"]'),
}
"""By dialect. Every character is at least ``other``; the group says what a token is."""
