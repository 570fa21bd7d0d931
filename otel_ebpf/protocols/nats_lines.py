"""NATS' protocol, cut into lines with what follows them."""

from __future__ import annotations

from typing import Any

from .half import BAD, MORE, UNIT, Half

_MAX_LINE = 4096
_MAX_HEADERS = 4096
_MAX_PAYLOAD = 1 << 30
_ACKNOWLEDGED = 8
"""Bytes kept of a payload: JetStream's acknowledgements are told by them."""
_VERBS = (
    frozenset({b"INFO", b"MSG", b"HMSG", b"+OK", b"-ERR", b"PING", b"PONG"}),
    frozenset({b"CONNECT", b"PUB", b"HPUB", b"SUB", b"UNSUB", b"PING", b"PONG"}),
)
"""By whether the client says it."""
_WORDS = {b"PUB": (2, 3), b"HPUB": (3, 4), b"MSG": (3, 4), b"HMSG": (4, 5)}
"""Words behind the verb, of which one is the reply's subject that may be missing."""


class Lines(Half):
    """Lines, and for messages headers and payload.

    Attributes:
        verb: in capitals; words: behind it; rest: the line behind the verb.
        headers: of a message, as far as they were seen and at most 4 KiB. body: its payload's
            first bytes. body_size: the payload's length, without headers.
        size: bytes of the unit.
    """

    __slots__ = (
        *("_client", "_headers", "_hole", "_left", "_line", "_long"),
        *("body", "body_size", "headers", "rest", "size", "verb", "words"),
    )

    def __init__(self, client: bool) -> None:
        self._client = client
        super().__init__()

    def reset(self) -> None:
        """See ``Half.reset``."""
        self._line = b""
        self._long = False
        self._left = 0
        self._headers = 0
        self._hole = False
        self.verb = b""
        self.words: list[bytes] = []
        self.rest = b""
        self.headers = self.body = b""
        self.body_size = self.size = 0

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._left > 0 or bool(self._line)

    def begins(self, data: bytes) -> bool:
        """Whether these bytes are the first of a unit."""
        verb = data[:9].split(None, 1)[:1]
        return bool(verb) and verb[0].upper() in _VERBS[self._client] and b"\r\n" in data

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        began = at
        if not self.inside:
            self.reset()
            self.start, self.token, self.offset = ts, token, at
        if not self._left:
            at, outcome = self._read_line(data, at)
            if outcome != MORE or not self._left:
                self.size += at - began
                return at, outcome
        taken = min(self._left, len(data) - at)
        self._keep(data[at : at + taken])
        self._left -= taken
        at += taken
        self.size += at - began
        return at, MORE if self._left else UNIT

    def skip(self, length: int) -> int:
        """See ``Half.skip``."""
        if length > self._left:
            return BAD
        self._hole = True
        self._left -= length
        self.size += length
        return MORE if self._left else UNIT

    def _keep(self, data: bytes) -> None:
        if self._hole:
            return
        missing = min(self._headers, _MAX_HEADERS) - len(self.headers)
        passed = max(self._headers - (self._headers + self.body_size + 2 - self._left), 0)
        if missing > 0:
            self.headers += data[: min(missing, passed)]
        body = data[passed:]
        if body and len(self.body) < _ACKNOWLEDGED:
            self.body += body[: min(_ACKNOWLEDGED, self.body_size) - len(self.body)]

    def _read_line(self, data: bytes, at: int) -> tuple[int, int]:
        end = data.find(b"\n", at)
        if len(self._line) < _MAX_LINE:
            stop = len(data) if end < 0 else end
            self._line += data[at : min(stop, at + _MAX_LINE)]
            self._long |= stop - at > _MAX_LINE
        else:
            self._long = True
        if end < 0:
            # Of what is no line at all little is read.
            if len(self._line) > 9 and not self.begins(self._line + b"\r\n"):
                return len(data), BAD
            return len(data), MORE
        line, self._line = self._line, b""
        verb, _, rest = line.rstrip(b"\r").partition(b" ")
        verb = verb.split(b"\t")[0].upper()
        if verb not in _VERBS[self._client]:
            return end + 1, BAD
        self.verb = verb
        self.rest = rest
        if verb in (b"INFO", b"CONNECT", b"-ERR"):
            return end + 1, UNIT
        self.words = rest.split()
        if verb not in _WORDS:
            return end + 1, UNIT
        if self._long or len(self.words) not in _WORDS[verb]:
            return end + 1, BAD
        numbers = self.words[-2:] if verb[:1] == b"H" else self.words[-1:]
        if not all(word.isdigit() and len(word) < 11 for word in numbers):
            return end + 1, BAD
        total = int(numbers[-1])
        self._headers = int(numbers[0]) if len(numbers) == 2 else 0
        if self._headers > total or total > _MAX_PAYLOAD:
            return end + 1, BAD
        self.body_size = total - self._headers
        self._left = total + 2
        return end + 1, MORE

    def reply(self) -> str:
        """The subject that an answer to this message goes to, or ""."""
        fewest, most = _WORDS[self.verb]
        at = 1 if self._client else 2
        return _text(self.words[at]) if len(self.words) == most and fewest else ""

    def subject(self) -> str:
        """The message's subject."""
        return _text(self.words[0]) if self.words else ""


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")
