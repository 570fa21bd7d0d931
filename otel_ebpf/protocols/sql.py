"""SQL without its literals, and what can be said of it in few words.

A tokenizer, not a parser: it knows where literals and comments begin and end in a dialect, which
is what it takes to let none of them through. Comments go too; they may hold anything.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .sql_statements import Sql, Statements
from .sql_tokens import MYSQL, MYSQL_PLAIN, MYSQL_UNSURE, POSTGRESQL, TOKENS

__all__ = ["MAX_TEXT", "MYSQL", "MYSQL_PLAIN", "MYSQL_UNSURE", "POSTGRESQL", "Sql", "sanitize"]

MAX_TEXT = 8192
"""Longest statement, in bytes, that is looked at; what is behind is left out."""
_LISTS = re.compile(r"\(\s*(?:\?|\$\d+)(?:\s*,\s*(?:\?|\$\d+))+\s*\)")
_ROWS = re.compile(r"(\((?:\?|\(\?\))\))(?:\s*,\s*\1)+")
_NESTED = re.compile(r"/\*|\*/")
_EXECUTED = re.compile(r"(M?)!(\d{5,6})?")
"""Behind the beginning of a comment of MySQL's that is none to some servers."""
_EVERYWHERE = 50700
"""Below this version what is in such a comment is executed by every server, MariaDB too."""
_QUOTES = re.compile(r"['\"\\#$]|--|/\*")
_ESCAPED_QUOTE = re.compile(r"\\['\"]")


@lru_cache(maxsize=2048)
def sanitize(query: bytes, dialect: int = POSTGRESQL) -> Sql:
    """Looks at a query of one or more statements, which may be cut off. Never raises."""
    words: list[str] = []
    statements = Statements()
    pattern = TOKENS[dialect]
    source = query[:MAX_TEXT].decode("utf-8", "replace")
    at, size = 0, len(source)
    space = False
    inner = -1  # where a comment ends within which we are
    while at < size:
        if at == inner:
            at, inner = at + 2, -1
            continue
        match = pattern.match(source, at)
        assert match is not None  # every character is at least "other"
        kind = match.lastgroup
        token = match[0]
        at = match.end()
        if kind == "space":
            space = bool(words)
            continue
        if kind == "comment":
            executed = _EXECUTED.match(source, at) if dialect != POSTGRESQL else None
            if executed is None:
                at = _past_comment(source, at, dialect)
            else:
                at, inner = executed.end(), source.find("*/", at)
                within = source[at : inner if inner >= 0 else size]
                if _QUOTES.search(within) or within.count("`") & 1:
                    break  # whether these are quotes depends on the server
                if executed[1] or int(executed[2] or 0) >= _EVERYWHERE:
                    at, inner = (inner + 2, -1) if inner >= 0 else (size, -1)
            space = bool(words)
            continue
        if kind == "dollar":
            end = source.find(token, at)
            at = size if end < 0 else end + len(token)
            token = "?"
        elif kind in ("literal", "escaped", "cut"):
            if kind == "cut" or (
                dialect == MYSQL_UNSURE and kind == "escaped" and _ESCAPED_QUOTE.search(token)
            ):
                at = size
            token = "?"
        elif kind == "string":
            # With standard_conforming_strings off it would go on behind such a quote.
            at = size if "\\'" in token else at
            token = "?"
        elif kind == "unclosed":
            break
        if space:
            words.append(" ")
            space = False
        words.append(token)
        statements.take(token, kind == "name")
    text = "".join(words)
    if "," in text:
        text = _ROWS.sub(r"\1", _LISTS.sub("(?)", text))
    return statements.describe(text)


def _past_comment(source: str, at: int, dialect: int) -> int:
    depth = 1
    while depth:
        match = _NESTED.search(source, at)
        if match is None:
            return len(source)
        at = match.end()
        if match[0] == "*/":
            depth -= 1
        elif dialect == POSTGRESQL:
            depth += 1
    return at
