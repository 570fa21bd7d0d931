"""What NATS' lines and headers say in words: errors, statuses, trace contexts, tidings."""

from __future__ import annotations

import json

from .context import CarriedContext, parse_traceparent

_PERMISSION = b'Permissions Violation for Publish to "'
_ERRORS = (
    *("Authorization Violation", "Permissions Violation", "Authorization Timeout"),
    *("User Authentication Expired", "User Authentication Revoked", "Stale Connection"),
    *("Maximum Payload Violation", "Maximum Control Line Exceeded", "Slow Consumer"),
    *("Maximum Connections Exceeded", "Invalid Subject", "Invalid Publish Subject"),
    *("Invalid Client Protocol", "Unknown Protocol Operation", "Parser Error"),
    *("Secure Connection - TLS Required", "Account Authentication Expired"),
)


def error_name(said: bytes) -> str:
    """``error.type`` of an ``-ERR``: of what the server can say a few words, else ``_OTHER``."""
    text = said.strip(b" '\t").lower()
    for known in _ERRORS:
        if text.startswith(known.lower().encode()):
            return known.lower().replace(" - ", " ").replace(" ", "_")
    return "_OTHER"


def status_of(headers: bytes) -> str:
    """The code in a message's first header line (``NATS/1.0 503``), or ""."""
    words = headers[:64].split(b"\r\n", 1)[0].split()
    return words[1].decode() if len(words) > 1 and words[1].isdigit() else ""


def context_of(headers: bytes) -> CarriedContext | None:
    """The trace context that headers carry, or None."""
    if b"traceparent" not in headers.lower():
        return None
    pairs = [line.partition(b":") for line in headers.split(b"\r\n")]
    told = [
        (name.strip().lower(), value.strip().decode("latin-1"))
        for name, colon, value in pairs
        if colon
    ]
    parents = [value for name, value in told if name == b"traceparent"]
    # Two of them contradict each other, whichever is first.
    if len(parents) != 1:
        return None
    return parse_traceparent(parents[0], [v for name, v in told if name == b"tracestate"])


def refused_subject(said: bytes) -> str:
    """The subject that an ``-ERR`` says one must not publish to, or ""."""
    at = said.find(_PERMISSION)
    if at < 0:
        return ""
    return said[at + len(_PERMISSION) :].split(b'"')[0].decode("utf-8", "replace")


def login_of(said: bytes) -> tuple[str, bool]:
    """Of a CONNECT the client's name, and whether each line will be confirmed. What proves who it
    is is not looked at."""
    try:
        told = json.loads(said)
    except (ValueError, RecursionError):
        told = {}
    told = told if isinstance(told, dict) else {}
    name = told.get("name")
    return name if isinstance(name, str) else "", told.get("verbose") is True
