"""What the body of a message of Dubbo 2 says: which method is called, with what exception it ended.

It is written in one of many ways, of which two are read: Hessian 2 and Fastjson 2.
"""

from __future__ import annotations

import re

HESSIAN, FASTJSON = 2, 23
"""Numbers of ways to write a body."""
_NAME = re.compile(r"[\w.$/:-]{1,255}")
_CLASS = re.compile(r"[\w.$]{1,255}")
_GENERIC = ("$invoke", "$invokeAsync")
_THROWN = (0, 3)
"""Kinds of results that are exceptions, without and with attachments."""


class Texts:
    """Texts one after another, each with its length before it. Past its end, or where no text is,
    they are empty, and ``bad``."""

    __slots__ = ("_at", "_data", "_hessian", "bad")

    def __init__(self, data: bytes, written: int) -> None:
        self._data = data
        self._hessian = written == HESSIAN
        self._at = 0
        self.bad = False

    def next(self) -> str:
        """The next one."""
        if self.bad:
            return ""
        return self._hessians() if self._hessian else self._fastjsons()

    def _hessians(self) -> str:
        data, at = self._data, self._at
        first = data[at] if at < len(data) else -1
        if first == 0x4E:  # null
            self._at = at + 1
            return ""
        if 0 <= first < 0x20:
            size, at = first, at + 1
        elif 0x30 <= first < 0x34:
            size, at = (first - 0x30) << 8 | int.from_bytes(data[at + 1 : at + 2], "big"), at + 2
        elif first == 0x53:
            size, at = int.from_bytes(data[at + 1 : at + 3], "big"), at + 3
        else:
            size = -1
        return self._cut(at, size)

    def _fastjsons(self) -> str:
        data, at = self._data, self._at
        whole = int.from_bytes(data[at : at + 4], "big")
        at += 4
        first = data[at] if at < len(data) else -1
        if first == 0xAF and whole == 1:  # null
            self._at = at + 1
            return ""
        if 0x49 <= first < 0x49 + 32:
            size, at = first - 0x49, at + 1
        elif first in (0x79, 0x7A) and at + 1 < len(data):
            # A text's length is a number, of one byte or two here.
            second = data[at + 1]
            if second < 0x30:
                size, at = second, at + 2
            elif 0x30 <= second < 0x40:
                size, at = (
                    (second - 0x38 << 8) + int.from_bytes(data[at + 2 : at + 3], "big"),
                    at + 3,
                )
            else:
                size = -1
        else:
            size = -1
        return self._cut(at, size)

    def _cut(self, at: int, size: int) -> str:
        # Hessian counts characters: of names, and of all that is read here, these are bytes.
        text = self._data[at : at + size] if size >= 0 else b""
        if size < 0 or len(text) < size or not text.isascii():
            self.bad = True
            return ""
        self._at = at + size
        return text.decode("ascii")


def read_call(body: bytes, written: int) -> tuple[str, str]:
    """Of a request's body its method, with the service, and the service's version; both empty where
    they cannot be read."""
    if written not in (HESSIAN, FASTJSON):
        return "", ""
    texts = Texts(body, written)
    texts.next()  # of the library
    path, version, method = texts.next(), texts.next(), texts.next()
    if texts.bad or not _NAME.fullmatch(path) or not _NAME.fullmatch(method):
        return "", ""
    if method in _GENERIC:
        texts.next()  # types of the arguments
        called = texts.next()
        if not texts.bad and _NAME.fullmatch(called):
            method = called
    if version == "0.0.0" or not _NAME.fullmatch(version):
        version = ""
    return f"{path}/{method}", version


def thrown(body: bytes, written: int) -> str:
    """The class of the exception that a good answer's body is; empty where it is none, and
    ``exception`` where its class cannot be read."""
    if written != HESSIAN or not body or body[0] - 0x90 not in _THROWN:
        return ""
    if body[1:2] != b"C":
        return "exception"
    texts = Texts(body[2:], HESSIAN)
    name = texts.next()
    return name if not texts.bad and _CLASS.fullmatch(name) else "exception"
