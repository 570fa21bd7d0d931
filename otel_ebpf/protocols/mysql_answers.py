"""What a server answers to one command of MySQL's: results one after the other, or an error.

Whether a packet ends the columns' definitions and the rows (as before ``CLIENT_DEPRECATE_EOF``)
or the rows alone shows in its length, so that nothing of this needs a login that was seen.
"""

from __future__ import annotations

from .mysql_login import CLIENT_DEPRECATE_EOF, CLIENT_OPTIONAL_METADATA
from .mysql_packets import FULL, Packets, length_encoded

LOGIN, RESULTS, PREPARED, ROWS, TEXT = range(5)
"""Kinds of answers. TEXT: one packet, whatever it is. ROWS: no definitions before them."""

GOES_ON, OVER, FILE, WRONG = range(4)
"""What a packet says of the answer. FILE: the client's file is wanted. WRONG: it fits nothing."""

MORE_RESULTS = 0x0008
CURSOR_EXISTS = 0x0040
_EOF_SIZE = 5
_PROGRESS = 0xFFFF

_FIRST, _DEFINITIONS, _DEFINED, _ROW = range(4)


class Answer:
    """The answer to one command.

    Attributes:
        rows: a row or their end comes next.
        code: the error's number; sqlstate: its class. Empty: none.
        status: the server's status, as last told; -1: never.
        statement: the number that a statement was prepared under, or -1.
        eof: definitions end with a packet of their own; None: not known.
        trailing: it is over, unless such a packet follows.
    """

    __slots__ = (
        "_groups",
        "_kind",
        "_optional",
        "_state",
        "code",
        "eof",
        "sqlstate",
        "statement",
        "status",
        "trailing",
    )

    def __init__(self, kind: int, capabilities: int, eof: bool | None) -> None:
        self._kind = kind
        self._state = _ROW if kind == ROWS else _FIRST
        self._groups: list[int] = []  # definitions that are due
        self._optional = bool(capabilities & CLIENT_OPTIONAL_METADATA)
        if capabilities:
            eof = not capabilities & CLIENT_DEPRECATE_EOF
        self.eof = eof
        self.code = ""
        self.sqlstate = ""
        self.status = -1
        self.statement = -1
        self.trailing = False

    @property
    def rows(self) -> bool:
        """See above."""
        return self._state == _ROW

    def take(self, packet: Packets) -> int:
        """The next packet is whole."""
        body, size = packet.body, packet.size
        first = body[0] if body else 0
        if first == 0xFF and (self._state != _FIRST or self._kind != TEXT):
            return self._error(body)
        if self._state == _ROW:
            return self._end(body, size) if first == 0xFE and size < FULL else GOES_ON
        if self._state == _FIRST:
            return self._begins(body, size, first)
        if self._kind == PREPARED:
            return self._prepared(first, size)
        if self._state == _DEFINITIONS:
            self._groups[0] -= 1
            if self._groups[0] <= 0:
                self._state = _DEFINED
            return GOES_ON
        # All is defined.
        self._state = _ROW
        if first != 0xFE or size >= FULL:
            self.eof = False
            return GOES_ON
        if size != _EOF_SIZE:
            self.eof = False
            return self._end(body, size)
        self.eof = True
        self.status = int.from_bytes(body[3:5], "little")
        return OVER if self.status & CURSOR_EXISTS else GOES_ON

    def _begins(self, body: bytes, size: int, first: int) -> int:
        if self._kind == TEXT:
            return OVER
        if self._kind == LOGIN:
            # Anything but this is between the two about who the client is.
            return self._end(body, size) if first == 0 and size >= 7 else GOES_ON
        if not size:
            return WRONG
        if first == 0 and self._kind == PREPARED:
            return self._begins_prepared(body, size)
        if first == 0 or first == 0xFE:
            return self._end(body, size)
        if first == 0xFB:
            return FILE
        return self._counted(body, size)

    def _counted(self, body: bytes, size: int) -> int:
        """How many columns there are."""
        defined = True
        at = 0
        if self._optional and size > 1:
            defined, at = body[0] != 0, 1
        count, at = length_encoded(body, at)
        if at < size and not self._optional:  # MariaDB's way to leave them out
            defined = body[at : at + 1] != b"\0"
        if count <= 0 or count > 0xFFFF:
            return WRONG
        self._groups = [count]
        self._state = _DEFINITIONS if defined else _DEFINED
        return GOES_ON

    def _begins_prepared(self, body: bytes, size: int) -> int:
        if size < 12:
            return WRONG
        self.statement = int.from_bytes(body[1:5], "little")
        columns = int.from_bytes(body[5:7], "little")
        parameters = int.from_bytes(body[7:9], "little")
        self._groups = [n for n in (parameters, columns) if n]
        if not self._groups or (self._optional and body[12:13] == b"\0"):
            return OVER
        self._state = _DEFINITIONS
        return GOES_ON

    def _prepared(self, first: int, size: int) -> int:
        groups = self._groups
        if first == 0xFE and size == _EOF_SIZE:
            self.eof = True
            if groups and groups[0] == 0:
                groups.pop(0)
            return GOES_ON if groups else OVER
        if groups[0] == 0:
            self.eof = False
            groups.pop(0)
            if not groups:
                return WRONG
        groups[0] -= 1
        if groups[0] or self.eof or len(groups) > 1:
            return GOES_ON
        self.trailing = self.eof is None
        return OVER

    def _end(self, body: bytes, size: int) -> int:
        """OK, or EOF: what the server's status says."""
        at = 3 if size == _EOF_SIZE else length_encoded(body, length_encoded(body, 1)[1])[1]
        if len(body) >= at + 2:
            self.status = int.from_bytes(body[at : at + 2], "little")
            if self.status & MORE_RESULTS and self._kind != LOGIN:
                self._state = _FIRST
                return GOES_ON
        return OVER

    def _error(self, body: bytes) -> int:
        code = int.from_bytes(body[1:3], "little")
        if code == _PROGRESS and len(body) >= 3:
            return GOES_ON
        self.code = str(code) if code else "_OTHER"
        if body[3:4] == b"#" and body[4:9].isalnum():
            self.sqlstate = body[4:9].decode("ascii", "replace")
        return OVER


def ends(seen: bytes, eof: bool | None) -> bool:
    """Whether a segment's last bytes are the end of the last result's rows."""
    if eof is not False and len(seen) >= 8:
        end = seen[-9:] if len(seen) >= 9 else b"\5" + seen[-8:]
        if end[:3] == b"\5\0\0" and end[4] == 0xFE and _plausible(end[7:9]):
            return True
    if eof is not True and len(seen) >= 8:
        end = seen[-11:] if len(seen) >= 11 else b"\7\0\0" + seen[-8:]
        return end[:3] == b"\7\0\0" and end[4:7] == b"\xfe\0\0" and _plausible(end[7:9])
    return False


def _plausible(status: bytes) -> bool:
    """No more results; of the flags those that come with rows."""
    flags = int.from_bytes(status, "little")
    return not flags & MORE_RESULTS and not flags & 0x8000
