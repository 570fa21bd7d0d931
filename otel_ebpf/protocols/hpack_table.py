"""Header blocks to fields, with a table of which part may never have been seen (RFC 7541).

Positions in the dynamic table count from its newest entry, so what was added since a
connection was joined is known for certain, whatever lies behind it. An index beyond that
gives a field whose name, or value, is unknown: never a wrong one.
"""

from __future__ import annotations

from hpack.table import HeaderTable

from .hpack_text import huffman, plain

Field = tuple[str | None, str | None]
"""Name in lower case and value. None: it is in a part of the table that was not seen."""

UNKNOWN: Field = (None, None)
STATIC: tuple[Field, ...] = (
    UNKNOWN,
    *((name.decode(), value.decode()) for name, value in HeaderTable.STATIC_TABLE),
)
DEFAULT_SIZE = 4096
"""Of the table, in RFC 7541's counting, until the encoder says otherwise."""
MAX_SIZE = 65536
"""Most that is kept of a table; a larger one loses its oldest entries here."""
MAX_FIELDS = 512
"""Most fields of a block that are read."""

_FIRST_DYNAMIC = len(STATIC)


class Table:
    """One direction's decoder.

    Attributes:
        whole: every entry was seen. An index beyond them is the encoder's fault then.
        faults: blocks that made no sense.
        generation: changes with every change of the table; equal blocks of one
            generation have equal fields.
    """

    __slots__ = ("_entries", "_limit", "_size", "faults", "generation", "whole")

    def __init__(self) -> None:
        self._entries: list[Field] = []  # newest last
        self._size = 0
        self._limit = DEFAULT_SIZE
        self.whole = False
        self.faults = 0
        self.generation = 0

    def begin(self) -> None:
        """The connection's first byte is here: the table is empty and will be known."""
        self._entries.clear()
        self._size, self._limit = 0, DEFAULT_SIZE
        self.whole = True
        self.generation += 1

    def forget(self) -> None:
        """Blocks were lost: nobody knows what they added."""
        self._entries.clear()
        self._size = 0
        self.whole = False
        self.generation += 1

    def decode(self, block: bytes, out: list[Field]) -> bool:
        """Appends the block's fields to ``out``. False: it was cut, or made no sense.

        Then ``out`` has what came before, and the table is unknown from here on.
        """
        at, size = 0, len(block)
        entries = self._entries
        try:
            while at < size:
                first = block[at]
                at += 1
                if first >= 0x80:
                    index = first & 0x7F
                    if index == 0x7F:
                        index, at = _integer(block, at, 0x7F)
                    if index < _FIRST_DYNAMIC:
                        if not index:
                            return self._fault()
                        out.append(STATIC[index])
                    elif index - _FIRST_DYNAMIC < len(entries):
                        out.append(entries[_FIRST_DYNAMIC - 1 - index])
                    elif self.whole:
                        return self._fault()
                    else:
                        out.append(UNKNOWN)
                    continue
                if 0x20 <= first < 0x40:
                    limit = first & 0x1F
                    if limit == 0x1F:
                        limit, at = _integer(block, at, 0x1F)
                    self._resize(limit)
                    continue
                mask = 0x3F if first >= 0x40 else 0x0F
                index = first & mask
                name: str | None
                if index:
                    if index == mask:
                        index, at = _integer(block, at, mask)
                    if index < _FIRST_DYNAMIC:
                        name = STATIC[index][0]
                    elif index - _FIRST_DYNAMIC < len(entries):
                        name = entries[_FIRST_DYNAMIC - 1 - index][0]
                    elif self.whole:
                        return self._fault()
                    else:
                        name = None
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                field = (name, value)
                if mask == 0x3F:
                    self._add(field)
                if len(out) < MAX_FIELDS:
                    out.append(field)
        except IndexError:
            self.forget()
            return False
        except ValueError:
            return self._fault()
        return True

    def _fault(self) -> bool:
        self.faults += 1
        self.forget()
        return False

    def _add(self, field: Field) -> None:
        name, value = field
        # An unknown name counts as empty: so an entry may stay too long here, which no
        # encoder that has dropped it will ask for.
        size = 32 + len(name or "") + len(value or "")
        self.generation += 1
        entries = self._entries
        if size > self._limit:
            # It empties the table, or the limit is one that was not seen.
            entries.clear()
            self._size = 0
            return
        entries.append(field)
        self._size += size
        if self._size > self._limit:
            self._evict()

    def _evict(self) -> None:
        entries = self._entries
        drop = 0
        while self._size > self._limit:
            name, value = entries[drop]
            self._size -= 32 + len(name or "") + len(value or "")
            drop += 1
        del entries[:drop]

    def _resize(self, limit: int) -> None:
        if limit > MAX_SIZE:
            self.whole = False  # what will be dropped here is not dropped there
            limit = MAX_SIZE
        self._limit = limit
        self.generation += 1
        self._evict()


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """An integer's bytes behind its full prefix. IndexError: cut; ValueError: absurd."""
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise ValueError("integer too large")


def _string(block: bytes, at: int) -> tuple[str, int]:
    head = block[at]
    size = head & 0x7F
    at += 1
    if size == 0x7F:
        size, at = _integer(block, at, 0x7F)
    raw = block[at : at + size]
    if len(raw) < size:
        raise IndexError
    if head < 0x80:
        return plain(raw), at + size
    text = huffman(raw)
    if text is None:
        raise ValueError("no Huffman code")
    return text, at + size
