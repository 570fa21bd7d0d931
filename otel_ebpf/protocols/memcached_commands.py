"""Memcached's commands: what they are called, what of them is told, and how they are answered.

Keys are kept in ``db.query.text``; values never get here, and flags and numbers become ``?``.
"""

from __future__ import annotations

from .database import ALWAYS, UNLESS_FAILED, DbRequest

SYSTEM = "memcached"
_MAX_KEYS = 32
_MAX_KEY = 250

_BINARY = {
    0x00: "get",
    0x01: "set",
    0x02: "add",
    0x03: "replace",
    0x04: "delete",
    0x05: "incr",
    0x06: "decr",
    0x07: "quit",
    0x08: "flush_all",
    0x0A: "noop",
    0x0B: "version",
    0x0C: "get",
    0x0E: "append",
    0x0F: "prepend",
    0x10: "stats",
    0x1C: "touch",
    0x1D: "gat",
    0x1B: "verbosity",
    0x20: "sasl_list_mechs",
    0x21: "sasl_auth",
    0x22: "sasl_step",
}
QUIET_CODES = {
    0x09: "get",
    0x0D: "get",
    0x11: "set",
    0x12: "add",
    0x13: "replace",
    0x14: "delete",
    0x15: "incr",
    0x16: "decr",
    0x17: "quit",
    0x18: "flush_all",
    0x19: "append",
    0x1A: "prepend",
    0x1E: "gat",
}
STATUS = {
    0x03: "TOO_LARGE",
    0x04: "INVALID_ARGUMENTS",
    0x06: "NON_NUMERIC",
    0x20: "AUTH_ERROR",
    0x81: "UNKNOWN_COMMAND",
    0x82: "OUT_OF_MEMORY",
    0x83: "NOT_SUPPORTED",
    0x84: "INTERNAL_ERROR",
    0x85: "BUSY",
    0x86: "TEMPORARY_FAILURE",
}
"""Binary statuses that are failures; a missing key is none."""
_META = {"mg": "get", "ms": "set", "md": "delete", "ma": "arithmetic", "mn": "noop", "me": "debug"}
_MANY = frozenset({"get", "gets", "gat", "gats", "stats"})
"""Text commands whose replies end with a line of their own."""
_KEYED = frozenset(
    {"set", "add", "replace", "append", "prepend", "cas", "delete", "incr", "decr", "touch"}
)
_CHATTER = {"version": UNLESS_FAILED, "noop": ALWAYS, "quit": ALWAYS, "verbosity": UNLESS_FAILED}
_CHATTER |= dict.fromkeys(("sasl_list_mechs", "sasl_auth", "sasl_step"), UNLESS_FAILED)


MANY, FENCE, QUIET, ONEWAY = 1, 2, 4, 8
"""How a command is answered. MANY: its reply has several units; FENCE: it ends a row of quiet
ones; QUIET: it is answered only if something is to be said; ONEWAY: it has no reply that could be
told to be its own."""


def describe_line(words: list[bytes]) -> tuple[DbRequest, int]:
    """A text or a meta command, from its line's words, of which there is at least one: what is told
    of it, and how it is answered."""
    verb = words[0].decode("latin-1").lower()
    meta = verb in _META
    known = meta or verb in _MANY or verb in _KEYED or verb in _CHATTER or verb == "flush_all"
    operation = _META.get(verb, verb) if known else ""
    told: list[str] = []
    if verb in _KEYED or meta:
        told = [_text(word) for word in words[1:2]] + ["?"] * (len(words) - 2)
    elif verb in _MANY and verb != "stats":
        keys = words[1:] if verb in ("get", "gets") else words[2:]
        told = ["?"] * (len(words) - 1 - len(keys)) + [_text(key) for key in keys[:_MAX_KEYS]]
    text = " ".join([verb, *told]) if known else ""
    ways = MANY if verb in _MANY else FENCE if verb == "mn" else 0
    if meta and b"q" in words[2:]:
        ways |= QUIET | ONEWAY
    elif verb == "quit" or (words[-1] == b"noreply" and len(words) > 1):
        ways |= ONEWAY
    return _head(operation, text), ways


def describe_packet(header: bytes, body: bytes) -> tuple[DbRequest, int]:
    """A binary command, from its header of 24 bytes and its extras and key; returns the same."""
    code = header[1]
    operation = QUIET_CODES.get(code) or _BINARY.get(code, "")
    key = body[header[4] :]
    secret = operation.startswith("sasl")
    text = f"{operation} {_text(key)}" if key and operation and not secret else operation
    ways = MANY if code == 0x10 else FENCE if code == 0x0A else 0
    if code in QUIET_CODES:
        ways |= QUIET | ONEWAY
    return _head(operation, text), ways


def _head(operation: str, text: str) -> DbRequest:
    return DbRequest(SYSTEM, operation, text, operation, chatter=_CHATTER.get(operation, 0))


def _text(key: bytes) -> str:
    return key[:_MAX_KEY].decode("utf-8", "replace")
