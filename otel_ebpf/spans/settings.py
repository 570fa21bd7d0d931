"""What a user may choose about the spans, read from OTEL_* variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from otel_ebpf.errors import UsageError
from otel_ebpf.spans.semconv import KNOWN_METHODS, SENSITIVE_QUERY_KEYS

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CAPTURE = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
_METADATA = "OTEL_INSTRUMENTATION_GRPC_CAPTURE_METADATA_"
_METHODS = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"
_LIMITS = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
_STATEMENT = "OTEL_EBPF_DB_STATEMENT"
_INTERNAL = "OTEL_EBPF_INTERNAL_CALLS"
_DEFAULT_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """Choices for the span builders.

    Attributes:
        server_request_headers and the other three: lower-case names of the headers to
            put on spans; empty by default, since headers may hold secrets.
        server_request_metadata, client_request_metadata: the same for gRPC's metadata.
        known_methods: others are reported as ``_OTHER``.
        sensitive_query_keys: parameters whose values are redacted.
        value_length_limit: longest text, in characters, that is taken from a message.
        statements: whether texts of queries, without their literals, go on spans.
        internal_calls: whether calls that client libraries make on their own account (pings,
            logins) become spans; else only those that fail do.
    """

    server_request_headers: tuple[str, ...] = ()
    server_response_headers: tuple[str, ...] = ()
    client_request_headers: tuple[str, ...] = ()
    client_response_headers: tuple[str, ...] = ()
    server_request_metadata: tuple[str, ...] = ()
    client_request_metadata: tuple[str, ...] = ()
    known_methods: frozenset[str] = KNOWN_METHODS
    sensitive_query_keys: tuple[str, ...] = SENSITIVE_QUERY_KEYS
    value_length_limit: int = _DEFAULT_LIMIT
    statements: bool = True
    internal_calls: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> SpanSettings:
        """Read the variables. Raises ``UsageError`` for a value that makes no sense."""
        methods = _names(env, _METHODS)
        return cls(
            server_request_headers=_headers(env, "SERVER_REQUEST"),
            server_response_headers=_headers(env, "SERVER_RESPONSE"),
            client_request_headers=_headers(env, "CLIENT_REQUEST"),
            client_response_headers=_headers(env, "CLIENT_RESPONSE"),
            server_request_metadata=_lower(env, _METADATA + "SERVER_REQUEST"),
            client_request_metadata=_lower(env, _METADATA + "CLIENT_REQUEST"),
            known_methods=frozenset(methods) or KNOWN_METHODS,
            value_length_limit=_limit(env),
            statements=_choice(env, _STATEMENT, ("sanitized", "off")) == "sanitized",
            internal_calls=_choice(env, _INTERNAL, ("off", "on")) == "on",
        )


def _choice(env: Mapping[str, str], variable: str, words: tuple[str, ...]) -> str:
    """One of the words; the first where nothing is set."""
    word = env.get(variable, "").strip().lower() or words[0]
    word = {"false": "off", "true": "on" if "on" in words else words[0]}.get(word, word)
    if word not in words:
        raise UsageError(f"{word!r} is no choice", where=variable, mend=f"use {' or '.join(words)}")
    return word


def _names(env: Mapping[str, str], variable: str) -> tuple[str, ...]:
    names = [name.strip() for name in env.get(variable, "").split(",")]
    for name in names:
        if name and _TOKEN.fullmatch(name) is None:
            raise UsageError(
                f"{name!r} is not an HTTP token",
                where=variable,
                mend="give names separated by commas, for example content-type,x-request-id",
            )
    return tuple(dict.fromkeys(name for name in names if name))


def _headers(env: Mapping[str, str], which: str) -> tuple[str, ...]:
    return _lower(env, _CAPTURE + which)


def _lower(env: Mapping[str, str], variable: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.lower() for name in _names(env, variable)))


def _limit(env: Mapping[str, str]) -> int:
    for variable in _LIMITS:
        text = env.get(variable, "").strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit()) or len(text) > 9:
            raise UsageError(
                f"{text!r} is not a number of characters",
                where=variable,
                mend="give a whole number from 0 to 999999999",
            )
        return int(text)
    return _DEFAULT_LIMIT
